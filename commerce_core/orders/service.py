"""The life of an order once it is placed (placing.py): paid, cancelled, expired.

Works in the caller's transaction; flushes, never commits. Lock order: the order, its holds, then levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from commerce_core.api.problems import Conflict
from commerce_core.events import OrderCancelled, OrderPaid, OrderPaymentFailed, emit, savepoint
from commerce_core.orders.hooks import tell_of_transition
from commerce_core.orders.models import Order, OrderEvent, OrderLine
from commerce_core.orders.states import MACHINES
from commerce_core.stock import service as stock
from commerce_core.stock.models import Hold

# Stock that is taken again for a late payment is sold at once; the hold lives only inside the transaction.
_INSTANT = timedelta(minutes=1)


class WrongOrderState(Conflict):
    """The order is in a state, `state`, from which this step is not allowed."""

    slug = "wrong-order-state"
    title = "The order's state does not allow this"
    example: ClassVar[dict[str, Any]] = {"state": "cancelled"}


def lock_order(session: Session, order_id: UUID) -> Order | None:
    """The order, its row locked and read afresh. Take it before touching anything that belongs to it."""
    return session.get(Order, order_id, with_for_update={"of": Order}, populate_existing=True)


def transition(session: Session, order: Order, machine: str, new: str, actor: str | None = None) -> None:
    """Move one of the order's states on and write it into the history. Raises WrongOrderState."""
    old = getattr(order, machine)
    if new not in MACHINES[machine][old]:
        raise WrongOrderState(f"The order's {machine} is {old} and cannot become {new}.", state=old)
    setattr(order, machine, new)
    record(session, order, machine, actor, old=old, new=new)
    tell_of_transition(session, order, machine, old, new)


def record(session: Session, order: Order, kind: str, actor: str | None = None, **data: Any) -> None:
    """Add a line to the order's history."""
    session.add(OrderEvent(order_id=order.id, kind=kind, data=data, actor=actor))


def mark_paid(session: Session, order: Order, *, now: datetime, actor: str | None = None) -> bool:
    """The order (locked) has been paid: its stock is sold. False when its stock is gone, and the money must go back.

    An order that had lapsed gets its stock back if there is still enough for every line; one that was cancelled does
    not.
    """
    if order.status == "cancelled":
        if order.cancel_reason != "expired" or not _take_stock_again(session, order, now=now):
            transition(session, order, "payment_status", "paid", actor)
            order.paid_at = now
            session.flush()
            return False
        record(session, order, "stock_taken_again", actor)
    transition(session, order, "status", "processing", actor)
    transition(session, order, "payment_status", "paid", actor)
    order.paid_at = now
    order.expires_at = None
    order.cancelled_at = None
    order.cancel_reason = None
    stock.sell_holds(session, holds_of(session, order), now=now, actor=actor)
    session.flush()
    emit(session, OrderPaid(order_id=order.id, number=order.number))
    return True


def mark_payment_failed(session: Session, order: Order, *, actor: str | None = None) -> None:
    """A payment of the order (locked) has failed. The order stays open until it lapses, so it can be tried again."""
    if order.payment_status != "failed":
        transition(session, order, "payment_status", "failed", actor)
        session.flush()
        emit(session, OrderPaymentFailed(order_id=order.id, number=order.number))


def cancel_order(
    session: Session, order: Order, *, now: datetime, actor: str | None = None, reason: str = "cancelled"
) -> None:
    """Cancel an order (locked) that has not been paid, and give its stock back. Raises WrongOrderState."""
    if order.status != "pending":
        raise WrongOrderState(f"The order is {order.status} and cannot be cancelled.", state=order.status)
    transition(session, order, "status", "cancelled", actor)
    order.cancelled_at = now
    order.cancel_reason = "expired" if reason == "expired" else "cancelled"
    order.expires_at = None
    stock.end_holds(session, holds_of(session, order), now=now, actor=actor, reason=f"order {reason}")
    session.flush()
    emit(session, OrderCancelled(order_id=order.id, number=order.number, reason=reason))


def change_order(session: Session, order: Order, changes: dict[str, Any], *, actor: str) -> None:
    """Correct an order (locked): its `shipping_address`, its `staff_note`.

    Raises WrongOrderState for the address of an order that was cancelled, or of which something was shipped.
    """
    closed = order.status in ("completed", "cancelled") or order.fulfillment_status != "unfulfilled"
    if "shipping_address" in changes and closed:
        raise WrongOrderState(
            f"The order is {order.status} and {order.fulfillment_status}; its address stays as it is.",
            state=order.status,
        )
    for field, value in changes.items():
        setattr(order, field, value)
    record(session, order, "changed", actor, fields=sorted(changes))
    session.flush()


def lapsed_order_ids(session: Session, *, now: datetime, limit: int) -> Sequence[UUID]:
    """Unpaid orders whose time is over, oldest first. Takes no locks."""
    return session.scalars(
        select(Order.id)
        .where(Order.status == "pending", Order.expires_at <= now)
        .order_by(Order.expires_at)
        .limit(limit)
    ).all()


def expire_order(session: Session, order_id: UUID, *, now: datetime) -> Order | None:
    """Cancel the order if it is still unpaid and its time is over; None if not, or if somebody else has locked it."""
    order = session.scalar(
        select(Order)
        .where(Order.id == order_id, Order.status == "pending", Order.expires_at <= now)
        .with_for_update(skip_locked=True, of=Order)
    )
    if order is not None:
        cancel_order(session, order, now=now, actor="scheduler", reason="expired")
    return order


def prolong(session: Session, order: Order, until: datetime, *, actor: str | None = None) -> None:
    """Let an unpaid order (locked) lapse later: its payment is on the way. Never earlier."""
    if order.status == "pending" and order.expires_at is not None and order.expires_at < until:
        order.expires_at = until
        record(session, order, "prolonged", actor, until=until.isoformat())
        session.flush()


def hurry(session: Session, order: Order, until: datetime) -> None:
    """Let an unpaid order (locked) that was prolonged lapse at `until`: its payment did not come. Never later."""
    if order.status == "pending" and order.expires_at is not None and order.expires_at > until:
        order.expires_at = until
        session.flush()


def holds_of(session: Session, order: Order) -> Sequence[Hold]:
    """The holds of the order's lines, locked."""
    return session.scalars(
        select(Hold)
        .join(OrderLine, OrderLine.hold_id == Hold.id)
        .where(OrderLine.order_id == order.id)
        .order_by(Hold.id)
        .with_for_update(of=Hold)
        .execution_options(populate_existing=True)
    ).all()


def _take_stock_again(session: Session, order: Order, *, now: datetime) -> bool:
    """New holds for every line of an order that had given its stock back: all, or none."""
    try:
        with savepoint(session):
            for line in sorted(order.lines, key=lambda line: (line.variant_id, line.id)):
                hold_id = stock.place_hold(
                    session, line.variant_id, line.quantity, ttl=_INSTANT, now=now, owner=order.owner
                )
                hold = stock.get_hold(session, hold_id, lock=True)
                assert hold is not None
                stock.convert_hold(session, hold, order.id, now=now)
                line.hold_id = hold_id
            session.flush()
    except (stock.OutOfStock, stock.UnknownVariant, IntegrityError):
        session.refresh(order)
        return False
    return True
