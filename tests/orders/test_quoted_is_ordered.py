"""Whatever is in a cart, however the shop taxes and ships: it costs what was quoted, and the parts make the whole."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from pyramid.config import Configurator
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from webtest import TestApp

from commerce_core.application import close, make_application
from commerce_core.catalog.models import Product, Variant
from commerce_core.database import transaction
from commerce_core.orders.models import Order
from commerce_core.pricing.quote import Quote, Stage
from commerce_core.pricing.rules import PriceRule
from commerce_core.testing import StoppedClock, assert_stock_adds_up, make_settings

MakeVariant = Callable[..., UUID]
CUSTOMER = {"email": "ada@example.com", "name": "Ada"}
SHOPS = 60 if os.environ.get("COMMERCE_SOAK") else 6
CARTS_OF_A_SHOP = 4
CURRENCIES = ("USD", "EUR", "JPY", "KWD", "CLF")
PLACES = (("DE", None), ("US", "CA"), ("US", "OR"), ("GB", None), ("CH", None), (None, None))
SUMS = ("subtotal", "discount_total", "shipping_total", "fee_total", "tax_total", "total")


def random_settings(draw: random.Random, currency: str) -> dict[str, str]:
    def percent() -> str:
        return f"{draw.randint(0, 30)}.{draw.randint(0, 9999):04}"

    return {
        "tax.rates": f"DE {percent()}, DE reduced {percent()}, US-CA {percent()}, US {percent()}, * {percent()}",
        "tax.prices_include_tax": draw.choice(["true", "false"]),
        "tax.rounding": draw.choice(["line", "order"]),
        "tax.round_half": draw.choice(["up", "even"]),
        "tax.shipping_class": draw.choice(["standard", "reduced"]),
        "shipping.flat": f"{currency} {draw.randint(0, 2_000)}",
        "shipping.free_from": f"{currency} {draw.randint(0, 500_000)}",
        "orders.require_customer": "false",
    }


def random_rules(draw: random.Random) -> list[PriceRule]:
    """What a plugin may do to a price: another unit price, something off some lines and off the whole, a fee."""
    share = draw.randint(1, 40)

    def unit_prices(quote: Quote) -> None:
        for line in quote.lines:
            if line.quantity > 3:
                quote.set_unit_price(line.key, line.unit_amount * (100 - share) // 100)

    def lines(quote: Quote) -> None:
        for line in quote.lines[::2]:
            quote.discount_line(line.key, line.subtotal * share // 100)

    def cart(quote: Quote) -> None:
        quote.discount_cart(quote.goods_total * share // 300)

    def fee(quote: Quote) -> None:
        quote.add_fee(share)

    rules = [
        PriceRule(code="bulk", source="test", stage=Stage.CATALOG, apply=unit_prices),
        PriceRule(code="lines", source="test", stage=Stage.LINE, apply=lines),
        PriceRule(code="cart", source="test", stage=Stage.CART, apply=cart),
        PriceRule(code="fee", source="test", stage=Stage.FEE, apply=fee),
    ]
    return draw.sample(rules, draw.randint(0, len(rules)))


@contextmanager
def shop(url: str, clock: StoppedClock, settings: dict[str, str], rules: list[PriceRule]) -> Iterator[Any]:
    application = make_application(make_settings(url, settings), clock=clock)
    try:
        config = Configurator(registry=application.registry)
        for rule in rules:
            config.add_price_rule(rule)
        config.commit()
        yield application
    finally:
        close(application.registry)


@pytest.mark.parametrize("seed", range(SHOPS))
def test_what_was_quoted_is_what_is_ordered(
    seed: int, database_url: str, clock: StoppedClock, make_variant: MakeVariant, engine: Engine
) -> None:
    draw = random.Random(seed)
    currency = draw.choice(CURRENCIES)
    variants = [
        make_variant(stock=1_000, price_amount=draw.choice([0, 1, draw.randint(1, 100_000)]), currency=currency)
        for _ in range(8)
    ]
    with transaction(engine) as session:
        for variant_id in draw.sample(variants, 4):
            session.get_one(Product, session.get_one(Variant, variant_id).product_id).tax_class = "reduced"
    with shop(database_url, clock, random_settings(draw, currency), random_rules(draw)) as application:
        for number in range(CARTS_OF_A_SHOP):
            client = TestApp(application, extra_environ={"HTTP_X_CART_TOKEN": f"guest-of-shop-{seed}-{number}"})
            quoted, ordered = buy(client, draw, variants)
            assert [quoted[name] for name in SUMS] == [ordered[name] for name in SUMS]
            assert quoted["prices_include_tax"] == ordered["prices_include_tax"]
            assert ordered["adjustments"] == [
                {name: adjustment[name] for name in ordered["adjustments"][0]} for adjustment in quoted["adjustments"]
            ]
            for line, part in zip(quoted["lines"], ordered["lines"], strict=True):
                assert (line["line_id"], line["unit_price"], line["subtotal"]) == (
                    part["id"],
                    part["unit_price"],
                    part["total"],
                )
                assert (line["discount_total"], line["tax_total"]) == (part["discount_total"], part["tax_total"])
            with Session(engine) as session:
                assert (
                    session.scalars(select(Order).where(Order.id == UUID(ordered["id"]))).one().trace == quoted["trace"]
                )
            adds_up(ordered)
    assert_stock_adds_up(engine)


def buy(client: TestApp, draw: random.Random, variants: list[UUID]) -> tuple[Any, Any]:
    """Fill a cart, ask for the quote to a place, and order it to that place."""
    for variant_id in draw.sample(variants, draw.randint(1, len(variants))):
        body = {"variant_id": str(variant_id), "quantity": draw.randint(1, 7)}
        client.post_json("/api/v1/cart/lines", body)
    country, region = draw.choice(PLACES)
    place = {"country": country, "region": region} if region else {"country": country} if country else {}
    quoted = client.get("/api/v1/cart/quote", place).json
    body = {"cart": True, "customer": CUSTOMER, "expected_total": quoted["total"]["amount"]}
    if place:
        body["shipping_address"] = {"name": "Ada", "line1": "1 Road", "city": "Town", **place}
    return quoted, client.post_json("/api/v1/orders", body, status=201).json


def adds_up(order: Any) -> None:
    """To the minor unit."""
    sums = {name: order[name]["amount"] for name in SUMS}
    tax = 0 if order["prices_include_tax"] else sums["tax_total"]
    assert sums["total"] == (
        sums["subtotal"] - sums["discount_total"] + sums["shipping_total"] + sums["fee_total"] + tax
    )
    assert sums["subtotal"] == sum(line["total"]["amount"] for line in order["lines"])
    assert all(line["total"]["amount"] == line["unit_price"]["amount"] * line["quantity"] for line in order["lines"])
    assert sums["discount_total"] == sum(line["discount_total"]["amount"] for line in order["lines"])
    added = [part["amount"]["amount"] for part in order["adjustments"] if not part["included"]]
    assert sums["total"] == sums["subtotal"] + sum(added)
    taxes = [part["amount"]["amount"] for part in order["adjustments"] if part["kind"] == "tax"]
    assert sums["tax_total"] == sum(taxes)
