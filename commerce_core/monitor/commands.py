"""`commerce monitor`: check the rules here and now, whatever the workers do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from commerce_core.cli.shop import Shop, config_argument, open_shop

if TYPE_CHECKING:
    from commerce_core.monitor.rules import Finding, Rule


@click.group()
def monitor() -> None:
    """Check whether the shop is well."""


@monitor.command()
@config_argument
@click.option("--without", "left_out", multiple=True, metavar="RULE", help="Leave this rule out; may be repeated.")
@click.option("--alert", is_flag=True, help="Tell the channels of what has changed, at once and not by a worker.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def check(config: str, left_out: tuple[str, ...], alert: bool, as_json: bool) -> None:
    """Check every rule; exit 1 if one fires, 3 if none does and one could not be measured."""
    from commerce_core.monitor.rules import RULES, RULES_BY_NAME
    from commerce_core.monitor.rules import check as check_rules

    for name in left_out:
        if name not in RULES_BY_NAME:
            raise click.BadParameter(f"there is no rule {name!r}; there are {', '.join(RULES_BY_NAME)}")
    rules = [rule for rule in RULES if rule.name not in left_out]
    with open_shop(config) as shop:
        findings, asked = check_rules(shop.engine, shop.settings.monitor, now=shop.clock.now(), rules=rules)
        if alert:
            _alert(shop, findings, asked)
    if as_json:
        _print_json(findings)
    else:
        _print_table(findings)
    if any(finding.fires for finding in findings):
        sys.exit(1)
    if any(finding.value is None for finding in findings):
        sys.exit(3)


@monitor.command()
@config_argument
def alerts(config: str) -> None:
    """List what is wrong, as far as checks have found."""
    from rich.console import Console
    from rich.table import Table

    from commerce_core.database import transaction
    from commerce_core.monitor.service import open_alerts

    table = Table("since", "rule", "subject", "severity", "what", "told")
    with open_shop(config) as shop, transaction(shop.engine) as session:
        found = open_alerts(session)
        for each in found:
            since = f"{each.fired_at:%Y-%m-%d %H:%M:%S}"
            table.add_row(since, each.rule, each.subject, each.severity, each.summary, ", ".join(each.told))
    Console().print(table if found else "Nothing is wrong.")


def _alert(shop: Shop, findings: list[Finding], asked: list[Rule]) -> None:
    """Record it, and run the jobs that tell it: there may be nobody else who does. What fails is left to workers."""
    from sqlalchemy import select

    from commerce_core.database import transaction
    from commerce_core.jobs.models import Job
    from commerce_core.jobs.runner import Runner
    from commerce_core.monitor.jobs import alert_about, tell

    with transaction(shop.engine) as session:
        changed = alert_about(session, findings, asked, settings=shop.settings, now=shop.clock.now())
        subjects = [f"alert:{each.id}" for each in changed]
        query = select(Job.id).where(Job.name == tell.name, Job.state == "waiting", Job.subject.in_(subjects))
        ids = session.scalars(query.order_by(Job.id)).all()
    runner = Runner(shop.registry, shop.engine, "commerce monitor")
    for job_id in ids:
        runner.run(job_id)


def _print_json(findings: list[Finding]) -> None:
    import orjson

    rows = [
        {
            "rule": finding.rule.name,
            "subject": finding.subject,
            "state": _state(finding),
            "value": finding.value,
            "threshold": finding.threshold,
            "text": finding.text,
        }
        for finding in findings
    ]
    click.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2))


def _print_table(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table

    colours = {"fires": "bold red", "unknown": "yellow", "ok": "green"}
    table = Table("rule", "subject", "state", "value", "threshold", "what")
    for finding in findings:
        state = _state(finding)
        table.add_row(
            finding.rule.name,
            finding.subject,
            f"[{colours[state]}]{state}[/]",
            "" if finding.value is None else f"{finding.value:,.1f} {finding.rule.unit}".strip(),
            f"{'≤' if finding.rule.at_most else '≥'} {finding.threshold:g} {finding.rule.unit}".strip(),
            finding.text,
        )
    Console().print(table)


def _state(finding: Finding) -> str:
    return "unknown" if finding.value is None else "fires" if finding.fires else "ok"
