"""What carts, orders and product pages call to learn a price.

    offers = items_of(session, [(key, variant_id, quantity), ...])
    basket = Basket(currency=..., items=tuple(offer.item for offer in offers), now=now, buyer=..., destination=...)
    quote = quote_basket(session, registry.pricing, basket)

Call it before stock is locked. Nothing here locks, and only `items_of` and the rules' `prefetch` read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import and_, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from commerce_core.api.errors import is_unavailable
from commerce_core.api.problems import Conflict
from commerce_core.catalog.models import Product, Variant
from commerce_core.money import formatted
from commerce_core.pricing.basket import Basket, Buyer, Item
from commerce_core.pricing.quote import Quote, QuoteLine, Stage
from commerce_core.pricing.rules import PriceRule, Pricing
from commerce_core.pricing.settlement import calculate, failed


class PriceChanged(Conflict):
    """The price is not the one that the client has seen. Amounts in minor units; `lines` says where, if it is known."""

    slug = "price-changed"
    title = "The price has changed"
    example: ClassVar[dict[str, Any]] = {
        "detail": "The total is $89.97 now, not $79.99.",
        "expected_total": 7999,
        "total": 8997,
        "currency": "USD",
        "lines": [],
    }

    def __init__(
        self, *, expected: int | None, total: int, currency: str, lines: Sequence[dict[str, Any]] = ()
    ) -> None:
        told = "Prices have changed."
        if expected is not None:
            told = f"The total is {formatted(total, currency)} now, not {formatted(expected, currency)}."
        super().__init__(
            told,
            expected_total=expected,
            total=total,
            currency=currency,
            lines=list(lines),
        )


@dataclass(frozen=True, slots=True)
class Offer:
    """What the catalogue says of a variant just now. `item.name` is the product's name."""

    item: Item
    currency: str
    variant_name: str
    # Whether it may be bought: a published, active product, and neither it nor the variant deleted.
    for_sale: bool


_OFFERS = select(
    Variant.id,
    Variant.product_id,
    Product.category_id,
    Product.brand_id,
    Variant.sku,
    Product.name.label("product_name"),
    Variant.name.label("variant_name"),
    Variant.currency,
    Variant.price_amount,
    Variant.cost_amount,
    Product.attributes.label("product_attributes"),
    Variant.attributes,
    Variant.weight_grams,
    Product.tax_class,
    and_(
        Variant.deleted_at.is_(None),
        Product.status == "active",
        Product.deleted_at.is_(None),
        Product.published_at.is_not(None),
    ).label("for_sale"),
).join(Variant.product)


def items_of(session: Session, wanted: Iterable[tuple[UUID, UUID, int]]) -> list[Offer]:
    """What is to be priced of `(key, variant_id, quantity)`, in that order. One statement.

    A variant that does not exist is left out; one that is not for sale any more says so. Takes no locks.
    """
    wanted = list(wanted)
    ids = {variant_id for _, variant_id, _ in wanted}
    rows = {row.id: row for row in session.execute(_OFFERS.where(Variant.id.in_(ids)))} if ids else {}
    return [_offer(rows[variant_id], key, quantity) for key, variant_id, quantity in wanted if variant_id in rows]


def _offer(row: Any, key: UUID, quantity: int) -> Offer:
    item = Item(
        key=key,
        variant_id=row.id,
        product_id=row.product_id,
        category_id=row.category_id,
        brand_id=row.brand_id,
        sku=row.sku,
        name=row.product_name,
        quantity=quantity,
        unit_amount=row.price_amount,
        attributes=row.product_attributes | row.attributes,
        weight_grams=row.weight_grams,
        tax_class=row.tax_class,
        cost_amount=row.cost_amount,
    )
    return Offer(item, row.currency, row.variant_name, bool(row.for_sale))


def quote_basket(session: Session, pricing: Pricing, basket: Basket) -> Quote:
    """What the basket costs, and why. Raises PriceRuleFailed or AmountTooLarge."""
    return calculate(pricing, basket, _prefetch(session, pricing.rules, basket))


def browse(
    session: Session,
    pricing: Pricing,
    items: Iterable[Item],
    *,
    currency: str,
    now: datetime,
    buyer: Buyer | None = None,
) -> dict[UUID, QuoteLine]:
    """What one unit of each item costs on its own, as a product page shows it, by the items' keys.

    Only stages BASE and CATALOG are asked: the items stand next to each other, and go nowhere yet.
    """
    basket = Basket(currency=currency, items=tuple(items), now=now, buyer=buyer or Buyer())
    asked = [rule for rule in pricing.rules if rule.stage <= Stage.CATALOG]
    quote = calculate(pricing, basket, _prefetch(session, asked, basket), browsing=True)
    return {line.key: line for line in quote.lines}


def _prefetch(session: Session, rules: Iterable[PriceRule], basket: Basket) -> dict[str, Any]:
    prefetched: dict[str, Any] = {}
    done: dict[Any, Any] = {}
    for rule in rules:
        if rule.prefetch is not None:
            try:
                if rule.prefetch not in done:
                    done[rule.prefetch] = rule.prefetch(session, basket)
                prefetched[rule.code] = done[rule.prefetch]
            except Exception as error:
                # That the database is away, or wants the transaction tried again, is no fault of the rule.
                if isinstance(error, DBAPIError) and is_unavailable(error):
                    raise
                raise failed(rule, error) from error
    return prefetched
