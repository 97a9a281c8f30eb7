"""Using events again: those that are kept, and those that Stripe has and we were never told of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import orjson
import stripe
from sqlalchemy import select
from sqlalchemy.orm import Session

from commerce_core.api.problems import Conflict
from commerce_stripe_payments.models import StripeEvent
from commerce_stripe_payments.webhooks.intake import file_event
from commerce_stripe_payments.webhooks.processing import want
from commerce_stripe_payments.webhooks.reading import read_event


class NothingToReplay(Conflict):
    """The event is of another mode or account than the shop; `state` and `why` say more."""

    slug = "stripe/nothing-to-replay"
    title = "There is nothing to be done about this event"
    example: ClassVar[dict[str, Any]] = {"state": "ignored", "why": "mode: this shop is in test mode"}


def choose(
    session: Session,
    *,
    event_id: str | None = None,
    type: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    state: str | None = None,
) -> Sequence[StripeEvent]:
    """Kept events, oldest first. `type` may end in `*`."""
    query = select(StripeEvent).order_by(StripeEvent.id)
    if event_id is not None:
        query = query.where(StripeEvent.event_id == event_id)
    if type is not None:
        pattern = StripeEvent.type.startswith(type[:-1], autoescape=True) if type.endswith("*") else None
        query = query.where(StripeEvent.type == type if pattern is None else pattern)
    if since is not None:
        query = query.where(StripeEvent.received_at >= since)
    if until is not None:
        query = query.where(StripeEvent.received_at < until)
    if state is not None:
        query = query.where(StripeEvent.state == state)
    return session.scalars(query).all()


def replay(session: Session, row: StripeEvent, *, now: datetime) -> None:
    """Want a kept event to be used again, whatever became of it. Locks it. What it has done is not done twice.

    Raises NothingToReplay for one of another mode or account.
    """
    session.refresh(row, with_for_update=True)
    if row.state == "ignored" and (row.detail or "").startswith(("mode:", "account:")):
        raise NothingToReplay(row.detail, state=row.state, why=row.detail)
    row.state = "received"
    row.processed_at = None
    row.queued_at = now
    session.flush()
    want(session, row.id, row.event_id, now=now)


def catch_up(
    registry: Any, *, since: datetime, only_undelivered: bool, dry_run: bool
) -> Iterator[tuple[str, str, bool]]:
    """File what Stripe has told nobody of, or all of it, since a moment: id, type, and whether it was new.

    Stripe keeps events for 30 days. Nothing that is filed already is touched.
    """
    connection = registry.stripe
    parameters: dict[str, Any] = {"created": {"gte": int(since.timestamp())}, "limit": 100}
    if only_undelivered:
        parameters["delivery_success"] = False
    found = connection.client.v1.events.list(parameters)
    for event in reversed(list(found.auto_paging_iter())):
        body = raw_body(event)
        told = read_event(body)
        new = False
        if dry_run:
            with Session(registry.engine) as session:
                new = _filed(session, told.id) is None
        else:
            new = file_event(registry, connection, told, body, now=registry.clock.now())
        yield told.id, told.type, new


def raw_body(event: stripe.Event) -> bytes:
    """An event of the events API as a webhook would have brought it."""
    return orjson.dumps(event.to_dict(for_json=True), default=str)


def _filed(session: Session, event_id: str) -> UUID | None:
    return session.scalar(select(StripeEvent.id).where(StripeEvent.event_id == event_id))
