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
from commerce_core.testing.contract import assert_adds_up

__all__ = ["NOW", "assert_adds_up", "basket", "item", "key", "pricing", "rule"]

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
