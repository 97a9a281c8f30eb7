"""`commerce stripe ...`"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import click

from commerce_core.cli.shop import config_argument, open_shop

_SINCE = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


def all_commands() -> Iterable[click.Command]:
    return [replay, catch_up, events, doctor, reconcile]


@click.command()
@config_argument
@click.option("--id", "event_id", help="One event, by its id at Stripe.")
@click.option("--type", "event_type", help="Events of a type; charge.* are those that begin so.")
@click.option("--since", type=_SINCE, help="Events received since then (UTC).")
@click.option("--until", type=_SINCE, help="Events received before then (UTC).")
@click.option("--state", type=click.Choice(["received", "processed", "ignored", "unmatched", "dead"]))
@click.option("--dry-run", is_flag=True, help="Only say which.")
def replay(
    config: str,
    event_id: str | None,
    event_type: str | None,
    since: datetime | None,
    until: datetime | None,
    state: str | None,
    dry_run: bool,
) -> None:
    """Have kept events used again by the workers. What they have done is not done twice."""
    from sqlalchemy.orm import Session

    from commerce_core.database import transaction
    from commerce_stripe_payments.models import StripeEvent
    from commerce_stripe_payments.webhooks import replay as room

    if not any((event_id, event_type, since, state)):
        raise click.UsageError("Say which: --id, --type, --since or --state.")
    with open_shop(config) as shop:
        with Session(shop.engine) as session:
            chosen = room.choose(
                session, event_id=event_id, type=event_type, since=_utc(since), until=_utc(until), state=state
            )
            found = [(row.id, row.event_id, row.type, row.state) for row in chosen]
        done = 0
        for row_id, name, kind, was in found:
            said = "would be used again" if dry_run else "will be used again"
            try:
                if not dry_run:
                    with transaction(shop.engine) as session:
                        room.replay(session, session.get_one(StripeEvent, row_id), now=shop.clock.now())
                done += 1
            except room.NothingToReplay as error:
                said = f"left alone: {error.detail}"
            click.echo(f"{name}  {kind}  {was}  {said}")
        click.echo(f"{done} of {len(found)} events {'would be' if dry_run else 'will be'} used again.")


@click.command("catch-up")
@config_argument
@click.option("--since", type=_SINCE, help="Events since then (UTC). [default: a day ago]")
@click.option("--all", "all_of_them", is_flag=True, help="Also those that Stripe believes to have delivered.")
@click.option("--dry-run", is_flag=True, help="Only say which.")
def catch_up(config: str, since: datetime | None, all_of_them: bool, dry_run: bool) -> None:
    """File what Stripe could not deliver, after an outage. Stripe keeps events for 30 days."""
    from commerce_stripe_payments.webhooks import replay as room

    with open_shop(config) as shop, _stripe_errors():
        moment = _utc(since) or shop.clock.now() - timedelta(days=1)
        new = 0
        for event_id, kind, is_new in room.catch_up(
            shop.registry, since=moment, only_undelivered=not all_of_them, dry_run=dry_run
        ):
            if is_new:
                new += 1
                click.echo(f"{event_id}  {kind}")
        click.echo(f"{new} events {'would be' if dry_run else 'were'} filed that had not been told.")


@click.command()
@config_argument
@click.option("--state", type=click.Choice(["received", "processed", "ignored", "unmatched", "dead"]), default="dead")
@click.option("--limit", type=click.IntRange(1, 1_000), default=50, show_default=True)
def events(config: str, state: str, limit: int) -> None:
    """List events, the newest first: those that somebody must look at, unless another state is named."""
    from sqlalchemy import select
    from sqlalchemy.orm import Session

    from commerce_stripe_payments.models import StripeEvent

    with open_shop(config) as shop, Session(shop.engine) as session:
        query = select(StripeEvent).where(StripeEvent.state == state).order_by(StripeEvent.id.desc()).limit(limit)
        for row in session.scalars(query):
            click.echo(f"{row.received_at:%Y-%m-%d %H:%M:%S}  {row.event_id}  {row.type}  {row.detail or ''}")


@click.command()
@config_argument
def doctor(config: str) -> None:
    """Look whether keys, modes, the webhook endpoint and versions fit together. Fails if one does not."""
    from commerce_stripe_payments.doctor import examine

    with open_shop(config) as shop:
        findings = list(examine(shop.registry.stripe))
    for finding in findings:
        click.echo(f"{finding.level:4}  {finding.text}")
    if any(finding.level == "bad" for finding in findings):
        raise click.ClickException("Stripe and the shop do not fit together; see above.")


@click.command()
@config_argument
@click.option("--days", type=click.IntRange(1, 400), default=3, show_default=True, help="How far back.")
def reconcile(config: str, days: int) -> None:
    """Compare payments and refunds with Stripe's. Fails if there is a difference."""
    from commerce_core.database import transaction
    from commerce_stripe_payments.reconcile import compare, keep

    with open_shop(config) as shop, _stripe_errors():
        now = shop.clock.now()
        report = compare(shop.registry.stripe, since=now - timedelta(days=days), now=now)
        with transaction(shop.engine) as session:
            keep(session, report, now=now)
    for difference in report.differences:
        click.echo(f"{difference.kind}  {difference.reference}  {difference.detail}")
    if report.differences:
        raise click.ClickException(f"{len(report.differences)} differences between the shop and Stripe.")
    click.echo(f"{report.payments} payments and {report.refunds} refunds agree with Stripe.")


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)


@contextmanager
def _stripe_errors() -> Iterator[None]:
    """What the SDK raises is one line."""
    import stripe

    from commerce_stripe_payments.connection import DemoAway, say

    try:
        yield
    except (stripe.StripeError, DemoAway) as error:
        raise click.ClickException(f"Stripe cannot be asked: {say(error)}") from None
