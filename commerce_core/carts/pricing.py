"""What a cart costs: as it is shown, as it is quoted, and as it is ordered, which is the same."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
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


def seen_total(quote: Quote, destination: Destination | None) -> dict[str, Any]:
    """What a client that is shown this quote has seen, for `Cart.seen`: the total in minor units, and where it goes."""
    return {"total": quote.total, "destination": None if destination is None else asdict(destination)}


def remember_seen(session: Session, cart: Cart, quote: Quote, destination: Destination | None) -> None:
    """Note what a cart that was only read is shown to cost: checkout holds to it. At most one statement.

    Waits for nobody: if the cart is locked, or was changed since it was read, what is shown is out of date already.
    """
    seen = seen_total(quote, destination)
    if seen == cart.seen:
        return
    unchanged = (
        select(Cart.id)
        .where(Cart.id == cart.id, Cart.updated_at == cart.updated_at, Cart.state == "active")
        .with_for_update(skip_locked=True)
    )
    session.execute(
        update(Cart).where(Cart.id.in_(unchanged)).values(seen=seen).execution_options(synchronize_session=False)
    )
