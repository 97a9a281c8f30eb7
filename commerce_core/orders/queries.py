"""Reading orders. Nothing here locks."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session, selectinload

from commerce_core.orders.models import Fulfillment, Order, OrderLine

_WITH_PARTS = (
    selectinload(Order.lines),
    selectinload(Order.adjustments),
    selectinload(Order.fulfillments).selectinload(Fulfillment.lines),
)


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders to list: those for which all that is given holds."""

    status: str | None = None
    payment_status: str | None = None
    fulfillment_status: str | None = None
    email: str | None = None
    number: str | None = None
    sku: str | None = None
    variant_id: UUID | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


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


def find_orders(
    session: Session, which: OrderFilter, *, before: UUID | None, limit: int
) -> tuple[Sequence[Order], bool]:
    """Everybody's orders, newest first, and whether more follow."""
    orders = session.scalars(order_query(which, before=before, limit=limit + 1).options(*_WITH_PARTS)).all()
    return orders[:limit], len(orders) > limit


def order_query(which: OrderFilter, *, before: UUID | None, limit: int) -> Select[Order]:
    """The orders for which all that is asked for holds, newest first, from before the one with that id."""
    query = select(Order).where(*_conditions(which)).order_by(Order.id.desc()).limit(limit)
    return query if before is None else query.where(Order.id < before)


def id_of_guest_order(session: Session, number: str, email: str) -> UUID | None:
    """The id of a guest's order with this number and this customer's address. As much work whichever is wrong."""
    found = session.execute(
        select(Order.id, Order.owner, Order.customer["email"].astext).where(Order.number == number.upper())
    ).one_or_none()
    order_id, owner, known = found or (None, None, None)
    same = hmac.compare_digest((known or "").casefold().encode(), email.casefold().encode())
    return order_id if same and not (owner or "").startswith("user:") else None


def _conditions(which: OrderFilter) -> Iterator[ColumnElement[bool]]:
    for machine in ("status", "payment_status", "fulfillment_status"):
        state = getattr(which, machine)
        if state is not None:
            yield getattr(Order, machine) == state
    if which.email is not None:
        yield func.lower(Order.customer["email"].astext) == which.email.lower()
    if which.number is not None:
        yield Order.number == which.number.upper()
    if which.created_from is not None:
        yield Order.created_at >= which.created_from
    if which.created_to is not None:
        yield Order.created_at < which.created_to
    if which.sku is not None:
        yield Order.id.in_(select(OrderLine.order_id).where(OrderLine.sku == which.sku))
    if which.variant_id is not None:
        yield Order.id.in_(select(OrderLine.order_id).where(OrderLine.variant_id == which.variant_id))
