"""Reads pricing_cases.md, and prices its baskets without a database."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from babel.numbers import get_currency_precision
from commerce_pricing_rules.definitions import RuleDefinition
from commerce_pricing_rules.floors import Floors
from commerce_pricing_rules.quoting import Evaluation, price_rules
from commerce_pricing_rules.ruleset import Rule, RuleSet
from commerce_pricing_rules.settings import Settings
from commerce_pricing_rules.situation import CouponFact, Facts

from commerce_core.pricing.basket import Basket, Buyer, Item
from commerce_core.pricing.core_rules import core_rules
from commerce_core.pricing.quote import Quote
from commerce_core.pricing.rules import Pricing
from commerce_core.pricing.settlement import calculate
from commerce_core.testing import make_settings

FILE = Path(__file__).with_name("pricing_cases.md")
_NAMESPACE = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
_ITEM = re.compile(r"(\d+) ([a-z])@([\d.]+)(?:/([\d.]+))?")
WEDNESDAY = datetime(2026, 11, 25, 12, tzinfo=UTC)
CUSTOMER = UUID(int=7)


def key(name: str) -> UUID:
    """The id of whatever is called so."""
    return uuid5(_NAMESPACE, name)


# Category, brand, attributes; and each category with those above it.
ARTICLES: dict[str, tuple[str | None, str | None, dict[str, Any]]] = {
    "a": ("shirts", "kestrel", {"color": "red"}),
    "b": ("mugs", "otter", {"color": "blue"}),
    "c": ("clothing", "otter", {"color": ["red", "green"]}),
    "d": (None, None, {}),
}
TREE = {"clothing": [], "shirts": ["clothing"], "kitchen": [], "mugs": ["kitchen"]}
CATEGORIES = {key(name): frozenset({key(name), *map(key, above)}) for name, above in TREE.items()}


def item(number: int, name: str, unit_amount: int, quantity: int = 1, cost: int | None = None) -> Item:
    category, brand, attributes = ARTICLES[name]
    return Item(
        key=UUID(int=number),
        variant_id=key(name),
        product_id=key(f"product {name}"),
        category_id=None if category is None else key(category),
        brand_id=None if brand is None else key(brand),
        sku=name.upper(),
        name=name,
        quantity=quantity,
        unit_amount=unit_amount,
        attributes=attributes,
        weight_grams=None,
        tax_class="standard",
        cost_amount=cost,
    )


def rule_of(name: str, written: Mapping[str, Any]) -> Rule:
    """A rule as it is written here, with names where ids belong."""
    named = json.loads(json.dumps(written), object_hook=_with_ids)
    return Rule(key(f"rule {name}"), RuleDefinition.model_validate({"name": name, **named}))


def _with_ids(given: dict[str, Any]) -> dict[str, Any]:
    return {
        name: [str(key(each)) for each in value]
        if name in ("categories", "brands", "variants", "ids", "products")
        else value
        for name, value in given.items()
    }


def pricing_of(rules: Sequence[Rule] = (), **settings: str) -> Pricing:
    """The core's rules, and ours."""
    made = Pricing()
    shop = make_settings(
        "postgresql://not-needed", {name.replace("_", ".", 1): each for name, each in settings.items()}
    )
    for rule in (*core_rules(shop), *price_rules(lambda session, basket: None)):  # type: ignore[arg-type,return-value]
        made = made.with_rule(rule)
    return made


def quote_of(
    basket: Basket,
    rules: Sequence[Rule],
    *,
    pricing: Pricing | None = None,
    facts: Facts | None = None,
    zone: str = "UTC",
    settings: Settings | None = None,
) -> Quote:
    """What the basket costs by these rules."""
    ruleset = RuleSet(rules, zone=ZoneInfo(zone), categories=CATEGORIES)
    evaluation = Evaluation(ruleset, facts or Facts(), Floors(settings or Settings()))
    return calculate(pricing or pricing_of(), basket, evaluation.as_prefetched())


@dataclass(frozen=True)
class Case:
    section: str
    number: int
    basket: str
    rules: tuple[str, ...]
    situation: str
    lines: tuple[str, ...]
    off: dict[str, str]
    why_not: tuple[str, ...]
    working: str

    def __str__(self) -> str:
        return f"{self.section.partition(':')[0]} {self.number}: {self.basket} | {self.situation}"


def read_cases() -> tuple[list[Case], dict[str, Rule]]:
    """Every row of the file, and its rules by their names."""
    text = FILE.read_text(encoding="utf-8")
    rules = {
        name: rule_of(name, written)
        for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)
        for name, written in json.loads(block).items()
    }
    cases = []
    for section in text.split("\n## ")[1:]:
        title, _, rest = section.partition("\n")
        rows = [row for row in rest.splitlines() if row.startswith("| ")][1:]
        for number, row in enumerate(rows, 1):
            basket, names, situation, lines, off, why_not, working = (
                cell.strip() for cell in row.strip("|").split("|")
            )
            cases.append(
                Case(
                    title,
                    number,
                    basket,
                    tuple(name.strip() for name in names.split(",")),
                    situation,
                    tuple(lines.split(" + ")),
                    dict(part.strip().rsplit(" ", 1) for part in off.split(";") if part.strip()),
                    tuple(sorted(part.strip() for part in why_not.split(";") if part.strip())),
                    working,
                )
            )
    return cases, rules


@dataclass
class Situated:
    """A case's basket and all that goes with it."""

    basket: Basket
    facts: Facts
    settings: Settings
    zone: str
    shipping: str


def situate(case: Case) -> Situated:
    currency, _, rest = case.basket.partition(" ") if case.basket[:3].isupper() else ("USD", "", case.basket)
    items = tuple(
        item(number, name, minor(price, currency), int(quantity), minor(cost, currency) if cost else None)
        for number, (quantity, name, price, cost) in enumerate(_ITEM.findall(rest), 1)
    )
    given = list(_words(case.situation))
    zone = next((value for name, value in given if name == "zone"), "UTC")
    now, tier, user_id, first = WEDNESDAY, None, None, None
    owner: str | None = "guest:1"
    channel, coupons, settings, shipping = None, [], {}, ""
    for name, value in given:
        match name:
            case "at":
                now = datetime.fromisoformat(value)
            case "time":
                now = datetime.fromisoformat(value).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
            case "tier" | "customer":
                user_id, owner, tier, first = CUSTOMER, f"user:{CUSTOMER}", value or None, first or False
            case "first":
                first = True
            case "coupon":
                code, _, campaign = value.partition(":")
                coupons.append(CouponFact(key(code), code, campaign or None))
            case "channel":
                channel = value
            case "margin":
                settings["minimum_margin"] = value
            case "most":
                settings["maximum_discount"] = value
            case "shipping":
                shipping = f"{currency} {minor('5.00', currency)}"
    return Situated(
        Basket(
            currency=currency,
            items=items,
            now=now,
            buyer=Buyer(owner=owner, user_id=user_id, tier=tier, channel=channel),
            coupons=tuple(coupon.code for coupon in coupons),
        ),
        Facts(coupons=tuple(coupons), is_first_order=first),
        Settings.model_validate(settings),
        zone,
        shipping,
    )


def _words(situation: str) -> Iterator[tuple[str, str]]:
    for part in re.split(r",\s*", situation):
        time = re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?", part)
        if time:
            yield "time", time[0]
            part = part[time.end() :]
        for word in part.split():
            name, _, value = word.partition("=")
            yield name, value


def minor(amount: str, currency: str) -> int:
    """An amount as people write it, in minor units."""
    exact = Decimal(amount).scaleb(get_currency_precision(currency))
    assert exact == int(exact), f"{amount} is not in {currency}"
    return int(exact)
