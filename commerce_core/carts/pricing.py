"""What a cart costs: as it is shown, as it is quoted, and as it is ordered, which is the same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from commerce_core.carts.models import Cart, CartLine
from commerce_core.pricing.basket import Basket, Buyer, Destination
from commerce_core.pricing.quote import Quote
from commerce_core.pricing.rules import Pricing
from commerce_core.pricing.service import Offer, items_of, quote_basket


@dataclass(frozen=True, slots=True)
class PricedCart:
    """A cart's quote. `left_out` are the lines that cannot be bought any more; `quote` is None without any that can.

    The keys of the quote's lines are the ids of the cart's.
    """

    quote: Quote | None
    offers: list[Offer]
    left_out: list[CartLine]


def price_cart(
    session: Session,
    pricing: Pricing,
    cart: Cart,
    *,
    buyer: Buyer,
    now: datetime,
    destination: Destination | None = None,
    explain: bool = False,
) -> PricedCart:
    """Price what of the cart can be bought. Reads, and locks nothing."""
    basket, offers = basket_of(session, cart, buyer=buyer, now=now, destination=destination, explain=explain)
    priced = {item.key for item in basket.items} if basket is not None else set()
    return PricedCart(
        quote=None if basket is None else quote_basket(session, pricing, basket),
        offers=offers,
        left_out=[line for line in cart.lines if line.id not in priced],
    )


def basket_of(
    session: Session,
    cart: Cart,
    *,
    buyer: Buyer,
    now: datetime,
    destination: Destination | None = None,
    explain: bool = False,
) -> tuple[Basket | None, list[Offer]]:
    """What of the cart can be bought, and what the catalogue says of it; None when nothing can. One statement."""
    offers = items_of(session, [(line.id, line.variant_id, line.quantity) for line in cart.lines])
    offers = [offer for offer in offers if offer.for_sale and offer.currency == cart.currency]
    if cart.currency is None or not offers:
        return None, []
    basket = Basket(
        currency=cart.currency,
        items=tuple(offer.item for offer in offers),
        now=now,
        buyer=buyer,
        destination=destination,
        coupons=tuple(cart.coupons),
        explain=explain,
    )
    return basket, offers
