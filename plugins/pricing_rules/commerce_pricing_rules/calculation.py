"""What things cost one by one, with the rules that made it so: for product pages, and to look a price up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from commerce_core.api.problems import InvalidInput
from commerce_core.catalog.models import Variant
from commerce_core.database import uuid7
from commerce_core.pricing.basket import Basket, Buyer
from commerce_core.pricing.quote import Quote
from commerce_core.pricing.rounding import divide
from commerce_core.pricing.rules import Pricing
from commerce_core.pricing.service import Offer, items_of, quote_basket
from commerce_pricing_rules.quoting import SOURCE
from commerce_pricing_rules.rulebook import RuleBook


@dataclass(frozen=True, slots=True)
class Wanted:
    """So many units of a variant, or of a product's only or default one."""

    quantity: int
    variant_id: UUID | None = None
    product_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Calculation:
    """What an item costs on its own, without delivery and taxes. Amounts in minor units of `currency`."""

    offer: Offer
    quote: Quote

    @property
    def currency(self) -> str:
        return self.quote.currency

    @property
    def quantity(self) -> int:
        return self.offer.item.quantity

    @property
    def base_price(self) -> int:
        """Of a unit, before any discount: the catalogue's, or a price list's."""
        return self.quote.lines[0].unit_amount

    @property
    def total_base(self) -> int:
        return self.quote.lines[0].subtotal

    @property
    def total_final(self) -> int:
        return self.quote.lines[0].net

    @property
    def final_price(self) -> int:
        """Of a unit; rounded, where the total does not part evenly."""
        return divide(self.total_final, self.quantity)

    @property
    def savings(self) -> int:
        return self.total_base - self.total_final

    @property
    def savings_percentage(self) -> str:
        """With two decimals, rounded half up."""
        hundredths = divide(self.savings * 10_000, self.total_base) if self.total_base else 0
        return f"{hundredths // 100}.{hundredths % 100:02}"


def calculate_each(
    session: Session,
    pricing: Pricing,
    book: RuleBook,
    wanted: Sequence[Wanted],
    *,
    buyer: Buyer,
    now: datetime,
    coupons: tuple[str, ...] = (),
    explain: bool = False,
) -> list[Calculation]:
    """Price each item on its own, in order. Raises InvalidInput for what there is not, or is not for sale.

    The statements do not become more with the items, those of other plugins' rules excepted.
    """
    variants = _variants_of(session, wanted)
    keyed = [(uuid7(), variant_id, each.quantity) for variant_id, each in zip(variants, wanted, strict=True)]
    offers = {offer.item.key: offer for offer in items_of(session, keyed)}
    errors = [
        {"field": f"items.{number}", "code": "unknown", "message": "is not for sale"}
        for number, (key, _, _) in enumerate(keyed)
        if key not in offers or not offers[key].for_sale
    ]
    if errors:
        raise InvalidInput(errors)
    found = [offers[key] for key, _, _ in keyed]
    if not found:
        return []
    baskets = [
        Basket(currency=offer.currency, items=(offer.item,), now=now, buyer=buyer, coupons=coupons, explain=explain)
        for offer in found
    ]
    together = replace(baskets[0], items=tuple(offer.item for offer in found))
    with book.one_reading(session, together):
        return [
            Calculation(offer, quote_basket(session, pricing, basket))
            for offer, basket in zip(found, baskets, strict=True)
        ]


def _variants_of(session: Session, wanted: Sequence[Wanted]) -> list[UUID]:
    """The variants that are meant. Raises InvalidInput for products without an only or a default variant."""
    products = {each.product_id for each in wanted if each.product_id is not None}
    chosen: dict[UUID, UUID] = {}
    if products:
        rows = session.execute(
            select(
                Variant.product_id,
                func.array_agg(Variant.id).filter(Variant.is_default).label("default"),
                func.array_agg(Variant.id).label("all"),
            )
            .where(Variant.product_id.in_(products), Variant.deleted_at.is_(None))
            .group_by(Variant.product_id)
        )
        for row in rows:
            variants = row.default or row.all
            if len(variants) == 1:
                chosen[row.product_id] = variants[0]
    found, errors = [], []
    for number, each in enumerate(wanted):
        variant_id = each.variant_id if each.product_id is None else chosen.get(each.product_id)
        if variant_id is None:
            message = "has not one variant, nor a default one: name the variant"
            errors.append({"field": f"items.{number}.product_id", "code": "no_variant", "message": message})
        else:
            found.append(variant_id)
    if errors:
        raise InvalidInput(errors)
    return found


def applied_rules(trace: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rules that took something off, in order, each with what it took in all."""
    found: dict[str, dict[str, Any]] = {}
    for entry in trace:
        if entry["source"] != SOURCE or entry["outcome"] == "rejected" or entry["kind"] == "price":
            continue
        rule = found.setdefault(
            entry["code"],
            {"rule_id": entry["code"], "name": entry["label"], "type": entry["details"]["type"], "discount": 0},
        )
        rule["discount"] -= entry["amount"]
    return [rule for rule in found.values() if rule["discount"]]


def rejected_rules(trace: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rules that did not apply, each with the reason and what was compared."""
    found = []
    for entry in trace:
        details = entry.get("details", {})
        if entry["source"] == SOURCE and entry["outcome"] == "rejected" and "type" in details:
            found.append(
                {
                    "rule_id": entry["code"],
                    "name": details["name"],
                    "type": details["type"],
                    "reason": entry["reason"],
                    "wanted": details.get("wanted"),
                    "found": details.get("found"),
                    "stopped_by": details.get("stopped_by"),
                    "line": entry.get("key"),
                }
            )
    return found
