"""What becomes of an order's units: shipped, never to be shipped, or sent back.

Works in the caller's transaction on an order that is locked; flushes, never commits. Lock order: the order, its holds,
then levels by ascending variant id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy.orm import Session

from commerce_core.api.problems import Conflict, InvalidInput, NotFound
from commerce_core.database import uuid7
from commerce_core.events import FulfillmentCancelled, OrderCancelled, OrderCompleted, OrderFulfilled, emit
from commerce_core.orders.hooks import ask_before_fulfilling
from commerce_core.orders.models import Fulfillment, FulfillmentLine, Order, OrderLine
from commerce_core.orders.service import WrongOrderState, holds_of, record, transition
from commerce_core.stock import service as stock
from commerce_core.stock.models import Hold


class NotEnoughLeft(Conflict):
    """A line has fewer such units than that; `left` is how many, and `line_id` which line."""

    slug = "not-enough-left"
    title = "The line has fewer units left"
    example: ClassVar[dict[str, Any]] = {
        "detail": "Only 1 left of COFFEE-250.",
        "line_id": "01932c07-209c-7e3a-b6f4-5d2a8c9e1f70",
        "left": 1,
    }

    def __init__(self, line: OrderLine, left: int) -> None:
        super().__init__(f"Only {left} left of {line.sku}.", line_id=str(line.id), left=left)


class AwaitingStock(Conflict):
    """These lines, `line_ids`, are paid backorders whose units have not been delivered yet."""

    slug = "awaiting-stock"
    title = "The units have not arrived yet"
    example: ClassVar[dict[str, Any]] = {"line_ids": ["01932c07-209c-7e3a-b6f4-5d2a8c9e1f70"]}


@dataclass(frozen=True, slots=True)
class Tracking:
    """Where a parcel is."""

    carrier: str | None = None
    number: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class UnitsBack:
    """Units of a line that the customer does not get, or has sent back.

    `returned` says whether they are units that had been shipped; None takes those first that had not. Restocked, they
    are on hand again.
    """

    line: OrderLine
    quantity: int
    restock: bool
    returned: bool | None = None


@dataclass(frozen=True, slots=True)
class UnitsTaken:
    """Where such units went: how many to the stock on hand, and how many were only reserved and are so no more."""

    restocked: int
    released: int


def fulfil_order(
    session: Session,
    order: Order,
    units: Mapping[UUID, int] | None,
    tracking: Tracking,
    *,
    notify: bool,
    now: datetime,
    actor: str | None,
) -> Fulfillment:
    """Ship `units` by line id, or all that is left and on hand, of a paid order.

    Raises WrongOrderState, NotEnoughLeft, AwaitingStock, InvalidInput for a line that is not the order's, or what a
    plugin refuses it for.
    """
    if order.status != "processing":
        raise WrongOrderState(f"The order is {order.status}; there is nothing to ship.", state=order.status)
    waiting = _waiting_lines(session, order)
    if units is None:
        left = [line for line in order.lines if line.unfulfilled_quantity]
        shipped = {line: line.unfulfilled_quantity for line in left if line.id not in waiting}
        short = [] if shipped else left
    else:
        shipped = {line_of(order, line_id, at): quantity for at, (line_id, quantity) in enumerate(units.items())}
        short = [line for line in shipped if line.id in waiting]
    for line, quantity in shipped.items():
        if quantity > line.unfulfilled_quantity:
            raise NotEnoughLeft(line, line.unfulfilled_quantity)
    if short:
        raise AwaitingStock("They wait for a delivery.", line_ids=[str(line.id) for line in short])
    ask_before_fulfilling(session, order, shipped)
    fulfillment = Fulfillment(
        id=uuid7(),
        order_id=order.id,
        status="shipped",
        carrier=tracking.carrier,
        tracking_number=tracking.number,
        tracking_url=tracking.url,
        created_at=now,
        lines=[FulfillmentLine(line_id=line.id, quantity=quantity) for line, quantity in shipped.items()],
    )
    order.fulfillments.append(fulfillment)
    for line, quantity in shipped.items():
        line.fulfilled_quantity += quantity
    record(session, order, "fulfilled", actor, fulfillment_id=str(fulfillment.id), units=sum(shipped.values()))
    emit(
        session,
        OrderFulfilled(
            order_id=order.id,
            number=order.number,
            fulfillment_id=fulfillment.id,
            carrier=tracking.carrier,
            tracking_number=tracking.number,
            notify=notify,
        ),
    )
    settle_states(session, order, now=now, actor=actor)
    return fulfillment


def cancel_fulfillment(
    session: Session, order: Order, fulfillment: Fulfillment, *, now: datetime, actor: str | None
) -> None:
    """It was a mistake: its units are still to be shipped.

    Raises WrongOrderState when it was cancelled before, or when so many of its units have come back that it cannot be.
    """
    if fulfillment.status == "cancelled":
        raise WrongOrderState("The fulfillment has been cancelled before.", state="cancelled")
    lines = {line.id: line for line in order.lines}
    for part in fulfillment.lines:
        line = lines[part.line_id]
        if line.fulfilled_quantity - part.quantity < line.returned_quantity:
            raise WrongOrderState(f"Units of {line.sku} have come back from the customer.", state="returned")
        line.fulfilled_quantity -= part.quantity
    fulfillment.status = "cancelled"
    fulfillment.cancelled_at = now
    record(session, order, "fulfillment_cancelled", actor, fulfillment_id=str(fulfillment.id))
    settle_states(session, order, now=now, actor=actor)
    emit(session, FulfillmentCancelled(order_id=order.id, number=order.number, fulfillment_id=fulfillment.id))


def fulfillment_of(order: Order, fulfillment_id: UUID) -> Fulfillment:
    """Raises NotFound."""
    for fulfillment in order.fulfillments:
        if fulfillment.id == fulfillment_id:
            return fulfillment
    raise NotFound("The order has no such fulfillment.")


def line_of(order: Order, line_id: UUID, position: int) -> OrderLine:
    """The order's line with this id. Raises InvalidInput, naming the `position` in the input."""
    for line in order.lines:
        if line.id == line_id:
            return line
    raise InvalidInput.field(f"lines.{position}.line_id", "unknown_line", "is not a line of this order")


def take_units_back(
    session: Session, order: Order, units: Sequence[UnitsBack], *, now: datetime, actor: str | None, reason: str
) -> dict[UUID, UnitsTaken]:
    """Take units off lines that are different from each other, and give their stock back; by line id, where they went.

    A paid backorder that waits is released whatever `restock` says: its units were never there. Units that were not
    tracked when they were sold are not counted when they return. Raises NotEnoughLeft before anything is changed.
    """
    split = {back.line.id: _split(back) for back in units}
    holds = {hold.id: hold for hold in holds_of(session, order)}
    taken = {}
    for back in sorted(units, key=lambda back: (back.line.variant_id, back.line.id)):
        line = back.line
        assert line.hold_id is not None
        hold = holds[line.hold_id]
        if hold.sold_at is None:
            _release(session, line, hold, back.quantity, now=now, actor=actor, reason=reason)
            taken[line.id] = UnitsTaken(restocked=0, released=back.quantity)
        elif back.restock and hold.reserved:
            stock.receive_stock(
                session,
                line.variant_id,
                back.quantity,
                now=now,
                actor=actor,
                reason=reason,
                kind="return",
                order_id=order.id,
            )
            taken[line.id] = UnitsTaken(restocked=back.quantity, released=0)
        else:
            taken[line.id] = UnitsTaken(restocked=0, released=0)
        cancelled, returned = split[line.id]
        line.cancelled_quantity += cancelled
        line.returned_quantity += returned
    settle_states(session, order, now=now, actor=actor)
    return taken


def settle_states(session: Session, order: Order, *, now: datetime, actor: str | None) -> None:
    """Let the states of a paid order follow from what became of its units."""
    fulfilled = sum(line.fulfilled_quantity for line in order.lines)
    returned = sum(line.returned_quantity for line in order.lines)
    left = sum(line.unfulfilled_quantity for line in order.lines)
    if not fulfilled:
        shipping, status = "unfulfilled", "processing" if left else "cancelled"
    elif left:
        shipping, status = "partial", "processing"
    else:
        shipping, status = "returned" if returned == fulfilled else "fulfilled", "completed"
    before = (order.fulfillment_status, order.status)
    if shipping != order.fulfillment_status:
        transition(session, order, "fulfillment_status", shipping, actor)
    if status != order.status:
        transition(session, order, "status", status, actor)
        if status == "cancelled":
            order.cancelled_at = now
            order.cancel_reason = "cancelled"
            emit(session, OrderCancelled(order_id=order.id, number=order.number, reason="cancelled"))
    if (shipping, status) != before and status == "completed":
        emit(session, OrderCompleted(order_id=order.id, number=order.number, is_returned=shipping == "returned"))
    session.flush()


def _waiting_lines(session: Session, order: Order) -> set[UUID]:
    """The lines whose units are not there yet."""
    unsold = {hold.id for hold in holds_of(session, order) if hold.sold_at is None}
    return {line.id for line in order.lines if line.hold_id in unsold}


def _split(back: UnitsBack) -> tuple[int, int]:
    """How many of the units had not been shipped, and how many had."""
    line = back.line
    unfulfilled = 0 if back.returned is True else line.unfulfilled_quantity
    shipped = 0 if back.returned is False else line.fulfilled_quantity - line.returned_quantity
    if back.quantity > unfulfilled + shipped:
        raise NotEnoughLeft(line, unfulfilled + shipped)
    cancelled = min(back.quantity, unfulfilled)
    return cancelled, back.quantity - cancelled


def _release(
    session: Session, line: OrderLine, hold: Hold, quantity: int, *, now: datetime, actor: str | None, reason: str
) -> None:
    if quantity == hold.quantity:
        stock.end_holds(session, [hold], now=now, actor=actor, reason=reason)
    else:
        line.hold_id = stock.shrink_backorder(session, hold, quantity, now=now, actor=actor, reason=reason).id
