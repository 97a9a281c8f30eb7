"""What a thousand active price rules cost: a quote of 50 lines, and a list of 24 products, with them and without."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

from commerce_pricing_rules.definitions import RuleDefinition
from commerce_pricing_rules.service import add_rule
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session
from webtest import TestApp

from commerce_core import migrations
from commerce_core.application import close, make_application
from commerce_core.catalog.service import add_variant, create_brand, create_category, create_product
from commerce_core.database import transaction, uuid7
from commerce_core.plugins.loading import owners_declared
from commerce_core.pricing.basket import Basket, Destination
from commerce_core.pricing.service import items_of, quote_basket
from commerce_core.pricing.settlement import calculate
from commerce_core.testing import count_sql, make_settings

RULES = 1_000
LINES = 50
PRODUCTS = 400
SHOP = {"tax.rates": "* 19", "shipping.flat": "USD 500", "cache.enabled": "false", "log.requests": "false"}
WEDNESDAY = datetime(2026, 11, 25, 12, tzinfo=UTC)


@dataclass
class Goods:
    products: list[UUID]
    variants: list[UUID]
    categories: list[UUID]
    brands: list[UUID]


def bench(console: Console, engine: Engine, url: str, _config: Path, seconds: float) -> None:
    """Prints one table: milliseconds of our CPU time, statements, and how many times as long as without rules."""
    settings = make_settings(url, {**SHOP, "commerce.plugins": "pricing"})
    migrations.upgrade(engine, owners_declared(settings))
    goods = _goods(engine)
    table = Table(title=f"{RULES:,} active price rules: a quote of {LINES} lines, a list of 24 products")
    for column in ("what", "rules", "ms of CPU (median)", "p95", "times as long", "statements"):
        table.add_column(column, justify="left" if column in ("what", "rules") else "right")
    bare: dict[str, float] = {}
    mixes: dict[str, Callable[[random.Random], list[dict[str, Any]]] | None] = {
        "no plugin": None,
        "none": lambda _: [],
        "as in a shop": lambda dice: _as_in_a_shop(dice, goods),
        "all about everything, none holds": _none_holds,
    }
    for rules, make in mixes.items():
        if make is not None:
            _set_rules(engine, make(random.Random(20_261_127)))
        shop = make_settings(url, SHOP) if make is None else settings
        with _application(shop) as application:
            for what, run in _work(application, engine, goods).items():
                times, statements = _measure(engine, application, run, seconds / 6)
                bare.setdefault(what, median(times))
                table.add_row(
                    what,
                    rules,
                    f"{median(times):.2f}",
                    f"{sorted(times)[int(len(times) * 0.95)]:.2f}",
                    f"{median(times) / bare[what]:.1f}",
                    str(statements),
                )
    console.print(table)


def _work(application: Any, engine: Engine, goods: Goods) -> dict[str, Callable[[], object]]:
    pricing = application.registry.pricing
    with Session(engine) as session:
        offers = items_of(session, [(uuid7(), variant_id, 1 + n % 4) for n, variant_id in enumerate(_bought(goods))])
    basket = Basket(
        currency="USD",
        items=tuple(offer.item for offer in offers),
        now=WEDNESDAY,
        destination=Destination(country="US"),
    )
    prefetched: dict[str, Any] = {}
    book = getattr(application.registry, "pricing_rulebook", None)
    if book is not None:
        with Session(engine) as session:
            prefetched = book.prefetch(session, basket).as_prefetched()

    wanted = [(offer.item.key, offer.item.variant_id, offer.item.quantity) for offer in offers]

    def whole() -> None:
        with Session(engine) as session:
            assert len(items_of(session, wanted)) == LINES
            quote_basket(session, pricing, basket)

    client = TestApp(application)
    return {
        "quote, without the database": lambda: calculate(pricing, basket, prefetched),
        "quote, with the database": whole,
        "list, uncached": lambda: client.get("/api/v1/products?per_page=24"),
    }


def _measure(engine: Engine, application: Any, run: Callable[[], object], seconds: float) -> tuple[list[float], int]:
    run()
    with count_sql(engine) as ours, count_sql(application.registry.engine) as theirs:
        run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 20:
        started = time.process_time()
        run()
        times.append((time.process_time() - started) * 1e3)
    return times, len(ours) + len(theirs)


def _bought(goods: Goods) -> Sequence[UUID]:
    return goods.variants[:LINES]


def _as_in_a_shop(dice: random.Random, goods: Goods) -> list[dict[str, Any]]:
    """Most rules are about some products, brands or categories; some about everything, for somebody or at some time."""
    made: list[dict[str, Any]] = []
    for number in range(RULES):
        kind = dice.random()
        rule: dict[str, Any] = {
            "name": f"Rule {number}",
            "type": "percentage",
            "modifiers": {"percent": dice.randint(1, 30)},
            "priority": dice.randint(0, 50),
            "stackable": dice.random() < 0.2,
        }
        if kind < 0.4:
            rule["scope"] = {"products": [str(each) for each in dice.sample(goods.products, 5)]}
        elif kind < 0.6:
            rule["scope"] = {"variants": [str(each) for each in dice.sample(goods.variants, 10)]}
            rule |= {"type": "tiered", "modifiers": {"tiers": [{"from": 2, "percent": 5}, {"from": 5, "percent": 9}]}}
        elif kind < 0.7:
            rule["scope"] = {"categories": [str(dice.choice(goods.categories))]}
        elif kind < 0.8:
            rule["scope"] = {"brands": [str(dice.choice(goods.brands))]}
        elif kind < 0.85:
            rule["scope"] = {"attributes": {"color": [dice.choice(["red", "blue", "green"])]}}
        elif kind < 0.95:
            rule["conditions"] = {"type": "coupon", "code": f"CODE-{number}"}
        else:
            rule["conditions"] = {"type": "day_of_week", "days": [dice.choice(["mon", "fri", "sat"])]}
        made.append(rule)
    return made


def _none_holds(dice: random.Random) -> list[dict[str, Any]]:
    """Every rule has to be tried, and told why it does not apply."""
    conditions = (
        {"type": "coupon", "code": "NOBODYS"},
        {"type": "customer_tier", "tiers": ["vip"]},
        {"type": "time_range", "from": "22:00", "to": "02:00"},
        {"type": "cart_subtotal", "min": {"USD": 10**9}},
    )
    return [
        {
            "name": f"Rule {number}",
            "type": "percentage",
            "modifiers": {"percent": 10},
            "priority": dice.randint(0, 50),
            "conditions": dice.choice(conditions),
        }
        for number in range(RULES)
    ]


def _set_rules(engine: Engine, rules: list[dict[str, Any]]) -> None:
    with transaction(engine) as session:
        session.execute(text("DELETE FROM pricing_rule"))
        for rule in rules:
            add_rule(session, RuleDefinition.model_validate(rule), actor="bench", now=WEDNESDAY)


def _goods(engine: Engine) -> Goods:
    dice = random.Random(7)
    with transaction(engine) as session:
        categories = [create_category(session, slug=f"category-{n}", name=f"Category {n}") for n in range(20)]
        brands = [create_brand(session, slug=f"brand-{n}", name=f"Brand {n}") for n in range(20)]
        products, variants = [], []
        for number in range(PRODUCTS):
            product = create_product(
                session,
                slug=f"priced-{number}",
                name=f"Product {number}",
                now=WEDNESDAY,
                category=dice.choice(categories),
                brand=dice.choice(brands),
                attributes={"color": dice.choice(["red", "blue", "green", "black", "white"])},
            )
            variant = add_variant(session, product, sku=f"PRICED-{number}", price_amount=999 + number * 10)
            products.append(product.id)
            variants.append(variant.id)
        return Goods(products, variants, [each.id for each in categories], [each.id for each in brands])


@contextmanager
def _application(settings: Any) -> Iterator[Any]:
    application = make_application(settings)
    try:
        yield application
    finally:
        close(application.registry)
