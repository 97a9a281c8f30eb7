"""A cart becomes an order: at the price that was seen, with all of its stock, exactly once.

Works in the caller's transaction; flushes, never commits. First everything is priced, then stock is locked: no rule of
a plugin is asked while others wait for a level. Lock order: the cart, its holds by ascending id, then levels by
ascending variant id, so that two carts with the same things in another order wait for each other, and never deadlock.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from commerce_core.api.problems import Conflict
from commerce_core.carts.models import Cart, CartLine
from commerce_core.carts.pricing import PricedCart, price_cart
from commerce_core.carts.queries import articles_of
from commerce_core.carts.reservation import active_holds
from commerce_core.carts.service import EmptyCart, lock_cart
from commerce_core.carts.validation import check_order
from commerce_core.database import uuid7
from commerce_core.orders.models import Order
from commerce_core.orders.placing import OrderDetails, order_from_quote
from commerce_core.pricing.basket import Buyer
from commerce_core.pricing.quote import Quote
from commerce_core.pricing.rules import Pricing
from commerce_core.pricing.service import PriceChanged
from commerce_core.stock.models import Hold
from commerce_core.stock.service import convert_holds
from commerce_core.stock.several import Wanted, available_of, lock_levels, place_holds


class CartAlreadyOrdered(Conflict):
    """The cart has become an order before; `order_id` says which."""

    slug = "cart-already-ordered"
    title = "The cart has become an order already"
    example: ClassVar[dict[str, Any]] = {"order_id": "01932c07-209c-7e3a-b6f4-5d2a8c9e1f70"}


class CartOutOfStock(Conflict):
    """Not everything can be had. `lines` names all that is short, and how much there is; nothing was taken."""

    slug = "cart-out-of-stock"
    title = "Not everything in the cart can be had"
    example: ClassVar[dict[str, Any]] = {
        "detail": "Too little of TEE-RED-M.",
        "lines": [
            {
                "line_id": "01932c07-209c-7e3a-b6f4-5d2a8c9e1f71",
                "variant_id": "01932c07-209c-7e3a-b6f4-5d2a8c9e1f70",
                "sku": "TEE-RED-M",
                "requested": 3,
                "available": 1,
            }
        ],
    }

    def __init__(self, lines: Sequence[dict[str, Any]]) -> None:
        super().__init__(f"Too little of {', '.join(line['sku'] for line in lines)}.", lines=list(lines))


def place_order_from_cart(
    session: Session,
    details: OrderDetails,
    *,
    pricing: Pricing,
    buyer: Buyer,
    payment_ttl: timedelta,
    now: datetime,
    expected_total: int | None = None,
) -> Order:
    """Turn the buyer's cart into an order, exactly once, at the price of now, and take its stock: all of it, or none.

    Locks the cart, its holds, and the levels of what it does not hold already. Unpaid, the order lapses after
    `payment_ttl`. Raises EmptyCart, CartAlreadyOrdered, PriceChanged, CartOutOfStock, PriceRuleFailed,
    AmountTooLarge, and what plugins refuse it for.
    """
    cart = _lock_cart(session, buyer.owner, now=now)
    priced = price_cart(session, pricing, cart, buyer=details.buyer(buyer), now=now, destination=details.destination)
    if priced.quote is None or priced.left_out:
        raise _not_for_sale(session, cart, priced, now=now)
    _check_prices(cart, priced.quote, expected_total)
    check_order(session, cart)
    if expected_total is None:  # after the plugins, which may know why: a coupon that is used up
        _check_seen(session, cart, priced.quote, pricing=pricing, buyer=buyer, details=details, now=now)
    order_id = uuid7()
    hold_of = _take_stock(session, cart, priced.quote, order_id, now=now)
    cart.state = "ordered"
    cart.updated_at = now
    return order_from_quote(
        session,
        priced.quote,
        priced.offers,
        details,
        order_id=order_id,
        hold_of=hold_of,
        owner=buyer.owner,
        payment_ttl=payment_ttl,
        now=now,
        cart_id=cart.id,
    )


def _lock_cart(session: Session, owner: str | None, *, now: datetime) -> Cart:
    cart = None if owner is None else lock_cart(session, owner, now=now)
    if cart is None:
        latest = select(Cart.id).where(Cart.owner == owner).order_by(Cart.id.desc()).limit(1).scalar_subquery()
        order_id = session.scalar(select(Order.id).where(Order.cart_id == latest))
        raise EmptyCart() if order_id is None else CartAlreadyOrdered(order_id=str(order_id))
    if not cart.lines:
        raise EmptyCart()
    return cart


def _check_prices(cart: Cart, quote: Quote, expected_total: int | None) -> None:
    """Raise PriceChanged unless this is what the client has seen: the total it names, or else each line's price."""
    seen = {line.id: line.unit_price for line in cart.lines}
    changed = [
        {
            "line_id": str(line.key),
            "variant_id": str(line.item.variant_id),
            "sku": line.item.sku,
            "unit_price": seen[line.key],
            "current_unit_price": line.unit_amount,
        }
        for line in quote.lines
        if line.unit_amount != seen[line.key]
    ]
    if changed if expected_total is None else expected_total != quote.total:
        raise PriceChanged(expected=expected_total, total=quote.total, currency=quote.currency, lines=changed)


def _check_seen(
    session: Session, cart: Cart, quote: Quote, *, pricing: Pricing, buyer: Buyer, details: OrderDetails, now: datetime
) -> None:
    """Raise PriceChanged unless the total is still what the client was last shown.

    What was quoted for a place is the total. What was shown without one could not know the taxes and the delivery of
    this place: so the same question is asked again, and must have the same answer.
    """
    if cart.seen is None:
        return
    if cart.seen["destination"] is None and details.destination is not None:
        again = price_cart(session, pricing, cart, buyer=buyer, now=now).quote
        assert again is not None  # as before: what can be bought does not depend on where it goes
        quote_total = again.total
    else:
        quote_total = quote.total
    if quote_total != cart.seen["total"]:
        raise PriceChanged(expected=cart.seen["total"], total=quote.total, currency=quote.currency)


def _take_stock(session: Session, cart: Cart, quote: Quote, order_id: UUID, *, now: datetime) -> dict[UUID, UUID]:
    """The hold of each line, by the line's id, converted for the order. Raises CartOutOfStock, and has taken none."""
    active = active_holds(session, cart.lines, now=now)
    kept: dict[UUID, Hold] = {}
    wanted: list[Wanted] = []
    for line in cart.lines:
        hold = active.get(line.id)
        if hold is not None and hold.quantity == line.quantity:
            kept[line.id] = hold
        else:
            wanted.append(Wanted(line.variant_id, line.quantity, hold))
    if not quote.total:
        # What costs nothing is paid, and so sold, at once: then the levels of what is held already are needed as well.
        lock_levels(session, [line.variant_id for line in cart.lines])
    available = available_of(session, wanted, now=now)
    short = [
        _short(line, quote.line(line.id).item.sku, available[line.variant_id])
        for line in cart.lines
        if available.get(line.variant_id, line.quantity) < line.quantity
    ]
    if short:
        raise CartOutOfStock(short)
    taken = place_holds(session, wanted, now=now, expires_at=now, owner=cart.owner, order_id=order_id)
    convert_holds(session, kept.values(), order_id, now=now)
    return {line.id: kept[line.id].id if line.id in kept else taken[line.variant_id] for line in cart.lines}


def _not_for_sale(session: Session, cart: Cart, priced: PricedCart, *, now: datetime) -> CartOutOfStock:
    """Names what cannot be bought any more, and what else is seen to be short."""
    gone = {line.id for line in priced.left_out}
    articles = articles_of(session, {line.variant_id for line in cart.lines}, now=now)
    own = {line_id: hold.reserved for line_id, hold in active_holds(session, cart.lines, now=now).items()}
    short = []
    for line in cart.lines:
        article = articles[line.variant_id]
        available = 0 if line.id in gone else article.available(own.get(line.id, 0))
        if available is not None and available < line.quantity:
            short.append(_short(line, article.sku, available))
    return CartOutOfStock(short)


def _short(line: CartLine, sku: str, available: int) -> dict[str, Any]:
    return {
        "line_id": str(line.id),
        "variant_id": str(line.variant_id),
        "sku": sku,
        "requested": line.quantity,
        "available": available,
    }
