"""Reading refunds and webhook events. Nothing here locks."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload, selectinload

from commerce_core.payments.models import Refund, WebhookEvent


def list_refunds(
    session: Session, *, order_id: UUID | None = None, status: str | None, before: UUID | None, limit: int
) -> tuple[Sequence[Refund], bool]:
    """Refunds, newest first, and whether more follow; of one order, if asked."""
    query = (
        select(Refund)
        .options(joinedload(Refund.payment), selectinload(Refund.lines))
        .order_by(Refund.id.desc())
        .limit(limit + 1)
    )
    if order_id is not None:
        query = query.where(Refund.order_id == order_id)
    if status is not None:
        query = query.where(Refund.status == status)
    if before is not None:
        query = query.where(Refund.id < before)
    refunds = session.scalars(query).all()
    return refunds[:limit], len(refunds) > limit


def list_webhook_events(
    session: Session, *, state: str | None, provider: str | None, before: UUID | None, limit: int
) -> tuple[Sequence[WebhookEvent], bool]:
    """Events, newest first, and whether more follow."""
    query = select(WebhookEvent).order_by(WebhookEvent.id.desc()).limit(limit + 1)
    if state is not None:
        query = query.where(WebhookEvent.state == state)
    if provider is not None:
        query = query.where(WebhookEvent.provider == provider)
    if before is not None:
        query = query.where(WebhookEvent.id < before)
    events = session.scalars(query).all()
    return events[:limit], len(events) > limit
