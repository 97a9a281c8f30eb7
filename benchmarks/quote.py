"""What it costs to quote a basket of 20 lines by 5 rules: nothing but Python, no database."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from uuid import UUID

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from commerce_core.pricing.basket import Basket, Destination, Item
from commerce_core.pricing.core_rules import core_rules
from commerce_core.pricing.quote import Quote, Stage
from commerce_core.pricing.rounding import percent_of
from commerce_core.pricing.rules import PriceRule, Pricing
from commerce_core.pricing.settlement import calculate
from commerce_core.testing import make_settings

LINES = (1, 20)
SHOP = {"tax.rates": "DE 19, DE reduced 7", "shipping.flat": "EUR 500"}


def bench(console: Console, _engine: Engine, url: str, _config: Path, seconds: float) -> None:
    """Prints one table: microseconds of CPU time a quote, by number of lines and kind of rounding, and as browsed."""
    table = Table(title="Quoting a basket by 5 rules: price, 10 % off each line, 7.77 off all, shipping, tax")
    for column in ("what", "lines", "µs of CPU a quote (median)", "p95"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for lines in LINES:
        basket = _basket(lines)
        by_line, by_order = _pricing(url, "line"), _pricing(url, "order")
        _row(table, "tax by line", lines, seconds / 6, partial(calculate, by_line, basket))
        _row(table, "tax by order", lines, seconds / 6, partial(calculate, by_order, basket))
        _row(table, "browsed", lines, seconds / 6, partial(calculate, by_line, basket, browsing=True))
    console.print(table)


def _row(table: Table, what: str, lines: int, seconds: float, quote: Callable[[], Quote]) -> None:
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.process_time()
        quote()
        times.append((time.process_time() - started) * 1e6)
    table.add_row(what, str(lines), f"{median(times):,.0f}", f"{sorted(times)[int(len(times) * 0.95)]:,.0f}")


def _pricing(url: str, rounding: str) -> Pricing:
    def ten_off(quote: Quote) -> None:
        for line in quote.lines:
            quote.discount_line(line.key, percent_of(line.net, 10))

    pricing = Pricing()
    for rule in (
        *core_rules(make_settings(url, {**SHOP, "tax.rounding": rounding})),
        PriceRule(code="ten-off", source="bench", stage=Stage.LINE, apply=ten_off),
        PriceRule(code="cart-off", source="bench", stage=Stage.CART, apply=lambda quote: quote.discount_cart(777)),
    ):
        pricing = pricing.with_rule(rule)
    return pricing


def _basket(lines: int) -> Basket:
    items = tuple(
        Item(
            key=UUID(int=number),
            variant_id=UUID(int=number),
            product_id=UUID(int=number),
            category_id=None,
            brand_id=None,
            sku=f"SKU-{number}",
            name=f"Item {number}",
            quantity=1 + number % 5,
            unit_amount=1_999 + number,
            attributes={},
            weight_grams=None,
            tax_class="reduced" if number % 3 == 0 else "standard",
        )
        for number in range(lines)
    )
    return Basket(currency="EUR", items=items, now=datetime.now(UTC), destination=Destination(country="DE"))
