"""Orders from holds cost what the quote says, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from support.baskets import pricing, rule
from support.problems import assert_problem
from webtest import TestApp

from commerce_core.accounts.models import User
from commerce_core.database import transaction
from commerce_core.orders.models import Order
from commerce_core.pricing.basket import Basket, Buyer, Destination
from commerce_core.pricing.quote import Quote, Stage
from commerce_core.pricing.rounding import percent_of
from commerce_core.pricing.rules import PriceRule, Pricing
from commerce_core.pricing.service import browse, items_of, quote_basket
from commerce_core.stock.models import Hold
from commerce_core.testing import SignedIn, StoppedClock, assert_stock_adds_up, count_sql

MakeVariant = Callable[..., UUID]
ADDRESS = {"name": "Ada Lovelace", "line1": "27 Long Acre", "city": "Berlin", "country": "DE"}
SHOP = {"tax.rates": "DE 19, DE reduced 7", "shipping.flat": "USD 500", "shipping.free_from": "USD 5000"}


def hold(client: TestApp, variant_id: UUID, quantity: int = 1) -> str:
    answer = client.post_json("/api/v1/holds", {"variant_id": str(variant_id), "quantity": quantity})
    return str(answer.json["id"])


def ten_percent(quote: Quote) -> None:
    for line in quote.lines:
        quote.discount_line(line.key, percent_of(line.net, 10), percent=10)


TEN_OFF = rule("ten-off", Stage.LINE, ten_percent, label="Ten per cent off")


def amounts(order: dict[str, Any], *names: str) -> list[int]:
    return [order[name]["amount"] for name in names]


@pytest.mark.commerce(settings=SHOP)
def test_an_order_says_what_it_is_made_of(
    application: Any, client: TestApp, make_variant: MakeVariant, engine: Engine
) -> None:
    application.registry.pricing = application.registry.pricing.with_rule(TEN_OFF)
    body = {"hold_id": hold(client, make_variant(price_amount=1_000), 3), "shipping_address": ADDRESS}
    order = client.post_json("/api/v1/orders", body, status=201).json
    assert amounts(order, "subtotal", "discount_total", "shipping_total", "fee_total") == [3_000, 300, 500, 0]
    # 19 % of 27.00 and of 5.00
    assert amounts(order, "tax_total", "total") == [513 + 95, 3_000 - 300 + 500 + 608]
    assert order["prices_include_tax"] is False
    [line] = order["lines"]
    assert amounts(line, "total", "discount_total", "tax_total") == [3_000, 300, 513]
    assert [
        (a["kind"], a["code"], a["source"], a["amount"]["amount"], a["line_id"], a["included"])
        for a in order["adjustments"]
    ] == [
        ("discount", "ten-off", "test", -300, line["id"], False),
        ("shipping", "flat-shipping", "core", 500, None, False),
        ("tax", "tax", "core", 513, line["id"], False),
        ("tax", "tax", "core", 95, None, False),
    ]
    assert client.get(f"/api/v1/orders/{order['id']}").json == order
    with Session(engine) as session:
        trace = session.scalars(select(Order.trace)).one()
    assert [(entry["stage"], entry["code"], entry.get("key")) for entry in trace] == [
        ("BASE", "catalogue-price", line["id"]),
        ("LINE", "ten-off", line["id"]),
        ("SHIPPING", "flat-shipping", None),
        ("TAX", "tax", line["id"]),
        ("TAX", "tax", None),
    ]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    price=st.integers(0, 100_000),
    quantity=st.integers(1, 9),
    currency=st.sampled_from(["USD", "JPY", "KWD"]),
    percent=st.decimals(0, 30, places=2),
    included=st.booleans(),
    rounding=st.sampled_from(["line", "order"]),
    cart_off=st.integers(0, 5_000),
)
def test_the_quote_is_the_order(
    application: Any,
    client: TestApp,
    make_variant: MakeVariant,
    engine: Engine,
    clock: StoppedClock,
    price: int,
    quantity: int,
    currency: str,
    percent: Any,
    included: bool,
    rounding: str,
    cart_off: int,
) -> None:
    shop = pricing(
        TEN_OFF,
        rule("cart-off", Stage.CART, lambda quote: quote.discount_cart(cart_off)),
        tax_rates=f"DE {percent}",
        tax_prices_include_tax=str(included),
        tax_rounding=rounding,
        shipping_flat="USD 499, JPY 500, KWD 1500",
    )
    application.registry.pricing = shop
    variant_id = make_variant(price_amount=price, currency=currency)
    with Session(engine) as session:
        [offer] = items_of(session, [(uuid4(), variant_id, quantity)])
        wanted = Basket(
            currency=offer.currency, items=(offer.item,), now=clock.now(), destination=Destination(country="DE")
        )
        quote = quote_basket(session, shop, wanted)
    body = {
        "hold_id": hold(client, variant_id, quantity),
        "shipping_address": ADDRESS,
        "expected_total": quote.total,
    }
    order = client.post_json("/api/v1/orders", body, status=201).json
    names = ("subtotal", "discount_total", "shipping_total", "fee_total", "tax_total", "total")
    assert amounts(order, *names) == [getattr(quote, name) for name in names]
    assert order["currency"] == currency
    assert [(a["kind"], a["code"], a["amount"]["amount"], a["included"]) for a in order["adjustments"]] == [
        (a.kind, a.code, a.amount, a.included) for a in quote.adjustments
    ]
    added = sum(a["amount"]["amount"] for a in order["adjustments"] if not a["included"])
    assert order["subtotal"]["amount"] + added == order["total"]["amount"]


def test_a_price_that_is_not_the_one_seen_orders_nothing(
    client: TestApp, make_variant: MakeVariant, engine: Engine
) -> None:
    hold_id = hold(client, make_variant(price_amount=1_000), 3)
    response = client.post_json("/api/v1/orders", {"hold_id": hold_id, "expected_total": 2_999}, status=409)
    problem = assert_problem(response, 409, "price-changed")
    assert (problem["expected_total"], problem["total"], problem["currency"]) == (2_999, 3_000, "USD")
    assert client.get(f"/api/v1/holds/{hold_id}").json["state"] == "active"
    client.post_json("/api/v1/orders", {"hold_id": hold_id, "expected_total": 3_000}, status=201)
    assert_stock_adds_up(engine)
    for nonsense in (-1, 2**63, 1.5, "3000"):
        client.post_json("/api/v1/orders", {"hold_id": hold_id, "expected_total": nonsense}, status=422)


def test_more_money_than_can_be_counted_is_refused_and_not_an_error(client: TestApp, make_variant: MakeVariant) -> None:
    hold_id = hold(client, make_variant(price_amount=2**62), 3)
    assert_problem(client.post_json("/api/v1/orders", {"hold_id": hold_id}, status=422), 422, "amount-too-large")


def test_a_rule_that_fails_orders_nothing_and_holds_no_lock(
    application: Any, client: TestApp, make_variant: MakeVariant, engine: Engine
) -> None:
    locks = []

    def broken(_quote: Quote) -> None:
        with Session(engine) as other:
            locks.append(other.scalars(select(Hold).with_for_update(nowait=True)).one().state)
        raise LookupError("the price list is away")

    good = application.registry.pricing
    application.registry.pricing = good.with_rule(rule("broken", Stage.CART, broken))
    hold_id = hold(client, make_variant())
    response = client.post_json("/api/v1/orders", {"hold_id": hold_id}, status=503)
    problem = assert_problem(response, 503, "price-rule-failed")
    assert (problem["rule"], int(response.headers["Retry-After"]) > 0, locks) == ("broken", True, ["active"])
    assert "price list" not in response.text
    application.registry.pricing = good
    client.post_json("/api/v1/orders", {"hold_id": hold_id}, status=201)


def test_what_is_to_be_priced_is_read_in_one_statement(
    application: Any, make_variant: MakeVariant, engine: Engine
) -> None:
    ids = [make_variant(price_amount=100 * n, attributes={"size": n}) for n in range(1, 6)]
    gone = make_variant(status="archived")
    wanted = [(uuid4(), variant_id, 2) for variant_id in (*ids, gone, uuid4())]
    with count_sql(engine) as statements, Session(engine) as session:
        offers = items_of(session, wanted)
    assert len(statements) == 1
    assert [(offer.item.key, offer.for_sale) for offer in offers] == [
        *((key, True) for key, _, _ in wanted[:5]),
        (wanted[5][0], False),
    ]
    first = offers[0]
    assert (first.item.unit_amount, first.item.attributes, first.item.tax_class, first.currency) == (
        100,
        {"size": 1},
        "standard",
        "USD",
    )


def test_a_rule_reads_the_database_once_per_quote(
    application: Any, client: TestApp, make_variant: MakeVariant, engine: Engine
) -> None:
    seen: list[Any] = []

    def prefetch(session: Session, basket: Basket) -> int:
        read.append(basket)
        return session.scalar(select(Hold.quantity)) or 0

    read: list[Basket] = []
    for stage in (Stage.LINE, Stage.CART):
        counting = PriceRule(
            code=f"counting-{stage.name}",
            source="test",
            stage=stage,
            apply=lambda quote: seen.append(quote.prefetched),
            prefetch=prefetch,
        )
        application.registry.pricing = application.registry.pricing.with_rule(counting)
    client.post_json("/api/v1/orders", {"hold_id": hold(client, make_variant(), 4)}, status=201)
    assert (seen, len(read)) == ([4, 4], 1)


def test_a_page_is_priced_item_by_item_and_without_what_a_cart_has(
    application: Any, make_variant: MakeVariant, engine: Engine, clock: StoppedClock
) -> None:
    def sale(quote: Quote) -> None:
        assert quote.browsing
        for line in quote.lines:
            quote.set_unit_price(line.key, percent_of(line.unit_amount, 70))

    shop = pricing(
        rule("sale", Stage.CATALOG, sale),
        rule(
            "cart", Stage.CART, lambda quote: quote.discount_cart(1), prefetch=lambda *_: pytest.fail("not for a page")
        ),
        shipping_flat="USD 500",
        tax_rates="* 10",
    )
    ids = [make_variant(price_amount=1_000 * n) for n in range(1, 4)]
    with Session(engine) as session:
        offers = items_of(session, [(variant_id, variant_id, 1) for variant_id in ids])
        with count_sql(engine) as statements:
            shown = browse(session, shop, [offer.item for offer in offers], currency="USD", now=clock.now())
    assert ([shown[variant_id].unit_amount for variant_id in ids], statements) == ([700, 1_400, 2_100], [])


def test_rules_are_sorted_and_registered_under_one_code_each(application: Any) -> None:
    rules = application.registry.pricing.rules
    assert [known.code for known in rules] == ["catalogue-price", "flat-shipping", "tax"]
    made = Pricing()
    for code, stage, order in (("d", Stage.TAX, 1), ("c", Stage.LINE, 2), ("b", Stage.LINE, 1), ("a", Stage.LINE, 2)):
        made = made.with_rule(rule(code, stage, lambda _: None, order))
    assert [known.code for known in made.rules] == ["b", "c", "a", "d"]


def test_rules_are_told_the_channel_and_who_wants_to_know_more(
    application: Any, client: TestApp, make_variant: MakeVariant
) -> None:
    def told(quote: Quote) -> None:
        quote.reject("told", "so", channel=quote.basket.buyer.channel, explain=quote.basket.explain)

    application.registry.pricing = application.registry.pricing.with_rule(rule("told", Stage.LINE, told))
    cart = client.post_json("/api/v1/cart/lines", {"variant_id": str(make_variant()), "quantity": 1}).json
    guest = {"X-Cart-Token": cart["token"]}

    def details(query: str, **headers: str) -> Any:
        trace = client.get(f"/api/v1/cart/quote{query}", headers={**guest, **headers}).json["trace"]
        return next(entry["details"] for entry in trace if entry["code"] == "told")

    assert details("") == {"channel": None, "explain": False}
    assert details("?explain=1", **{"X-Channel": "app-2.1"}) == {"channel": "app-2.1", "explain": True}
    refused = client.get("/api/v1/cart/quote", headers={**guest, "X-Channel": "two words"}, status=422)
    assert_problem(refused, 422, "invalid-input")


def test_a_rule_knows_the_user_but_believes_no_guest(
    application: Any,
    client: TestApp,
    sign_in: Callable[..., SignedIn],
    make_variant: MakeVariant,
    engine: Engine,
) -> None:
    buyers: list[Buyer] = []
    spy = rule("spy", Stage.LINE, lambda quote: buyers.append(quote.basket.buyer))
    application.registry.pricing = application.registry.pricing.with_rule(spy)
    ada = sign_in()
    with transaction(engine) as session:
        session.get_one(User, ada.user_id).tier = "gold"
    customer = {"email": "vip@example.com", "name": "Ada Lovelace"}
    for shopper in (ada.client, client):
        body = {"hold_id": hold(shopper, make_variant()), "customer": customer}
        shopper.post_json("/api/v1/orders", body, status=201)
    user, guest = buyers
    assert (user.user_id, user.tier, user.email) == (ada.user_id, "gold", "customer1@example.com")
    assert (guest.user_id, guest.tier, guest.email) == (None, None, "vip@example.com")
