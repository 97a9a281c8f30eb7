"""Reading orders. Nothing here locks."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from commerce_core.orders.models import Order

_WITH_PARTS = (selectinload(Order.lines), selectinload(Order.adjustments))


def get_order(session: Session, order_id: UUID) -> Order | None:
    return session.get(Order, order_id, options=_WITH_PARTS)


def id_of_number(session: Session, number: str) -> UUID | None:
    """The id of the order with this number; letters in either case."""
    if "\x00" in number:
        return None
    return session.scalar(select(Order.id).where(Order.number == number.upper()))


def list_orders(
    session: Session,
    *,
    owner: str | None,
    status: str | None,
    payment_status: str | None,
    before: UUID | None,
    limit: int,
) -> tuple[Sequence[Order], bool]:
    """Orders, newest first, and whether more follow. `owner` None means everybody's."""
    query = select(Order).options(*_WITH_PARTS).order_by(Order.id.desc()).limit(limit + 1)
    if owner is not None:
        query = query.where(Order.owner == owner)
    if status is not None:
        query = query.where(Order.status == status)
    if payment_status is not None:
        query = query.where(Order.payment_status == payment_status)
    if before is not None:
        query = query.where(Order.id < before)
    orders = session.scalars(query).all()
    return orders[:limit], len(orders) > limit
