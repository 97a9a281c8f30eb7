"""Coupons: codes that nobody guesses, limits that hold, and uses that come back."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from commerce_pricing_rules import uses
from commerce_pricing_rules.models import PricingLimit, PricingUse
from pricing_shop import ADDRESS, ADMIN, API, CUSTOMER, MakeRule, Shopper, amounts
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session
from webtest import TestApp

from commerce_core.accounts.policy import owner_of_cart_token
from commerce_core.carts import service as carts
from commerce_core.database import transaction
from commerce_core.orders.models import Order
from commerce_core.payments.sweep import expire_orders
from commerce_core.testing import SignedIn, StoppedClock, assert_stock_adds_up, concurrently

MakeVariant = Callable[..., UUID]
SOAK = bool(os.environ.get("COMMERCE_SOAK"))
CUSTOMERS, USES, CANCELLED = (2_000, 500, 50) if SOAK else (200, 50, 5)
# So many at a time on real connections; nobody gives up for having to wait, however busy the machine is.
CROWDED = {
    "sqlalchemy.pool_size": "24",
    "sqlalchemy.pool_timeout_seconds": "300",
    "sqlalchemy.lock_timeout_ms": "120000",
    "sqlalchemy.statement_timeout_ms": "120000",
}
plugin = pytest.mark.commerce(plugins=["pricing"])
TEN_OFF: dict[str, Any] = {"amounts": {"USD": 1_000}}


def coupon_of(staff: TestApp, code: str | None = None, **rest: Any) -> Any:
    return staff.post_json(f"{ADMIN}/coupons", {"code": code, **rest}, status=201).json


def uses_of(staff: TestApp, coupon: Any) -> int:
    uses: int = staff.get(f"{ADMIN}/coupons/{coupon['id']}").json["uses"]
    return uses


@plugin
def test_a_coupon_is_used_once_given_back_on_cancel_and_used_again(
    application: Any, staff: TestApp, make_rule: MakeRule, make_variant: MakeVariant
) -> None:
    coupon = coupon_of(staff, "spring", usage_limit=1)
    make_rule("cart_amount", TEN_OFF, conditions={"type": "coupon", "code": "SPRING"})
    variant_id = make_variant(price_amount=5_000)
    first, second = (Shopper(application, token=f"the-{name}-guest-here") for name in ("first", "second"))
    for shopper in (first, second):
        shopper.put(variant_id)
        assert amounts(shopper.use("Spring")["totals"], "total") == [4_000]
    order = first.order(expected_total=4_000)
    assert uses_of(staff, coupon) == 1
    # The other one still counts on it: it is not ordered without, at another price.
    refused = second.order(status=409)
    assert (refused["type"], refused["reason"]) == ("/problems/pricing/coupon-unusable", "coupon-used-up")
    assert amounts(second.quote(), "total") == [5_000]
    third = Shopper(application, token="the-third-guest-here")
    third.put(variant_id)
    refused = third.use("SPRING", status=409)
    assert (refused["type"], refused["detail"]) == ("/problems/coupon-refused", "This coupon has been used up.")
    first.client.post_json(f"{API}/orders/{order['id']}/cancel", {})
    assert uses_of(staff, coupon) == 0
    assert amounts(second.quote(), "total") == [4_000]
    second.order(expected_total=4_000)
    assert uses_of(staff, coupon) == 1


@plugin
def test_a_coupon_says_why_it_is_refused(
    application: Any, staff: TestApp, clock: StoppedClock, make_rule: MakeRule, make_variant: MakeVariant
) -> None:
    shopper = Shopper(application)
    shopper.put(make_variant(price_amount=1_000))
    coupon_of(staff, "IDLE")
    coupon_of(staff, "MINIMUM")
    coupon_of(staff, "FRIENDS", usage_limit_per_customer=1)
    coupon_of(staff, "LATER", starts_at="2999-01-01T00:00:00Z")
    make_rule("cart_amount", {**TEN_OFF, "minimum": {"USD": 5_000}}, conditions={"type": "coupon", "code": "MINIMUM"})
    for code in ("FRIENDS", "LATER"):
        make_rule("cart_amount", TEN_OFF, conditions={"type": "coupon", "code": code})
    assert shopper.use("NOBODYS", status=422)["type"] == "/problems/unknown-coupon"
    refusals = {code: shopper.use(code, status=409)["detail"] for code in ("IDLE", "MINIMUM", "FRIENDS", "LATER")}
    assert refusals == {
        "IDLE": "Nothing is reduced by this coupon at the moment.",
        "MINIMUM": "This coupon is valid from $50.00 on.",
        "FRIENDS": "This coupon is for customers who have signed in.",
        "LATER": "This coupon is not valid yet.",
    }


@plugin
def test_a_customer_has_it_as_often_as_it_says(
    application: Any,
    staff: TestApp,
    sign_in: Callable[..., SignedIn],
    make_rule: MakeRule,
    make_variant: MakeVariant,
) -> None:
    coupon_of(staff, "WELCOME", usage_limit_per_customer=1)
    make_rule("cart_amount", TEN_OFF, conditions={"type": "coupon", "code": "WELCOME"})
    variant_id = make_variant(price_amount=5_000)
    ada, bob = (Shopper(application, sign_in("customer").client) for _ in range(2))
    for shopper in (ada, bob):
        shopper.put(variant_id)
        shopper.use("WELCOME")
        assert amounts(shopper.order(), "total") == [4_000]
    ada.put(variant_id)
    assert ada.use("WELCOME", status=409)["detail"] == "You have used this coupon before."


@plugin
def test_many_codes_are_made_that_nobody_guesses(
    application: Any, staff: TestApp, make_rule: MakeRule, make_variant: MakeVariant
) -> None:
    body = {"campaign": "news", "number": 500, "prefix": "news-"}
    codes = staff.post_json(f"{ADMIN}/coupons/generate", body, status=201).json["codes"]
    assert len(set(codes)) == 500
    assert all(re.fullmatch(r"NEWS-([0-9A-HJKMNP-TV-Z]{4}-){2}[0-9A-HJKMNP-TV-Z]{4}", code) for code in codes)
    letters = Counter("".join(code.removeprefix("NEWS-").replace("-", "") for code in codes))
    assert len(letters) == 32
    make_rule("cart_amount", TEN_OFF, conditions={"type": "coupon", "campaign": "news"})
    shopper = Shopper(application)
    shopper.put(make_variant(price_amount=5_000))
    assert amounts(shopper.use(codes[7])["totals"], "total") == [4_000]
    shopper.order()
    [used] = staff.get(f"{ADMIN}/coupons?code={codes[7]}").json["data"]
    assert (used["uses"], used["campaign"], used["usage_limit"]) == (1, "news", 1)


@plugin
def test_more_codes_are_made_at_once_than_one_statement_takes(staff: TestApp) -> None:
    body = {"campaign": "news", "number": 7_000}  # of ten columns, and PostgreSQL takes 65,535 parameters
    codes = staff.post_json(f"{ADMIN}/coupons/generate", body, status=201).json["codes"]
    assert len(set(codes)) == 7_000


@pytest.mark.commerce(plugins=["pricing"], settings={"limits.coupon": "3/minute"})
def test_guessing_is_limited(application: Any, make_variant: MakeVariant) -> None:
    shopper = Shopper(application)
    shopper.put(make_variant())
    for guess in range(3):
        shopper.use(f"GUESS-{guess}", status=422)
    assert shopper.use("GUESS-3", status=429)["type"] == "/problems/too-many-requests"


@pytest.mark.commerce(plugins=["pricing"], settings={"limits.coupon": "3/minute"})
def test_a_code_is_priced_without_a_cart_and_counts_as_a_try(
    client: TestApp, staff: TestApp, make_rule: MakeRule, make_variant: MakeVariant
) -> None:
    coupon_of(staff, "SPRING")
    make_rule("cart_amount", TEN_OFF, conditions={"type": "coupon", "code": "SPRING"})
    variant_id = str(make_variant(price_amount=5_000))
    path = f"{API}/pricing/calculate?variant_id={variant_id}"
    assert amounts(client.get(path).json, "total_final") == [5_000]
    assert amounts(client.get(f"{path}&coupon=spring").json, "total_final") == [4_000]
    body = {"items": [{"variant_id": variant_id}], "coupons": ["Spring"]}
    [found] = client.post_json(f"{API}/pricing/calculate-batch", body).json["items"]
    assert amounts(found, "total_final") == [4_000]
    assert amounts(client.get(f"{path}&coupon=GUESSED").json, "total_final") == [5_000]
    client.get(f"{path}&coupon=GUESSED", status=429)
    client.get(f"{path}&coupon=a%00b", status=422)
    assert amounts(client.get(path).json, "total_final") == [5_000]


@plugin
def test_a_budget_is_spent_to_the_last_unit_and_no_further(
    application: Any, staff: TestApp, make_rule: MakeRule, make_variant: MakeVariant, engine: Engine
) -> None:
    rule = make_rule("percentage", {"percent": 10}, budget={"amount": 250, "currency": "USD"})
    variant_id = make_variant(price_amount=1_000)
    paid = []
    orders = []
    for number in range(4):
        shopper = Shopper(application, token=f"a-guest-with-number-{number}")
        shopper.put(variant_id)
        orders.append(shopper.order())
        paid += amounts(orders[-1], "total")
    assert paid == [900, 900, 950, 1_000]
    with Session(engine) as session:
        assert session.get_one(PricingLimit, UUID(rule["id"])).spent == 250
    staff.post_json(f"{API}/orders/{orders[0]['id']}/cancel", {})
    shopper = Shopper(application, token="a-guest-who-comes-late")
    shopper.put(variant_id)
    assert amounts(shopper.order(), "total") == [900]


@pytest.mark.commerce(plugins=["pricing"], settings=CROWDED)
def test_a_crowd_gets_exactly_as_many_uses_as_there_are(
    application: Any,
    engine: Engine,
    staff: TestApp,
    clock: StoppedClock,
    make_rule: MakeRule,
    make_variant: MakeVariant,
) -> None:
    """Everybody has the coupon in the cart, and orders at once, each with a cart of their own, on real connections."""
    coupon = coupon_of(staff, "RACE", usage_limit=USES)
    make_rule("cart_amount", TEN_OFF, conditions={"type": "coupon", "code": "RACE"})
    variants = [make_variant(stock=CUSTOMERS, price_amount=5_000) for _ in range(4)]
    settings = application.registry.settings_object.carts
    tokens = [f"a-guest-of-the-race-{number}" for number in range(CUSTOMERS)]
    with transaction(engine) as session:
        for number, token in enumerate(tokens):
            cart = carts.open_cart(session, owner_of_cart_token(token), settings=settings, now=clock.now())
            variant_id = variants[number % len(variants)]
            carts.add_line(session, cart, variant_id, 1, settings=settings, now=clock.now())
            cart.coupons = ["RACE"]

    def order(token: str) -> Any:
        client = TestApp(application, extra_environ={"HTTP_X_CART_TOKEN": token})
        body = {"cart": True, "customer": CUSTOMER, "shipping_address": ADDRESS, "expected_total": 4_000}
        return client.post_json(f"{API}/orders", body, status="*")

    def everybody(tokens: list[str]) -> list[Any]:
        return concurrently([lambda token=token: order(token) for token in tokens])  # type: ignore[misc]

    answers = everybody(tokens)
    placed = [answer.json["id"] for answer in answers if answer.status_int == 201]
    reasons = Counter(answer.json["type"] for answer in answers if answer.status_int != 201)
    assert len(placed) == USES
    # Some find out when they are priced, some when it is their turn for the last one.
    late = {f"/problems/{each}" for each in ("price-changed", "pricing/coupon-unusable", "pricing/used-up")}
    assert reasons.keys() <= late
    assert orders_with_coupon(engine) == USES == uses_of(staff, coupon)

    left = [token for token, answer in zip(tokens, answers, strict=True) if answer.status_int != 201]
    for order_id in placed[:CANCELLED]:
        staff.post_json(f"{API}/orders/{order_id}/cancel", {})
    assert uses_of(staff, coupon) == USES - CANCELLED
    again = everybody(left)
    assert sum(answer.status_int == 201 for answer in again) == CANCELLED
    assert orders_with_coupon(engine) == USES == uses_of(staff, coupon)
    with Session(engine) as session:
        limit = session.get_one(PricingLimit, UUID(coupon["id"]))
        given_back = session.scalars(
            select(PricingUse.collected).where(
                PricingUse.subject_id == UUID(coupon["id"]), PricingUse.released_at.is_not(None)
            )
        ).all()
        assert (limit.uses, given_back) == (USES, [True] * CANCELLED)
    assert_stock_adds_up(engine)


@pytest.mark.parametrize("guarded", [True, False], ids=["with the lock", "without it"])
@plugin
def test_it_is_the_lock_that_keeps_the_last_use_from_being_given_twice(
    application: Any,
    engine: Engine,
    staff: TestApp,
    clock: StoppedClock,
    make_rule: MakeRule,
    make_variant: MakeVariant,
    monkeypatch: pytest.MonkeyPatch,
    guarded: bool,
) -> None:
    """The negative control of the crowd: without the lock on the limit, two that meet both get the last use."""
    coupon = coupon_of(staff, "LAST", usage_limit=1)
    variant_id = make_variant(price_amount=5_000)
    shoppers = [Shopper(application, token=f"a-guest-at-the-last-{number}") for number in range(2)]
    for shopper in shoppers:
        shopper.put(variant_id)
    order_ids = [UUID(shopper.order()["id"]) for shopper in shoppers]
    wanted = [uses.Wanted("coupon", UUID(coupon["id"]), 1_000, "LAST")]
    if not guarded:
        unguarded = select(PricingLimit.subject_id).order_by(PricingLimit.subject_id)
        monkeypatch.setattr(uses, "_LOCK", unguarded)

    def take(order_id: UUID, meet: Callable[[], None]) -> bool:
        try:
            with transaction(engine) as session:
                uses.take(session, order_id, wanted, currency="USD", user_id=None, now=clock.now())
                meet()
        except uses.OfferUsedUp:
            return False
        return True

    with ThreadPoolExecutor(1) as other:
        started: list[Future[bool]] = []

        def let_the_other_run_into_it() -> None:
            started.append(other.submit(take, order_ids[1], lambda: None))
            while not started[0].done() and not somebody_waits(engine):
                pass

        assert take(order_ids[0], let_the_other_run_into_it)
        assert started[0].result() is not guarded
    with Session(engine) as session:
        given = session.scalar(select(func.count()).where(PricingUse.subject_id == UUID(coupon["id"])))
    assert given == (1 if guarded else 2)


@pytest.mark.commerce(plugins=["pricing"], settings={"orders.payment_seconds": "60"})
def test_an_order_that_is_paid_after_it_lapsed_keeps_its_price_and_uses_the_coupon_again_beyond_the_limit(
    application: Any,
    engine: Engine,
    staff: TestApp,
    clock: StoppedClock,
    make_rule: MakeRule,
    make_variant: MakeVariant,
) -> None:
    """The customer has paid what the order said. Nobody else gets a use until there are fewer than the limit again."""
    coupon = coupon_of(staff, "ONCE", usage_limit=1)
    make_rule("cart_amount", TEN_OFF, conditions={"type": "coupon", "code": "ONCE"})
    variant_id = make_variant(price_amount=5_000)
    late, quick, third = (Shopper(application, token=f"a-guest-who-is-{who}") for who in ("late", "quick", "third"))
    for shopper in (late, quick, third):
        shopper.put(variant_id)
        shopper.use("ONCE")
    lapsed = late.order()
    clock.tick(minutes=2)
    expire_orders(engine, now=clock.now())
    assert uses_of(staff, coupon) == 0
    other = quick.order()
    assert uses_of(staff, coupon) == 1
    staff.post_json(f"{API}/admin/orders/{lapsed['id']}/mark-paid", {"reference": "transfer"})
    assert uses_of(staff, coupon) == 2
    assert third.order(status=409)["reason"] == "coupon-used-up"
    staff.post_json(f"{API}/orders/{other['id']}/cancel", {})
    assert uses_of(staff, coupon) == 1
    assert third.order(status=409)["reason"] == "coupon-used-up"


def somebody_waits(engine: Engine) -> bool:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with engine.connect() as connection:
        return bool(connection.scalar(text(waiting)))


def orders_with_coupon(engine: Engine) -> int:
    with Session(engine) as session:
        statement = select(func.count()).where(Order.discount_total == 1_000, Order.status != "cancelled")
        return session.scalar(statement) or 0
