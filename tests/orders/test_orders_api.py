"""Orders over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from webtest import TestApp

from commerce_core.orders.models import OrderEvent
from commerce_core.payments.sweep import expire_orders
from commerce_core.testing import SignedIn, StoppedClock, assert_stock_adds_up, concurrently

MakeVariant = Callable[..., UUID]
CUSTOMER = {"email": "ada@example.com", "name": "Ada Lovelace", "phone": "+44 20 7946 0000"}
ADDRESS = {"name": "Ada Lovelace", "line1": "12 St James's Square", "city": "London", "country": "GB"}


def hold(client: TestApp, variant_id: UUID, quantity: int = 1, **options: Any) -> str:
    answer = client.post_json("/api/v1/holds", {"variant_id": str(variant_id), "quantity": quantity}, **options)
    return str(answer.json["id"])


def test_a_hold_becomes_an_order_with_snapshots(client: TestApp, make_variant: MakeVariant, engine: Engine) -> None:
    variant_id = make_variant(price_amount=2_999, attributes={"color": "red"})
    hold_id = hold(client, variant_id, 3)
    body = {"hold_id": hold_id, "customer": CUSTOMER, "shipping_address": ADDRESS, "note": "Ring twice."}
    answer = client.post_json("/api/v1/orders", body, status=201)
    order = answer.json
    assert (order["status"], order["payment_status"], order["fulfillment_status"]) == (
        "pending",
        "unpaid",
        "unfulfilled",
    )
    assert order["total"] == {"amount": 8_997, "currency": "USD", "formatted": "$89.97"}
    assert order["customer"] == CUSTOMER
    assert order["shipping_address"]["city"] == "London"
    [line] = order["lines"]
    assert (line["sku"], line["quantity"], line["attributes"]) == ("SKU-1", 3, {"color": "red"})
    assert client.get(f"/api/v1/orders/{order['id']}").json == order
    assert client.get(f"/api/v1/holds/{hold_id}").json["order_id"] == order["id"]
    assert_stock_adds_up(engine)


def test_two_tabs_make_one_order(application: Any, client: TestApp, make_variant: MakeVariant, engine: Engine) -> None:
    hold_id = hold(client, make_variant())
    answers: list[Any] = concurrently(
        [lambda: TestApp(application).post_json("/api/v1/orders", {"hold_id": hold_id}, status="*")] * 8
    )
    [order] = [answer.json for answer in answers if answer.status_int == 201]
    refused = [answer.json for answer in answers if answer.status_int == 409]
    assert len(refused) == 7
    assert {(p["type"], p["order_id"]) for p in refused} == {("/problems/hold-already-converted", order["id"])}
    assert_stock_adds_up(engine)


def test_an_expired_hold_cannot_become_an_order(
    client: TestApp, make_variant: MakeVariant, clock: StoppedClock
) -> None:
    hold_id = hold(client, make_variant())
    clock.tick(seconds=120)
    problem = client.post_json("/api/v1/orders", {"hold_id": hold_id}, status=409).json
    assert (problem["type"], problem["state"]) == ("/problems/hold-not-active", "expired")


def test_a_released_or_unknown_hold_cannot_become_an_order(client: TestApp, make_variant: MakeVariant) -> None:
    hold_id = hold(client, make_variant())
    client.delete(f"/api/v1/holds/{hold_id}")
    client.post_json("/api/v1/orders", {"hold_id": hold_id}, status=409)
    client.post_json("/api/v1/orders", {"hold_id": str(uuid4())}, status=404)
    client.post_json("/api/v1/orders", {"hold_id": "x"}, status=422)
    client.post_json("/api/v1/orders", {}, status=422)


def test_every_field_at_fault_is_named(client: TestApp) -> None:
    body = {
        "hold_id": str(uuid4()),
        "customer": {"email": "no address", "phone": "call me"},
        "shipping_address": ADDRESS | {"country": "Great Britain", "planet": "Earth"},
        "billing_address": {},
        "note": "a\x00b",
    }
    errors = client.post_json("/api/v1/orders", body, status=422).json["errors"]
    assert {error["field"] for error in errors} == {
        "customer.email",
        "customer.name",
        "customer.phone",
        "shipping_address.country",
        "shipping_address.planet",
        "billing_address.name",
        "billing_address.line1",
        "billing_address.city",
        "billing_address.country",
        "note",
    }


def test_an_order_number_tells_nobody_how_many_there_are(client: TestApp, make_variant: MakeVariant) -> None:
    variant_id = make_variant()
    numbers = [
        client.post_json("/api/v1/orders", {"hold_id": hold(client, variant_id)}).json["number"] for _ in range(3)
    ]
    assert len(set(numbers)) == 3
    assert all(len(number) == 11 and number[5] == "-" for number in numbers)
    assert len({number[:3] for number in numbers}) == 3


def test_an_order_is_seen_by_its_owner_and_the_staff(
    client: TestApp, staff: TestApp, sign_in: Callable[..., SignedIn], make_variant: MakeVariant
) -> None:
    customer, stranger = sign_in().client, sign_in().client
    order = customer.post_json("/api/v1/orders", {"hold_id": hold(customer, make_variant())}).json
    for address in (f"/api/v1/orders/{order['id']}", f"/api/v1/orders/{order['number']}"):
        assert customer.get(address).json["id"] == order["id"]
        assert staff.get(address).json["id"] == order["id"]
        stranger.get(address, status=404)
        client.get(address, status=404)
    stranger.post_json(f"/api/v1/orders/{order['id']}/cancel", {}, status=404)
    assert [o["id"] for o in customer.get("/api/v1/orders").json["data"]] == [order["id"]]
    assert stranger.get("/api/v1/orders").json["data"] == []
    assert [o["id"] for o in staff.get("/api/v1/orders?status=pending").json["data"]] == [order["id"]]


def test_a_strangers_hold_cannot_be_ordered(
    client: TestApp, sign_in: Callable[..., SignedIn], make_variant: MakeVariant
) -> None:
    hold_id = hold(sign_in().client, make_variant())
    client.post_json("/api/v1/orders", {"hold_id": hold_id}, status=404)
    sign_in().client.post_json("/api/v1/orders", {"hold_id": hold_id}, status=404)


def test_a_guests_order_is_reached_by_its_id_but_not_by_its_number(client: TestApp, make_variant: MakeVariant) -> None:
    order = client.post_json("/api/v1/orders", {"hold_id": hold(client, make_variant())}).json
    client.get(f"/api/v1/orders/{order['id']}", status=200)
    client.get(f"/api/v1/orders/{order['number']}", status=404)


def test_a_cancelled_order_gives_its_stock_back_once(
    client: TestApp, make_variant: MakeVariant, engine: Engine
) -> None:
    variant_id = make_variant(stock=1)
    order = client.post_json("/api/v1/orders", {"hold_id": hold(client, variant_id)}).json
    assert client.post_json(f"/api/v1/orders/{order['id']}/cancel", {}).json["status"] == "cancelled"
    problem = client.post_json(f"/api/v1/orders/{order['id']}/cancel", {}, status=409).json
    assert problem["type"] == "/problems/wrong-order-state"
    hold(client, variant_id)
    assert_stock_adds_up(engine)


def test_an_unpaid_order_lapses_and_its_stock_is_sold_to_somebody_else(
    client: TestApp, make_variant: MakeVariant, engine: Engine, clock: StoppedClock
) -> None:
    variant_id = make_variant(stock=1)
    order = client.post_json(
        "/api/v1/orders", {"hold_id": hold(client, variant_id), "payment": {"provider": "manual"}}
    ).json
    clock.tick(seconds=1_799)
    assert expire_orders(engine, now=clock.now()) == 0
    clock.tick(seconds=1)
    assert expire_orders(engine, now=clock.now()) == 1
    assert expire_orders(engine, now=clock.now()) == 0
    lapsed = client.get(f"/api/v1/orders/{order['id']}").json
    assert (lapsed["status"], [p["status"] for p in lapsed["payments"]]) == ("cancelled", ["cancelled"])
    hold(client, variant_id)
    assert_stock_adds_up(engine)


def test_the_history_of_an_order_is_kept(client: TestApp, make_variant: MakeVariant, engine: Engine) -> None:
    order = client.post_json("/api/v1/orders", {"hold_id": hold(client, make_variant())}).json
    client.post_json(f"/api/v1/orders/{order['id']}/cancel", {})
    with Session(engine) as session:
        events = session.scalars(
            select(OrderEvent).where(OrderEvent.order_id == UUID(order["id"])).order_by(OrderEvent.id)
        ).all()
    assert [(event.kind, event.data.get("new")) for event in events] == [("placed", None), ("status", "cancelled")]


def test_orders_are_idempotent_by_key(client: TestApp, make_variant: MakeVariant) -> None:
    body = {"hold_id": hold(client, make_variant())}
    first = client.post_json("/api/v1/orders", body, headers={"Idempotency-Key": "order-1-of-this-guest"})
    again = client.post_json("/api/v1/orders", body, headers={"Idempotency-Key": "order-1-of-this-guest"})
    assert (first.status_int, again.status_int, first.body) == (201, 201, again.body)


@pytest.mark.commerce(settings={"orders.require_customer": "true"})
def test_a_shop_may_insist_on_a_customer(client: TestApp, make_variant: MakeVariant) -> None:
    hold_id = hold(client, make_variant())
    errors = client.post_json("/api/v1/orders", {"hold_id": hold_id}, status=422).json["errors"]
    assert [error["field"] for error in errors] == ["customer"]
    client.post_json("/api/v1/orders", {"hold_id": hold_id, "customer": CUSTOMER}, status=201)
