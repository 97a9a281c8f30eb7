"""What is paid is what was seen, or nothing is ordered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from pricing_shop import ADMIN, API, MakeRule, Shopper, amounts, entries
from sqlalchemy import Engine, update
from webtest import TestApp

from commerce_core.accounts.models import User
from commerce_core.database import transaction
from commerce_core.testing import SignedIn, StoppedClock, assert_stock_adds_up, count_sql

pytestmark = pytest.mark.commerce(plugins=["pricing"])
MakeVariant = Callable[..., UUID]


def test_a_sale_that_ends_between_the_quote_and_the_order_is_a_conflict(
    application: Any, engine: Engine, clock: StoppedClock, make_rule: MakeRule, make_variant: MakeVariant
) -> None:
    ends_at = clock.now() + timedelta(minutes=5)
    sale = make_rule("percentage", {"percent": 30}, ends_at=ends_at.isoformat())
    shopper = Shopper(application)
    shopper.put(make_variant(price_amount=1_000), 2)
    seen = shopper.quote()["total"]["amount"]
    assert seen == 1_400
    clock.set(ends_at - timedelta(seconds=1))
    assert shopper.quote()["total"]["amount"] == seen
    clock.set(ends_at)
    refused = shopper.order(status=409, expected_total=seen)
    assert (refused["type"], refused["total"]) == ("/problems/price-changed", 2_000)
    assert_stock_adds_up(engine)
    quote = shopper.quote()
    [ended] = entries(quote, sale)
    assert (ended["reason"], ended["details"]["wanted"]) == ("ended", ends_at.isoformat())
    assert amounts(shopper.order(expected_total=quote["total"]["amount"]), "total") == [2_000]


def test_the_quote_is_the_order_to_the_unit(
    application: Any, make_rule: MakeRule, make_variant: MakeVariant, staff: TestApp
) -> None:
    make_rule("percentage", {"percent": "12.5"}, priority=3, stackable=True)
    make_rule("tiered", {"tiers": [{"from": 3, "percent": 7}]}, priority=2, stackable=True)
    make_rule("cart_amount", {"amounts": {"USD": 333}}, stackable=True)
    make_rule("free_shipping", {})
    shopper = Shopper(application)
    for price, quantity in ((999, 3), (1_450, 1), (33, 7)):
        shopper.put(make_variant(price_amount=price), quantity)
    quote = shopper.quote("?country=GB")
    order = shopper.order(expected_total=quote["total"]["amount"])
    names = ("subtotal", "discount_total", "shipping_total", "tax_total", "total")
    assert amounts(order, *names) == amounts(quote, *names)
    assert staff.get(f"{ADMIN}/orders/{order['id']}/trace").json["trace"] == quote["trace"]


def test_a_price_list_is_for_its_group_from_its_quantity_in_its_time(
    application: Any,
    engine: Engine,
    clock: StoppedClock,
    staff: TestApp,
    sign_in: Callable[..., SignedIn],
    make_variant: MakeVariant,
) -> None:
    variant_id, other = make_variant(price_amount=1_000), make_variant(price_amount=1_000, currency="EUR")
    given = {"name": "Wholesale", "tier": "wholesale", "currency": "USD"}
    ends_at = clock.now() + timedelta(days=1)
    made = staff.post_json(f"{ADMIN}/price-lists", {**given, "ends_at": ends_at.isoformat()}, status=201).json
    path = f"{ADMIN}/price-lists/{made['id']}/prices"
    prices = [
        {"variant_id": str(variant_id), "from_quantity": 1, "amount": 900},
        {"variant_id": str(variant_id), "from_quantity": 10, "amount": 700},
    ]
    staff.patch_json(path, {"prices": prices}, headers={"If-Match": '"1"'})
    assert staff.get(path).json["data"] == prices
    wrong = [{"variant_id": str(other), "amount": 1}]
    [error] = staff.patch_json(path, {"prices": wrong}, headers={"If-Match": '"2"'}, status=422).json["errors"]
    assert error["code"] == "other_currency"
    buyer = sign_in("customer")
    with transaction(engine) as session:
        session.execute(update(User).where(User.id == buyer.user_id).values(tier="wholesale"))
    wholesale, guest = Shopper(application, buyer.client), Shopper(application)
    for shopper, quantity, total in ((wholesale, 9, 8_100), (guest, 9, 9_000)):
        shopper.put(variant_id, quantity)
        assert amounts(shopper.quote(), "total") == [total]
    wholesale.put(variant_id, 1)
    assert amounts(wholesale.quote(), "total") == [7_000]
    clock.set(ends_at)
    assert amounts(wholesale.quote(), "total") == [10_000]


@pytest.mark.commerce(plugins=["pricing"], settings={"pricing.minimum_margin": "20", "pricing.maximum_discount": "50"})
def test_floors_are_settings_and_say_when_they_cut_in(
    application: Any, engine: Engine, make_rule: MakeRule, make_variant: MakeVariant
) -> None:
    rule = make_rule("percentage", {"percent": 90})
    shopper = Shopper(application)
    shopper.put(make_variant(price_amount=1_000, cost_amount=600))
    shopper.put(make_variant(price_amount=1_000))
    quote = shopper.quote()
    assert [line["total"]["amount"] for line in quote["lines"]] == [750, 500]
    limited = [entry["details"]["floor"] for entry in entries(quote, rule)]
    assert limited == [
        {"by": "minimum-margin", "asked": 900, "floor": 750},
        {"by": "maximum-discount", "asked": 900, "floor": 500},
    ]


def test_a_quote_takes_as_many_statements_with_many_rules_and_lines_as_with_few(
    application: Any, make_rule: MakeRule, make_variant: MakeVariant
) -> None:
    shopper = Shopper(application)
    shopper.put(make_variant())

    def statements() -> int:
        with count_sql(application.registry.engine) as sent:
            shopper.quote()
        return len(sent)

    make_rule("percentage", {"percent": 1}, stackable=True)
    statements()  # the rules are compiled
    few = statements()
    for number in range(15):
        shopper.put(make_variant())
        make_rule("percentage", {"percent": 1}, stackable=True, priority=number, usage_limit=1_000)
    statements()
    assert statements() == few


def test_another_process_goes_by_new_rules_with_its_next_quote(
    application: Any, settings: Any, make_rule: MakeRule, make_variant: MakeVariant, clock: StoppedClock
) -> None:
    from commerce_core.application import close, make_application

    variant_id = make_variant(price_amount=1_000)
    other = make_application(settings, clock=clock)
    try:
        client = TestApp(other)

        def costs() -> Any:
            found = client.get(f"{API}/pricing/calculate?variant_id={variant_id}").json
            return found["total_final"]["amount"]

        assert costs() == 1_000
        make_rule("percentage", {"percent": 30})
        assert costs() == 700
        compiled = other.registry.pricing_rulebook.compiled_times
        assert costs() == 700
        assert other.registry.pricing_rulebook.compiled_times == compiled
    finally:
        close(other.registry)


@pytest.mark.parametrize("query", ["", "?country=GB"])
@pytest.mark.parametrize(
    ("kind", "modifiers", "during", "after"),
    [
        ("percentage", {"percent": 30}, 1_900, 2_500),
        ("cart_amount", {"amounts": {"USD": 300}}, 2_200, 2_500),
        ("free_shipping", {}, 2_000, 2_500),
    ],
)
@pytest.mark.commerce(plugins=["pricing"], settings={"shipping.flat": "USD 500"})
def test_the_total_last_seen_is_paid_or_nothing_even_if_the_client_does_not_name_it(
    application: Any,
    engine: Engine,
    clock: StoppedClock,
    make_rule: MakeRule,
    make_variant: MakeVariant,
    kind: str,
    modifiers: Any,
    during: int,
    after: int,
    query: str,
) -> None:
    ends_at = clock.now() + timedelta(minutes=5)
    make_rule(kind, modifiers, ends_at=ends_at.isoformat())
    shopper = Shopper(application)
    shown = shopper.put(make_variant(price_amount=1_000), 2)["totals"]
    assert amounts(shown, "total") == amounts(shopper.quote(query), "total") == [during]
    clock.set(ends_at)
    refused = shopper.order(status=409)
    assert (refused["type"], refused["expected_total"], refused["total"]) == ("/problems/price-changed", during, after)
    assert_stock_adds_up(engine)
    # A cart that was only looked at is not agreed to; a quote is.
    assert amounts(shopper.client.get(f"{API}/cart").json["totals"], "total") == [after]
    assert shopper.order(status=409)["total"] == after
    assert amounts(shopper.quote(query), "total") == [after]
    assert amounts(shopper.order(), "total") == [after]


def test_taxes_of_the_place_are_no_change_of_what_was_shown_without_one(
    application: Any, make_rule: MakeRule, make_variant: MakeVariant, settings: Any
) -> None:
    make_rule("cart_amount", {"amounts": {"USD": 300}})
    shopper = Shopper(application)
    shopper.put(make_variant(price_amount=1_000), 2)
    shopper.quote()
    with count_sql(application.registry.engine) as sent:
        shopper.quote()
    assert not [statement for statement in sent if "UPDATE cart" in statement]
    assert amounts(shopper.order(), "total") == [1_700]
