"""Baskets and rules, made briefly."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from commerce_core.pricing.basket import Basket, Destination, Item
from commerce_core.pricing.core_rules import core_rules
from commerce_core.pricing.quote import Quote, Stage
from commerce_core.pricing.rules import PriceRule, Pricing
from commerce_core.settings import parse_settings

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def key(number: int) -> UUID:
    return UUID(int=number)


def item(number: int, unit_amount: int, quantity: int = 1, tax_class: str = "standard") -> Item:
    return Item(
        key=key(number),
        variant_id=key(number + 1_000),
        product_id=key(number + 2_000),
        category_id=None,
        brand_id=None,
        sku=f"SKU-{number}",
        name=f"Item {number}",
        quantity=quantity,
        unit_amount=unit_amount,
        attributes={},
        weight_grams=None,
        tax_class=tax_class,
    )


def basket(*items: Item, currency: str = "USD", country: str | None = "DE", region: str | None = None) -> Basket:
    destination = None if country is None else Destination(country=country, region=region)
    return Basket(currency=currency, items=items, now=NOW, destination=destination)


def pricing(*rules: PriceRule, **settings: str) -> Pricing:
    """The core's rules with settings like `tax_rates="DE 19"`, and these."""
    dotted = {name.replace("_", ".", 1): value for name, value in settings.items()}
    loaded = parse_settings(
        {"sqlalchemy.url": "postgresql://db/shop", "commerce.environment": "development", **dotted}, environ={}
    )
    made = Pricing(prices_include_tax=loaded.tax.prices_include_tax)
    for rule in (*core_rules(loaded), *rules):
        made = made.with_rule(rule)
    return made


def rule(code: str, stage: Stage, apply: Callable[[Quote], None], order: int = 100, **options: Any) -> PriceRule:
    return PriceRule(code=code, source="test", stage=stage, order=order, apply=apply, **options)


def assert_adds_up(quote: Quote) -> None:
    """Everything that a quote promises of its sums."""
    added_tax = 0 if quote.prices_include_tax else quote.tax_total
    assert quote.total == (quote.subtotal - quote.discount_total + quote.shipping_total + quote.fee_total + added_tax)
    assert quote.subtotal == sum(line.unit_amount * line.quantity for line in quote.lines)
    assert quote.discount_total == sum(line.discount_total for line in quote.lines)
    assert quote.subtotal + sum(a.amount for a in quote.adjustments if not a.included) == quote.total
    by_kind = {
        kind: sum(a.amount for a in quote.adjustments if a.kind == kind)
        for kind in ("discount", "shipping", "fee", "tax", "rounding")
    }
    assert by_kind["discount"] == -quote.discount_total
    assert by_kind["shipping"] == quote.shipping_total
    assert by_kind["fee"] + by_kind["rounding"] == quote.fee_total
    assert by_kind["tax"] == quote.tax_total
    assert all(a.included == (a.kind == "tax" and quote.prices_include_tax) for a in quote.adjustments)
    for line in quote.lines:
        of_line = [a for a in quote.adjustments if a.key == line.key]
        assert line.discount_total == -sum(a.amount for a in of_line if a.kind == "discount")
        assert line.tax_total == sum(a.amount for a in of_line if a.kind == "tax")
        assert min(line.unit_amount, line.discount_total, line.tax_total, line.net) >= 0
    assert min(quote.subtotal, quote.shipping_total, quote.tax_total, quote.total) >= 0
