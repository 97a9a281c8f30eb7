"""A guest signs in: the guest's cart, holds and orders become the user's."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from commerce_core.carts.merging import MergeReport, merge_carts
from commerce_core.carts.service import lock_cart
from commerce_core.orders.models import Order
from commerce_core.orders.service import record
from commerce_core.settings import CartSettings
from commerce_core.stock.service import adopt_holds


def adopt_guest(
    session: Session, *, guest_owner: str, user_owner: str, settings: CartSettings, now: datetime
) -> MergeReport | None:
    """Give the user everything that is the guest's; None when there is nothing. Doing it twice changes nothing more.

    Owners as `request.owner` has them ("guest:...", "user:..."). Locks both carts, the guest's orders, the guest's
    active holds, then levels; two sign-ins with the same guest's token do it one after the other.
    """
    cart = lock_cart(session, guest_owner, now=now)
    lock_cart(session, user_owner, now=now)
    orders = _adopt_orders(session, guest_owner, user_owner)
    # Those of the cart are seen to with the cart.
    in_cart = [line.hold_id for line in cart.lines if line.hold_id is not None] if cart is not None else []
    holds = adopt_holds(session, guest_owner, user_owner, now=now, except_for=in_cart)
    report = merge_carts(session, guest_owner=guest_owner, user_owner=user_owner, settings=settings, now=now)
    if report is None and not orders and not holds:
        return None
    return (report or MergeReport()).with_adopted(holds=holds, orders=orders)


def _adopt_orders(session: Session, guest_owner: str, user_owner: str) -> int:
    orders = session.scalars(
        select(Order).where(Order.owner == guest_owner).order_by(Order.id).with_for_update(of=Order)
    ).all()
    for order in orders:
        order.owner = user_owner
        record(session, order, "adopted", user_owner)
    session.flush()
    return len(orders)
