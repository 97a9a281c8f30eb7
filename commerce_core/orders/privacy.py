"""What becomes of the orders of somebody who leaves: they stay, for the books, and say no longer whose they were."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from commerce_core.api.problems import Conflict
from commerce_core.carts.service import discard_cart, lock_cart
from commerce_core.mail.service import forget_mails_to
from commerce_core.orders.models import Fulfillment, Order
from commerce_core.webhooks.service import forget_orders

GONE = "Deleted"
NOBODY = {"email": "deleted@deleted.invalid", "name": GONE, "phone": None}
_MOST_NAMED = 20


class OrdersUnderWay(Conflict):
    """The orders `order_numbers` wait to be paid or delivered, and the shop needs the address. Cancel them, or wait."""

    slug = "orders-under-way"
    title = "There are orders under way"
    example: ClassVar[dict[str, Any]] = {"order_numbers": ["K7QX2-M9T4R"]}


def forget_customer(session: Session, owner: str, *, now: datetime) -> None:
    """Reduce an owner's orders to what the books need (country and region), and drop their cart.

    Locks the cart, then all the owner's orders. Raises OrdersUnderWay. Histories and ledgers name only the user's id,
    and stay as they are.
    """
    lock_cart(session, owner, now=now)
    orders = session.scalars(
        select(Order)
        .where(Order.owner == owner)
        .order_by(Order.id)
        .with_for_update(of=Order)
        .execution_options(populate_existing=True)
    ).all()
    if waiting := _under_way(session, owner):
        raise OrdersUnderWay(order_numbers=list(waiting[:_MOST_NAMED]))
    for address in {order.customer["email"] for order in orders if order.customer is not None}:
        forget_mails_to(session, address)
    for order in orders:
        order.customer = None if order.customer is None else dict(NOBODY)
        order.shipping_address = _reduced(order.shipping_address)
        order.billing_address = _reduced(order.billing_address)
        order.note = order.staff_note = None
        if order.cancel_reason == "expired":
            # Should it be paid yet, there is nowhere to send it: the money goes back.
            order.cancel_reason = "cancelled"
    # A carrier tells who knows the number where the parcel went.
    session.execute(
        update(Fulfillment)
        .where(Fulfillment.order_id.in_([order.id for order in orders]))
        .values(tracking_number=None, tracking_url=None)
    )
    session.flush()
    forget_orders(session, [order.id for order in orders])
    discard_cart(session, owner, now=now)


def _under_way(session: Session, owner: str) -> Sequence[str]:
    """Numbers of orders that may yet be paid, or are paid and not delivered."""
    undelivered = (
        (Order.status == "processing")
        & Order.payment_status.in_(("paid", "partially_refunded"))
        & Order.fulfillment_status.in_(("unfulfilled", "partial"))
    )
    return session.scalars(
        select(Order.number).where(Order.owner == owner, or_(Order.status == "pending", undelivered)).order_by(Order.id)
    ).all()


def _reduced(address: dict[str, Any] | None) -> dict[str, Any] | None:
    """An address of which only what taxes are reckoned by is left."""
    if address is None:
        return None
    kept = {"country": address.get("country"), "region": address.get("region")}
    return {
        "name": GONE,
        "company": None,
        "line1": GONE,
        "line2": None,
        "city": GONE,
        "postal_code": None,
        "phone": None,
        **kept,
    }
