"""A cart becomes an order: once, whole, and at the price that was seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session
from webtest import TestApp

from commerce_core.catalog.models import Product, Variant
from commerce_core.database import transaction
from commerce_core.orders.models import Order
from commerce_core.payments.provider import ManualProvider
from commerce_core.payments.sweep import expire_orders
from commerce_core.stock.models import StockLevel
from commerce_core.testing import WEBHOOK_SECRET, SignedIn, StoppedClock, assert_stock_adds_up, count_sql

MakeVariant = Callable[..., UUID]
CART, ORDERS = "/api/v1/cart", "/api/v1/orders"
CUSTOMER = {"email": "ada@example.com", "name": "Ada Lovelace", "phone": "+44 20 7946 0000"}
ADDRESS = {"name": "Ada Lovelace", "line1": "12 St James's Square", "city": "London", "country": "GB"}
CHECKOUT = {"cart": True, "customer": CUSTOMER, "shipping_address": ADDRESS}


@pytest.fixture
def guest(client: TestApp) -> TestApp:
    """A guest with a cart token."""
    client.extra_environ["HTTP_X_CART_TOKEN"] = "a-guest-of-these-tests"
    return client


def add(client: TestApp, variant_id: UUID, quantity: int = 1) -> Any:
    return client.post_json(f"{CART}/lines", {"variant_id": str(variant_id), "quantity": quantity}).json


def pay(client: TestApp, order_id: str, event_id: str = "evt-1") -> Any:
    body = b'{"event_id": "%s", "order_id": "%s", "status": "paid"}' % (event_id.encode(), order_id.encode())
    headers = {
        "X-Webhook-Signature": f"sha256={ManualProvider.signature(WEBHOOK_SECRET, body)}",
        "Content-Type": "application/json",
    }
    return client.post("/api/v1/payments/webhook", body, headers=headers).json


def levels(engine: Engine) -> list[tuple[int, int]]:
    """On hand and reserved, by variant."""
    with Session(engine) as session:
        return [
            (level.on_hand, level.reserved)
            for level in session.scalars(select(StockLevel).order_by(StockLevel.variant_id))
        ]


def test_a_cart_becomes_an_order_with_snapshots(guest: TestApp, make_variant: MakeVariant, engine: Engine) -> None:
    first, second = make_variant(price_amount=1_000, attributes={"color": "red"}), make_variant(price_amount=500)
    add(guest, first, 2)
    cart = add(guest, second, 3)
    order = guest.post_json(ORDERS, CHECKOUT | {"payment": {"provider": "manual"}, "note": "Ring."}, status=201).json
    assert [(line["variant_id"], line["quantity"], line["total"]["amount"]) for line in order["lines"]] == [
        (str(first), 2, 2_000),
        (str(second), 3, 1_500),
    ]
    assert [line["id"] for line in order["lines"]] == [line["id"] for line in cart["lines"]]
    assert order["total"] == cart["totals"]["total"]
    assert (order["customer"], order["shipping_address"]["city"], order["note"]) == (CUSTOMER, "London", "Ring.")
    assert [payment["status"] for payment in order["payments"]] == ["pending"]
    assert guest.get(f"{ORDERS}/{order['number']}").json == order
    assert guest.get(CART).json["id"] is None
    assert levels(engine) == [(10, 2), (10, 3)]
    assert_stock_adds_up(engine)


def test_a_cart_is_spent_once(guest: TestApp, make_variant: MakeVariant) -> None:
    guest.post_json(ORDERS, CHECKOUT, status=409)
    add(guest, make_variant())
    order = guest.post_json(ORDERS, CHECKOUT, status=201).json
    problem = guest.post_json(ORDERS, CHECKOUT, status=409).json
    assert (problem["type"], problem["order_id"]) == ("/problems/cart-already-ordered", order["id"])
    new = add(guest, make_variant())
    guest.delete(CART)
    assert guest.get(CART).json["id"] == new["id"]
    assert guest.post_json(ORDERS, CHECKOUT, status=409).json["type"] == "/problems/empty-cart"


def test_a_guest_without_a_token_has_nothing_to_order(client: TestApp) -> None:
    assert client.post_json(ORDERS, CHECKOUT, status=409).json["type"] == "/problems/empty-cart"


def test_either_a_hold_or_a_cart_is_ordered(guest: TestApp, make_variant: MakeVariant) -> None:
    hold_id = guest.post_json("/api/v1/holds", {"variant_id": str(make_variant()), "quantity": 1}).json["id"]
    for body in ({}, {"hold_id": hold_id, "cart": True}, {"cart": False}):
        guest.post_json(ORDERS, {"customer": CUSTOMER, **body}, status=422)


def test_a_guests_checkout_needs_a_customer(guest: TestApp, make_variant: MakeVariant) -> None:
    add(guest, make_variant())
    errors = guest.post_json(ORDERS, {"cart": True}, status=422).json["errors"]
    assert [error["field"] for error in errors] == ["customer"]
    assert len(guest.get(CART).json["lines"]) == 1


def test_who_is_signed_in_is_the_customer_unless_told_otherwise(
    sign_in: Callable[..., SignedIn], make_variant: MakeVariant
) -> None:
    customer = sign_in().client
    add(customer, make_variant())
    order = customer.post_json(ORDERS, {"cart": True}, status=201).json
    assert order["customer"] == {"email": "customer1@example.com", "name": "Customer", "phone": None}
    add(customer, make_variant())
    assert customer.post_json(ORDERS, CHECKOUT, status=201).json["customer"] == CUSTOMER
    assert len(customer.get(ORDERS).json["data"]) == 2


def test_a_price_that_was_not_seen_is_not_charged(guest: TestApp, make_variant: MakeVariant, engine: Engine) -> None:
    variant_id = make_variant(price_amount=1_000)
    [line] = add(guest, variant_id, 2)["lines"]
    with transaction(engine) as session:
        session.get_one(Variant, variant_id).price_amount = 1_200
    problem = guest.post_json(ORDERS, CHECKOUT, status=409).json
    assert (problem["type"], problem["total"], problem["expected_total"]) == ("/problems/price-changed", 2_400, None)
    assert problem["lines"] == [
        {
            "line_id": line["id"],
            "variant_id": str(variant_id),
            "sku": "SKU-1",
            "unit_price": 1_000,
            "current_unit_price": 1_200,
        }
    ]
    problem = guest.post_json(ORDERS, CHECKOUT | {"expected_total": 2_000}, status=409).json
    assert (problem["total"], problem["expected_total"], len(problem["lines"])) == (2_400, 2_000, 1)
    assert levels(engine) == [(10, 0)]
    # Who names the total has seen it.
    order = guest.post_json(ORDERS, CHECKOUT | {"expected_total": 2_400}, status=201).json
    assert order["total"]["amount"] == 2_400


def test_a_total_that_was_not_seen_is_not_charged(guest: TestApp, make_variant: MakeVariant) -> None:
    add(guest, make_variant(price_amount=1_000))
    problem = guest.post_json(ORDERS, CHECKOUT | {"expected_total": 999}, status=409).json
    assert (problem["total"], problem["expected_total"], problem["lines"]) == (1_000, 999, [])


def test_every_line_that_is_short_is_named_and_nothing_is_taken(
    guest: TestApp, client: TestApp, make_variant: MakeVariant, engine: Engine
) -> None:
    variants = [make_variant(stock=5) for _ in range(4)]
    for variant_id in variants:
        cart = add(guest, variant_id, 3)
    for variant_id, quantity in ((variants[1], 3), (variants[3], 5)):
        guest.post_json("/api/v1/holds", {"variant_id": str(variant_id), "quantity": quantity})
    problem = guest.post_json(ORDERS, CHECKOUT, status=409).json
    assert problem["type"] == "/problems/cart-out-of-stock"
    assert problem["lines"] == [
        {
            "line_id": cart["lines"][place]["id"],
            "variant_id": str(variants[place]),
            "sku": f"SKU-{place + 1}",
            "requested": 3,
            "available": available,
        }
        for place, available in ((1, 2), (3, 0))
    ]
    assert levels(engine) == [(5, 0), (5, 3), (5, 0), (5, 5)]
    assert len(guest.get(CART).json["lines"]) == 4
    assert_stock_adds_up(engine)


def test_what_is_not_for_sale_any_more_is_named_with_what_is_short(
    guest: TestApp, make_variant: MakeVariant, engine: Engine
) -> None:
    gone, short, plenty = make_variant(), make_variant(stock=5), make_variant()
    for variant_id in (gone, short, plenty):
        add(guest, variant_id, 2)
    guest.post_json("/api/v1/holds", {"variant_id": str(short), "quantity": 4})
    with transaction(engine) as session:
        session.get_one(Product, session.get_one(Variant, gone).product_id).status = "archived"
    problem = guest.post_json(ORDERS, CHECKOUT, status=409).json
    assert [(line["variant_id"], line["available"]) for line in problem["lines"]] == [(str(gone), 0), (str(short), 1)]


def test_what_lapsed_holds_keep_is_taken(guest: TestApp, make_variant: MakeVariant, clock: StoppedClock) -> None:
    variants = [make_variant(stock=2) for _ in range(2)]
    for variant_id in variants:
        add(guest, variant_id, 2)
        guest.post_json("/api/v1/holds", {"variant_id": str(variant_id), "quantity": 2})
    guest.post_json(ORDERS, CHECKOUT, status=409)
    clock.tick(seconds=120)
    guest.post_json(ORDERS, CHECKOUT, status=201)


def test_backorders_and_what_is_not_tracked_can_be_ordered(
    guest: TestApp, make_variant: MakeVariant, engine: Engine
) -> None:
    add(guest, make_variant(stock=0, track_stock=False), 7)
    add(guest, make_variant(stock=1, allow_backorder=True), 7)
    order = guest.post_json(ORDERS, CHECKOUT, status=201).json
    assert levels(engine) == [(0, 0), (1, 7)]
    assert pay(guest, order["id"])["state"] == "processed"
    assert levels(engine) == [(0, 0), (1, 7)]
    assert_stock_adds_up(engine)


def test_an_order_of_several_lines_lapses_and_is_paid_late_as_a_whole(
    guest: TestApp, make_variant: MakeVariant, engine: Engine, clock: StoppedClock
) -> None:
    variants = [make_variant(stock=2) for _ in range(3)]
    for variant_id in variants:
        add(guest, variant_id, 2)
    order = guest.post_json(ORDERS, CHECKOUT, status=201).json
    clock.tick(seconds=1_800)
    assert expire_orders(engine, now=clock.now()) == 1
    assert levels(engine) == [(2, 0)] * 3
    hold = guest.post_json("/api/v1/holds", {"variant_id": str(variants[1]), "quantity": 1}).json
    clock.tick(seconds=1)
    pay(guest, order["id"])
    late = guest.get(f"{ORDERS}/{order['id']}").json
    assert (late["status"], late["payment_status"]) == ("cancelled", "paid")
    assert levels(engine) == [(2, 0), (2, 1), (2, 0)]
    assert_stock_adds_up(engine)

    guest.delete(f"/api/v1/holds/{hold['id']}")
    for variant_id in variants:
        add(guest, variant_id, 2)
    order = guest.post_json(ORDERS, CHECKOUT, status=201).json
    clock.tick(seconds=1_800)
    assert expire_orders(engine, now=clock.now()) == 1
    pay(guest, order["id"], "evt-2")
    assert guest.get(f"{ORDERS}/{order['id']}").json["status"] == "processing"
    assert levels(engine) == [(0, 0)] * 3
    assert_stock_adds_up(engine)


def test_cancelling_gives_every_line_back(guest: TestApp, make_variant: MakeVariant, engine: Engine) -> None:
    for _ in range(3):
        add(guest, make_variant(stock=1))
    order = guest.post_json(ORDERS, CHECKOUT, status=201).json
    guest.post_json(f"{ORDERS}/{order['id']}/cancel", {}, status=200)
    assert levels(engine) == [(1, 0)] * 3
    assert_stock_adds_up(engine)


def test_what_costs_nothing_is_paid_at_once(guest: TestApp, make_variant: MakeVariant, engine: Engine) -> None:
    for _ in range(2):
        add(guest, make_variant(stock=3, price_amount=0), 2)
    order = guest.post_json(ORDERS, CHECKOUT | {"payment": {"provider": "manual"}}, status=201).json
    assert (order["status"], order["payment_status"]) == ("processing", "paid")
    assert levels(engine) == [(1, 0)] * 2
    assert_stock_adds_up(engine)


def test_checkout_is_idempotent_by_key(guest: TestApp, make_variant: MakeVariant, engine: Engine) -> None:
    add(guest, make_variant())
    headers = {"Idempotency-Key": "the-checkout-of-this-guest"}
    first = guest.post_json(ORDERS, CHECKOUT, headers=headers)
    again = guest.post_json(ORDERS, CHECKOUT, headers=headers)
    assert (first.status_int, again.status_int, first.body) == (201, 201, again.body)
    with Session(engine) as session:
        assert session.query(Order).count() == 1


@pytest.mark.commerce(settings={"orders.require_customer": "false"})
def test_stock_is_taken_in_as_many_statements_for_twenty_lines_as_for_two(
    application: Any, guest: TestApp, make_variant: MakeVariant
) -> None:
    variants = [make_variant() for _ in range(20)]

    def check_out(variants: list[UUID]) -> int:
        for variant_id in variants:
            add(guest, variant_id)
        with count_sql(application.registry.engine) as statements:
            guest.post_json(ORDERS, CHECKOUT, status=201)
        return len(statements)

    assert check_out(variants[:2]) == check_out(variants)


def test_nothing_of_a_refused_checkout_remains(guest: TestApp, make_variant: MakeVariant, engine: Engine) -> None:
    add(guest, make_variant())
    guest.post_json(ORDERS, CHECKOUT | {"payment": {"provider": "no such provider"}}, status=404)
    with Session(engine) as session:
        assert session.execute(text("SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM hold)")).one() == (
            0,
            0,
        )
    guest.post_json(ORDERS, CHECKOUT, status=201)
