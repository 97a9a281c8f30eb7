"""Lists and product pages show what a guest pays now, and until when; and are never older than a sale."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from commerce_search import indexing
from pricing_shop import ADMIN, API, MakeRule, Shopper
from sqlalchemy import Engine
from webtest import TestApp

from commerce_core.testing import StoppedClock, count_sql

pytestmark = pytest.mark.commerce(plugins=["pricing"], settings={"pricing.timezone": "Europe/Berlin"})
MakeVariant = Callable[..., UUID]
THURSDAY = datetime(2026, 11, 26, 22, 59, 57, tzinfo=UTC)  # three seconds to Friday in Berlin


def offers(client: TestApp) -> list[Any]:
    shown = client.get(f"{API}/products?sort=price_asc").json["data"]
    return [product["extensions"]["pricing"]["offer"] for product in shown]


def test_a_list_shows_what_was_what_is_and_until_when(
    client: TestApp, clock: StoppedClock, make_rule: MakeRule, make_variant: MakeVariant
) -> None:
    clock.set(THURSDAY)
    for price in (1_000, 10_000):
        make_variant(price_amount=price)
    make_rule("percentage", {"percent": 30}, name="Flash Friday", conditions={"type": "day_of_week", "days": ["fri"]})
    make_rule("percentage", {"percent": 50}, conditions={"type": "customer_tier", "tiers": ["vip"]}, priority=9)
    make_rule("percentage", {"percent": 50}, conditions={"type": "quantity", "min": 2}, priority=9)
    make_rule("cart_percentage", {"percent": 50}, priority=9)
    assert offers(client) == [None, None]
    kept = client.get(f"{API}/products").headers["Cache-Control"]
    assert kept == "public, max-age=3, s-maxage=3, stale-while-revalidate=0"
    clock.tick(seconds=2.9)
    assert offers(client) == [None, None]
    clock.tick(seconds=0.1)  # out of no cache any more: at that instant, without anybody doing anything
    cheap, dear = offers(client)
    assert dear == {
        "was": {"amount": 10_000, "currency": "USD", "formatted": "$100.00"},
        "now": {"amount": 7_000, "currency": "USD", "formatted": "$70.00"},
        "savings": {"amount": 3_000, "currency": "USD", "formatted": "$30.00"},
        "discount_percentage": 30,
        "until": "2026-11-27T23:00:00Z",
        "rules": ["Flash Friday"],
    }
    assert cheap["now"]["amount"] == 700
    clock.set(datetime(2026, 11, 27, 23, 0, tzinfo=UTC))
    assert offers(client) == [None, None]


def test_a_change_of_rules_shows_at_once(
    client: TestApp, staff: TestApp, make_rule: MakeRule, make_variant: MakeVariant, product_of: Callable[[UUID], UUID]
) -> None:
    variant_id = make_variant(price_amount=1_000)
    page = f"{API}/products/{product_of(variant_id)}"
    assert offers(client) == [None]
    rule = make_rule("fixed_price", {"prices": {"USD": 750}})
    assert offers(client)[0]["now"]["amount"] == 750
    shown = client.get(page).json
    assert shown["extensions"]["pricing"]["offer"]["now"]["amount"] == 750
    assert shown["variants"][0]["extensions"]["pricing"]["offer"]["until"] is None
    changed = staff.patch_json(
        f"{ADMIN}/rules/{rule['id']}", {"modifiers": {"prices": {"USD": 600}}}, headers={"If-Match": '"1"'}
    ).json
    assert offers(client)[0]["now"]["amount"] == 600
    staff.delete(f"{ADMIN}/rules/{rule['id']}", headers={"If-Match": f'"{changed["version"]}"'})
    assert offers(client) == [None]


@pytest.mark.parametrize("limit", [{"usage_limit": 2}, {"budget": {"amount": 200, "currency": "USD"}}])
def test_what_is_used_up_is_not_shown_any_more(
    application: Any, client: TestApp, make_rule: MakeRule, make_variant: MakeVariant, limit: dict[str, Any]
) -> None:
    variant_id = make_variant(price_amount=1_000)
    assert offers(client) == [None]
    make_rule("percentage", {"percent": 10}, **limit)
    for total in (900, 900, 1_000):
        shown = [1_000 if offer is None else offer["now"]["amount"] for offer in offers(client)]
        assert shown == [total]
        shopper = Shopper(application)
        shopper.put(variant_id)
        assert shopper.order()["total"]["amount"] == total


@pytest.mark.parametrize("days", [{"to": "9999-12-31"}, {"from": "0001-01-01"}])
def test_days_at_the_ends_of_the_calendar_break_no_list(
    client: TestApp, make_rule: MakeRule, make_variant: MakeVariant, days: dict[str, str]
) -> None:
    make_variant(price_amount=1_000)
    make_rule("percentage", {"percent": 10}, conditions={"type": "date_range", **days})
    [offer] = offers(client)
    assert (offer["now"]["amount"], offer["until"]) == (900, None)


def test_a_page_of_24_costs_one_statement_more(
    application: Any, client: TestApp, make_rule: MakeRule, make_variant: MakeVariant
) -> None:
    for _ in range(24):
        make_variant()
    for number in range(20):
        make_rule("percentage", {"percent": 1}, stackable=True, priority=number)
    assert len(offers(client)) == 24  # and the rules are compiled
    counts = []
    for query in ("?page=1&per_page=24", "?per_page=1"):
        with count_sql(application.registry.engine) as statements:
            client.get(f"{API}/products{query}")
        ours = [each for each in statements if "pricing_" in each]
        counts.append(len(ours))
    assert counts == [1, 1]


def test_a_price_list_for_everybody_is_what_guests_pay(
    client: TestApp, staff: TestApp, clock: StoppedClock, make_rule: MakeRule, make_variant: MakeVariant
) -> None:
    clock.set(THURSDAY)
    variant_id = str(make_variant(price_amount=1_000))
    summer = {"name": "Summer", "currency": "USD", "ends_at": "2026-11-28T01:00:00+02:00"}
    made = staff.post_json(f"{ADMIN}/price-lists", summer, status=201).json
    for prices, version in (([{"variant_id": variant_id, "amount": 800}], 1),):
        staff.patch_json(
            f"{ADMIN}/price-lists/{made['id']}/prices", {"prices": prices}, headers={"If-Match": f'"{version}"'}
        )
    make_rule("percentage", {"percent": 10}, name="Ten")
    [offer] = offers(client)
    assert (offer["was"]["amount"], offer["now"]["amount"], offer["rules"]) == (1_000, 720, ["Summer", "Ten"])
    assert offer["until"] == "2026-11-27T23:00:00Z"
    clock.set(datetime(2026, 11, 27, 23, 0, tzinfo=UTC))
    [offer] = offers(client)
    assert (offer["now"]["amount"], offer["until"], offer["rules"]) == (900, None, ["Ten"])


@pytest.mark.commerce(
    plugins=["pricing", "search"],
    settings={"pricing.timezone": "Europe/Berlin", "search.backend": "postgresql", "search.delay_ms": "0"},
)
def test_what_search_finds_shows_what_a_guest_pays_now_with_one_statement_for_the_page(
    application: Any,
    client: TestApp,
    engine: Engine,
    clock: StoppedClock,
    make_rule: MakeRule,
    make_variant: MakeVariant,
) -> None:
    clock.set(THURSDAY)
    make_rule("percentage", {"percent": 30}, conditions={"type": "day_of_week", "days": ["fri"]})
    for _ in range(5):
        make_variant(price_amount=10_000)
    indexing.rebuild(application.registry.search, engine)

    def shown() -> list[Any]:
        found = client.get(f"{API}/search?q=product").json["data"]
        return [product["extensions"]["pricing"]["offer"] for product in found]

    assert shown() == [None] * 5
    clock.tick(seconds=3)
    with count_sql(application.registry.engine) as sent:
        offered = shown()
    assert [(offer["was"]["amount"], offer["now"]["amount"], offer["until"]) for offer in offered] == [
        (10_000, 7_000, "2026-11-27T23:00:00Z")
    ] * 5
    assert sum("pricing_list_price" in statement for statement in sent) == 1
