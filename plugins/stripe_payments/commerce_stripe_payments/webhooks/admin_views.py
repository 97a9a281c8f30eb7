"""Stripe's events for staff: what came, what became of it, and again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view, path_id
from commerce_core.api.problems import NotFound
from commerce_core.api.schemas import cursor_list_of
from commerce_stripe_payments.models import StripeEvent
from commerce_stripe_payments.webhooks.replay import NothingToReplay, replay
from commerce_stripe_payments.webhooks.schemas import EventList, EventOut, EventQuery


@api_view(
    route_name="stripe_admin_events",
    request_method="GET",
    permission=Permission.ORDER_READ_ALL,
    query=EventQuery,
    returns=EventList,
)
def list_events(request: Any, query: EventQuery) -> Any:
    """What Stripe told us, newest first. `state=dead` and `state=unmatched` are the lists to watch."""
    rows = select(StripeEvent).order_by(StripeEvent.id.desc()).limit(query.limit + 1)
    if query.state is not None:
        rows = rows.where(StripeEvent.state == query.state)
    if query.type is not None:
        rows = rows.where(StripeEvent.type == query.type)
    if query.object_id is not None:
        rows = rows.where(StripeEvent.object_id == query.object_id)
    if query.after is not None:
        rows = rows.where(StripeEvent.id < query.after)
    events = request.db.scalars(rows).all()
    more = len(events) > query.limit
    events = events[: query.limit]
    return cursor_list_of(request.path, query, [EventOut.of(row) for row in events], events[-1].id if more else None)


@api_view(
    route_name="stripe_admin_event_replay",
    request_method="POST",
    permission=Permission.ORDER_MANAGE,
    returns=EventOut,
    problems=(NothingToReplay, NotFound),
)
def replay_event(request: Any) -> EventOut:
    """Use an event again, in a moment. What it has done is not done twice."""
    row = request.db.get(StripeEvent, path_id(request))
    if row is None:
        raise NotFound("There is no such event.")
    before = {"state": row.state, "detail": row.detail}
    replay(request.db, row, now=request.now)
    request.audit("stripe.replay-event", f"stripe-event:{row.event_id}", before=before, after={"state": row.state})
    return EventOut.of(row)
