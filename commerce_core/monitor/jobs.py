"""Checking the rules again and again, and telling what has changed.

An alert is told to each channel by a job of its own, so that one that is away keeps no other from being told. The job
brings its channel up to date: what is still to be told is told in order, whatever has failed before.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from pyramid.config import Configurator
from sqlalchemy.orm import Session

from commerce_core.jobs.kinds import SWEEP_TIMEOUT, Fatal, JobContext, job
from commerce_core.monitor.channels import Notice, What, channels_of
from commerce_core.monitor.models import Alert
from commerce_core.monitor.rules import RULES, STOCK, Finding, Rule, check
from commerce_core.monitor.service import forget_old, note_told, record_findings
from commerce_core.settings import CoreSettings


@job("monitor.tell", queue="critical", retry=(5, 30, 120, 600, 1_800, 3_600), timeout=60)
def tell(context: JobContext, alert_id: UUID, channel: str) -> None:
    """Tell a channel what it has not been told of an alert. It may be told twice, if we die in between."""
    found = next((each for each in channels_of(context.settings) if each.name == channel), None)
    if found is None:
        raise Fatal(f"no channel {channel!r} is configured any more")
    orders: tuple[What, ...] = ("fired", "recovered")
    for what in orders:
        with context.transaction() as session:
            alert = session.get(Alert, alert_id)
            if alert is None:
                return
            session.expunge(alert)  # it is told of as it is now, and no connection is held meanwhile
        told = alert.told.get(channel)
        if told == "recovered" or told == what or (what == "recovered" and alert.recovered_at is None):
            continue
        with context.transaction() as session:
            found.send(Notice.of(alert, what, context.settings), session)
            note_told(session, alert.id, channel, what)


@job("monitor.check", queue="critical", retry=(), timeout=120)
def check_rules(context: JobContext) -> None:
    """All rules but the stock's, which reads everything."""
    _check(context, [rule for rule in RULES if rule is not STOCK])


@job("monitor.verify_stock", queue="low", retry=(), timeout=3_600)
def check_stock(context: JobContext) -> None:
    _check(context, [STOCK])


@job("monitor.forget", queue="low", timeout=SWEEP_TIMEOUT)
def forget(context: JobContext) -> None:
    forget_old(context.session, now=context.now, keep_days=context.settings.monitor.keep_days)


def _check(context: JobContext, rules: list[Rule]) -> None:
    findings, asked = check(context.engine, context.settings.monitor, now=context.now, rules=rules)
    alert_about(context.session, findings, asked, settings=context.settings, now=context.now)


def alert_about(
    session: Session, findings: list[Finding], asked: Collection[Rule], *, settings: CoreSettings, now: datetime
) -> list[Alert]:
    """Record what was found, and have all channels told of what has changed; the alerts that have. Flushes."""
    changed = record_findings(session, findings, asked, good_checks=settings.monitor.good_checks, now=now)
    for alert in changed:
        for channel in channels_of(settings):
            key = f"monitor.tell:{alert.id}:{channel.name}"
            tell.enqueue(
                session,
                now=now,
                alert_id=alert.id,
                channel=channel.name,
                subject=f"alert:{alert.id}",
                unique_key=key,
                lane=key,
            )
    return changed


def includeme(config: Configurator) -> None:
    settings: CoreSettings = config.registry.settings_object
    config.add_job(tell)
    config.add_periodic_job(forget, every=timedelta(hours=1))
    if settings.monitor.every_seconds:
        config.add_periodic_job(check_rules, every=timedelta(seconds=settings.monitor.every_seconds))
    if settings.monitor.stock_verify_minutes:
        config.add_periodic_job(check_stock, every=timedelta(minutes=settings.monitor.stock_verify_minutes))
