"""How an order comes to be: something is priced, its stock is secured, and the quote becomes the order.

Works in the caller's transaction; flushes, never commits. Price first, then lock: no rule of a plugin is asked while
stock is locked. Lock order: the cart, the holds, then levels.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy.orm import Session

from commerce_core.api.problems import Conflict, NotFound
from commerce_core.carts.validation import check_order_of_hold
from commerce_core.database import uuid7
from commerce_core.events import OrderPlaced, emit
from commerce_core.money import DEFAULT_LOCALE
from commerce_core.orders.hooks import tell_of_placing
from commerce_core.orders.models import Order, OrderAdjustment, OrderLine
from commerce_core.orders.service import mark_paid, record
from commerce_core.pricing.basket import Basket, Buyer, Destination
from commerce_core.pricing.quote import Quote
from commerce_core.pricing.rules import Pricing
from commerce_core.pricing.service import Offer, PriceChanged, items_of, quote_basket
from commerce_core.stock import service as stock
from commerce_core.stock.models import Hold

# Crockford's base 32: no I, L, O, U, so that a number can be read out over the telephone.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class HoldAlreadyConverted(Conflict):
    """The hold has become an order before; `order_id` says which."""

    slug = "hold-already-converted"
    title = "The hold has become an order already"
    example: ClassVar[dict[str, Any]] = {"order_id": "01932c07-209c-7e3a-b6f4-5d2a8c9e1f70"}


@dataclass(frozen=True, slots=True)
class OrderDetails:
    """What the customer says about an order: snapshots, kept as they are."""

    customer: dict[str, Any] | None = None
    shipping_address: dict[str, Any] | None = None
    billing_address: dict[str, Any] | None = None
    note: str | None = None
    locale: str = DEFAULT_LOCALE

    @property
    def destination(self) -> Destination | None:
        """Where it is taxed and shipped to: the shipping address, else the billing address."""
        address = self.shipping_address or self.billing_address
        if address is None:
            return None
        return Destination(
            country=address["country"], region=address.get("region"), postal_code=address.get("postal_code")
        )

    def buyer(self, asking: Buyer) -> Buyer:
        """Who asks; a guest with the e-mail address that they have given, which may be anybody's."""
        if self.customer is None or asking.user_id is not None:
            return asking
        return replace(asking, email=self.customer["email"])


def place_order(
    session: Session,
    hold_id: UUID,
    details: OrderDetails,
    *,
    pricing: Pricing,
    buyer: Buyer,
    payment_ttl: timedelta,
    now: datetime,
    expected_total: int | None = None,
) -> Order:
    """Turn an active hold into an order of the buyer, exactly once, at the price of now.

    Locks the hold, after it has been priced, and not the level: its units stay reserved. Unpaid, the order lapses
    after `payment_ttl`. Raises NotFound, HoldAlreadyConverted, HoldNotActive, PriceChanged, PriceRuleFailed,
    AmountTooLarge, and what plugins refuse it for.
    """
    # Neither the variant nor the quantity of a hold ever changes, so they may be read before it is locked.
    hold = _usable_hold(session, hold_id, buyer.owner, now=now)
    key = uuid7()
    [offer] = items_of(session, [(key, hold.variant_id, hold.quantity)])
    quote = quote_basket(
        session,
        pricing,
        Basket(
            currency=offer.currency,
            items=(offer.item,),
            now=now,
            buyer=details.buyer(buyer),
            destination=details.destination,
        ),
    )
    if expected_total is not None and expected_total != quote.total:
        raise PriceChanged(expected=expected_total, total=quote.total, currency=quote.currency)
    check_order_of_hold(
        session, owner=buyer.owner, currency=offer.currency, variant_id=hold.variant_id, quantity=hold.quantity
    )
    hold = _usable_hold(session, hold_id, buyer.owner, now=now, lock=True)
    order_id = uuid7()
    stock.convert_hold(session, hold, order_id, now=now)
    return order_from_quote(
        session,
        quote,
        [offer],
        details,
        order_id=order_id,
        hold_of={key: hold.id},
        owner=buyer.owner,
        payment_ttl=payment_ttl,
        now=now,
        hold_id=hold.id,
    )


def order_from_quote(
    session: Session,
    quote: Quote,
    offers: Iterable[Offer],
    details: OrderDetails,
    *,
    order_id: UUID,
    hold_of: Mapping[UUID, UUID],
    owner: str | None,
    payment_ttl: timedelta,
    now: datetime,
    hold_id: UUID | None = None,
    cart_id: UUID | None = None,
) -> Order:
    """Write the order that a quote describes, with its lines, adjustments, trace and the event that it was placed.

    The stock must have been taken: `hold_of` has each item's hold, converted for `order_id`, by the item's key.
    `offers` are those that the quote's items came from. A line's id is its item's key, so that the adjustments and the
    trace speak of the order's lines. `hold_id` or `cart_id` says what it was made of, once in a lifetime. What costs
    nothing is paid at once.
    """
    offer_of = {offer.item.key: offer for offer in offers}
    order = Order(
        id=order_id,
        number=new_order_number(),
        owner=owner,
        hold_id=hold_id,
        cart_id=cart_id,
        status="pending",
        payment_status="unpaid",
        fulfillment_status="unfulfilled",
        currency=quote.currency,
        subtotal=quote.subtotal,
        discount_total=quote.discount_total,
        shipping_total=quote.shipping_total,
        fee_total=quote.fee_total,
        tax_total=quote.tax_total,
        prices_include_tax=quote.prices_include_tax,
        total=quote.total,
        coupons=list(quote.basket.coupons),
        trace=quote.trace,
        customer=details.customer,
        shipping_address=details.shipping_address,
        billing_address=details.billing_address,
        note=details.note,
        locale=details.locale,
        expires_at=now + payment_ttl,
        created_at=now,
        adjustments=[],
        lines=[
            OrderLine(
                id=line.key,
                position=position,
                variant_id=line.item.variant_id,
                hold_id=hold_of.get(line.key),
                product_name=line.item.name,
                variant_name=offer_of[line.key].variant_name,
                sku=line.item.sku,
                attributes=dict(line.item.attributes),
                quantity=line.quantity,
                unit_price=line.unit_amount,
                total=line.subtotal,
                discount_total=line.discount_total,
                tax_total=line.tax_total,
            )
            for position, line in enumerate(quote.lines, 1)
        ],
    )
    session.add(order)
    record(session, order, "placed", owner, total=order.total, currency=order.currency)
    # The lines are there before the adjustments that are about them.
    session.flush()
    # They are read in the order of their ids, of which several may be made in one millisecond.
    ids = sorted(uuid7() for _ in quote.adjustments)
    order.adjustments.extend(
        OrderAdjustment(
            id=adjustment_id,
            line_id=adjustment.key,
            kind=adjustment.kind,
            code=adjustment.code,
            label=adjustment.label,
            amount=adjustment.amount,
            source=adjustment.source,
            included=adjustment.included,
            trace={"stage": adjustment.stage.name, "order": adjustment.order},
        )
        for adjustment_id, adjustment in zip(ids, quote.adjustments, strict=True)
    )
    session.flush()
    tell_of_placing(session, order)
    emit(session, OrderPlaced(order_id=order.id, number=order.number, total=order.total, currency=order.currency))
    if not order.total:
        mark_paid(session, order, now=now)
    return order


def new_order_number() -> str:
    """Ten random characters (50 bits): tells nobody how many orders there are."""
    characters = [secrets.choice(_ALPHABET) for _ in range(10)]
    return "".join(characters[:5]) + "-" + "".join(characters[5:])


def _usable_hold(session: Session, hold_id: UUID, owner: str | None, *, now: datetime, lock: bool = False) -> Hold:
    """An active hold that is nobody else's. Raises NotFound, HoldAlreadyConverted or HoldNotActive."""
    hold = stock.get_hold(session, hold_id, lock=lock)
    if hold is None or (hold.owner is not None and hold.owner != owner):
        raise NotFound("There is no such hold.")
    if hold.state == "converted":
        raise HoldAlreadyConverted(order_id=str(hold.order_id))
    if stock.state_of(hold, now) != "active":
        raise stock.HoldNotActive(hold, now)
    return hold
