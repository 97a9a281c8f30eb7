"""Using an event: ask Stripe what is true now, then let that take effect and mark the event, in one transaction.

Killed anywhere, it is done again, and comes to the same: until the commit nothing has happened, and after it the event
is marked. Two that are at the same event wait for its row, and the second one finds it used.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session, defer

from commerce_core.events import JobDied
from commerce_core.jobs.kinds import SWEEP_RETRY, SWEEP_TIMEOUT, JobContext, job
from commerce_stripe_payments.connection import Connection, say
from commerce_stripe_payments.models import StripeEvent
from commerce_stripe_payments.webhooks.handlers import EventHandler, Outcome
from commerce_stripe_payments.webhooks.reading import Told, id_of, read_event, read_thin_event

_log = structlog.get_logger("commerce.stripe")

RETRY = (5, 15, 60, 300, 900, 1_800, 3_600, 7_200)
# When what an event is about is not known: how long until it is looked for again, and for how long in all.
UNMATCHED_DELAYS = (timedelta(seconds=10), timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15))
UNMATCHED_PATIENCE = timedelta(hours=1)
# One that nobody has used for so long has lost its job, and gets another.
FORGOTTEN_AFTER = timedelta(seconds=60)
OPEN = ("received", "unmatched", "dead")
_AT_A_TIME = 200


class NotUsed(Exception):
    """The event could not be used. Says why, without what the event, or Stripe's answer, holds."""


@job("stripe.process_event", queue="critical", retry=RETRY, timeout=90)
def process_event(context: JobContext, event: UUID) -> None:
    """Let a filed event take effect, once."""
    connection: Connection = context.registry.stripe
    with context.transaction() as session:
        row = session.get(StripeEvent, event)
        if row is None or row.state not in OPEN:
            return
        told = read_stored(row)
    try:
        handler, told, truth = fetch(connection, context, told)
        use(context.session, connection, event, handler, told, truth, now=context.now)
    except Exception as error:
        is_last = context.attempt > len(RETRY)
        # It has the event's row locked, and nothing of it counts.
        context.session.rollback()
        with context.transaction() as session:
            note_failure(session, event, say(error), is_dead=is_last)
        # Not the error itself: the SDK's hold what was sent and answered.
        raise NotUsed(f"{told.type} {told.id}: {say(error)}") from None


def read_stored(row: StripeEvent) -> Told:
    """The event in a row."""
    return read_thin_event(row.body) if row.is_thin else read_event(row.body)


def fetch(connection: Connection, context: JobContext, told: Told) -> tuple[EventHandler | Outcome, Told, Any]:
    """What to do about an event, and what is true now, from Stripe. Outside of any transaction."""
    if told.is_thin:
        twin = _snapshot_twin(connection, told)
        if twin is not None:
            with context.transaction() as session:
                known = session.scalar(select(exists().where(StripeEvent.event_id == twin)))
            if known:
                return Outcome("ignored", f"twin: {twin} says the same"), told, None
    handler = connection.handlers.get(told.type)
    if handler is None:
        return Outcome("ignored", "type: nothing is done about such events"), told, None
    if handler.fetch is None:
        return handler, told, None
    seen = None
    if handler.look is not None:
        with context.transaction() as session:
            seen = handler.look(session, told)
    truth = handler.fetch(connection.client, told)
    if truth is None:
        return Outcome("ignored", "gone: Stripe has no such object"), told, None
    return handler, told, truth if handler.look is None else (seen, truth)


def use(
    session: Session,
    connection: Connection,
    event: UUID,
    handler: EventHandler | Outcome,
    told: Told,
    truth: Any,
    *,
    now: datetime,
) -> None:
    """Let an event take effect, unless that has happened since. Locks the event's row, then the order's."""
    row = session.get(StripeEvent, event, with_for_update=True, populate_existing=True)
    if row is None or row.state not in OPEN:
        return
    row.attempts += 1
    outcome = handler if isinstance(handler, Outcome) else handler.apply(session, connection, told, truth, now)
    row.state, row.detail, row.order_id = outcome.state, outcome.detail, outcome.order_id
    if outcome.state == "unmatched":
        _look_again(session, row, told, handler, now=now)
    else:
        row.processed_at = now
    if outcome.state == "dead":
        _log.error("event needs somebody", event_id=row.event_id, type=row.type, detail=outcome.detail)
    session.flush()
    connection.meters.used.labels(outcome.state).inc()


def note_failure(session: Session, event: UUID, error: str, *, is_dead: bool) -> None:
    """Write down why an event could not be used; for good, if it will not be tried again by itself."""
    row = session.get(StripeEvent, event, with_for_update=True)
    if row is not None and row.state in OPEN:
        row.attempts += 1
        row.detail = error
        if is_dead:
            row.state = "dead"
            _log.error("event needs somebody", event_id=row.event_id, type=row.type, detail=error)


@job("stripe.bury_event")
def bury_event(context: JobContext, event: JobDied) -> None:
    """A job that could not even say why it failed has died: its event waits for the staff."""
    if event.name == process_event.name and (event.subject or "").startswith("stripe:"):
        for row in context.session.scalars(
            select(StripeEvent).where(
                StripeEvent.event_id == (event.subject or "").removeprefix("stripe:"), StripeEvent.state == "received"
            )
        ):
            note_failure(context.session, row.id, event.error or "its job has died", is_dead=True)


@job("stripe.hand_out_events", queue="critical", retry=SWEEP_RETRY, timeout=SWEEP_TIMEOUT)
def hand_out_events(context: JobContext) -> None:
    """Want a job for each event that has come since."""
    while True:
        with context.transaction() as session:
            rows = session.scalars(
                select(StripeEvent)
                .options(defer(StripeEvent.body))
                .where(StripeEvent.state == "received", StripeEvent.queued_at.is_(None))
                .order_by(StripeEvent.id)
                .limit(_AT_A_TIME)
                .with_for_update(skip_locked=True)
            ).all()
            for row in rows:
                row.queued_at = context.now
                # Events of one object one after the other: less waiting for locks, and fewer calls in vain.
                lane = None if row.object_id is None else f"stripe:{row.object_id}"
                want(session, row.id, row.event_id, now=context.now, lane=lane)
        if len(rows) < _AT_A_TIME:
            return


def events_have_come(session: Session, now: datetime) -> bool:
    """Whether there are such."""
    return bool(
        session.scalar(select(exists().where(StripeEvent.state == "received", StripeEvent.queued_at.is_(None))))
    )


@job("stripe.sweep_events", queue="critical")
def sweep_events(context: JobContext) -> None:
    """Want a job for each event that waits without one: there should be none."""
    for event in forgotten(context.session, now=context.now, limit=500):
        want(context.session, event.id, event.event_id, now=context.now)


@job("stripe.prune_events", queue="low")
def prune_events(context: JobContext) -> None:
    """Forget events that were used, or ignored, long ago. Never others."""
    connection: Connection = context.registry.stripe
    before = context.now - timedelta(days=connection.settings.keep_events_days)
    context.session.execute(
        delete(StripeEvent).where(StripeEvent.state.in_(("processed", "ignored")), StripeEvent.processed_at < before)
    )


def forgotten(session: Session, *, now: datetime, limit: int) -> Sequence[StripeEvent]:
    """Events that have waited so long that a job should have seen to them. Takes no locks."""
    return session.scalars(
        select(StripeEvent)
        .where(
            StripeEvent.state.in_(("received", "unmatched")),
            StripeEvent.received_at < now - FORGOTTEN_AFTER,
            (StripeEvent.state == "received") | (StripeEvent.received_at > now - UNMATCHED_PATIENCE),
        )
        .order_by(StripeEvent.received_at)
        .limit(limit)
    ).all()


def want(session: Session, row_id: UUID, event_id: str, *, now: datetime, **options: Any) -> None:
    """Want a job for an event, unless one waits already."""
    process_event.enqueue(
        session, now=now, event=row_id, subject=f"stripe:{event_id}", unique_key=f"stripe:{row_id}", **options
    )


def _look_again(
    session: Session, row: StripeEvent, told: Told, handler: EventHandler | Outcome, *, now: datetime
) -> None:
    """Sooner at first, then seldom, then never: it is left for the staff."""
    due = now + UNMATCHED_DELAYS[min(row.attempts, len(UNMATCHED_DELAYS)) - 1]
    if due <= row.received_at + UNMATCHED_PATIENCE:
        want(session, row.id, row.event_id, now=now, run_at=due)
        return
    _log.error("event stays unmatched", event_id=row.event_id, type=row.type, detail=row.detail)
    if isinstance(handler, EventHandler) and handler.orphan is not None:
        handler.orphan(session, told, now)


def _snapshot_twin(connection: Connection, told: Told) -> str | None:
    """The id of the snapshot event of the same thing, if there is one."""
    found = connection.client.v2.core.events.retrieve(told.id)
    return id_of(getattr(found, "snapshot_event", None))
