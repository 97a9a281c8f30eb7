"""Shipping paid orders, in parts, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError
from support.till import ADMIN, API, Till, lines, states
from webtest import TestApp

from commerce_core.events import OrderFulfilled
from commerce_core.testing import SignedIn, assert_stock_adds_up, concurrently

MakeVariant = Callable[..., UUID]


def test_an_order_is_shipped_in_parts_until_nothing_is_left(
    application: Any, client: TestApp, till: Till, make_variant: MakeVariant, engine: Engine
) -> None:
    told: list[OrderFulfilled] = []
    application.registry.bus.subscribe(OrderFulfilled, told.append)
    bought = till.buy({make_variant(): 3, make_variant(): 1})
    parcel = till.fulfil(bought, 2, carrier="DHL", tracking_number="0034", tracking_url="https://example.com/0034")
    assert states(till.show(bought)) == ("processing", "paid", "partial")
    till.fulfil(bought, notify=False)
    shipped = till.show(bought)
    assert states(shipped) == ("completed", "paid", "fulfilled")
    assert [line["fulfilled_quantity"] for line in shipped["lines"]] == [3, 1]
    assert [[line["quantity"] for line in parcel["lines"]] for parcel in shipped["fulfillments"]] == [[2], [1, 1]]
    seen = client.get(f"{API}/orders/{bought['id']}", headers={"X-Cart-Token": "x" * 16}, status="*")
    assert seen.status_int == 404  # a guest's order is that guest's
    assert [(event.carrier, event.notify) for event in told] == [("DHL", True), (None, False)]
    assert str(told[0].fulfillment_id) == parcel["id"]
    assert_stock_adds_up(engine)


def test_the_customer_sees_where_the_parcels_are(client: TestApp, till: Till, make_variant: MakeVariant) -> None:
    hold = client.post_json(f"{API}/holds", {"variant_id": str(make_variant()), "quantity": 1}).json
    placed = client.post_json(f"{API}/orders", {"hold_id": hold["id"]}).json
    till.pay(placed)
    parcel = till.fulfil(placed, carrier="DHL")
    path = f"{ADMIN}/{placed['id']}/fulfillments/{parcel['id']}"
    till.staff.patch_json(path, {"tracking_number": "0034", "tracking_url": "https://example.com/0034"})
    (seen,) = client.get(f"{API}/orders/{placed['id']}").json["fulfillments"]
    assert (seen["carrier"], seen["tracking_number"]) == ("DHL", "0034")
    assert seen["tracking_url"] == "https://example.com/0034"
    till.staff.patch_json(path, {"tracking_url": "javascript:alert(1)"}, status=422)
    till.staff.patch_json(f"{ADMIN}/{placed['id']}/fulfillments/{uuid4()}", {}, status=404)


def test_no_more_is_shipped_than_is_left(till: Till, make_variant: MakeVariant, engine: Engine) -> None:
    bought = till.buy({make_variant(): 3})
    till.fulfil(bought, 2)
    problem = till.fulfil(bought, 2, status=409)
    assert (problem["type"], problem["left"]) == ("/problems/not-enough-left", 1)
    till.fulfil(bought, 1)
    assert till.fulfil(bought, status=409)["type"] == "/problems/wrong-order-state"
    with pytest.raises(IntegrityError, match="ck_order_line_units"), engine.begin() as connection:
        connection.execute(text("UPDATE order_line SET fulfilled_quantity = fulfilled_quantity + 1"))


def test_what_is_not_paid_is_not_shipped(till: Till, make_variant: MakeVariant) -> None:
    placed = till.order({make_variant(): 1})
    assert till.fulfil(placed, status=409)["state"] == "pending"


def test_lines_of_other_orders_and_repeated_ones_are_refused(till: Till, make_variant: MakeVariant) -> None:
    variant_id = make_variant()
    bought, other = till.buy({variant_id: 2}), till.buy({variant_id: 2})
    body = {"lines": lines(other, 1)}
    problem = till.staff.post_json(f"{ADMIN}/{bought['id']}/fulfillments", body, status=422).json
    assert problem["errors"][0]["field"] == "lines.0.line_id"
    body = {"lines": lines(bought, 1) * 2}
    till.staff.post_json(f"{ADMIN}/{bought['id']}/fulfillments", body, status=422)


def test_backordered_units_are_shipped_when_they_have_come(
    till: Till, make_variant: MakeVariant, engine: Engine
) -> None:
    late, there = make_variant(stock=0, allow_backorder=True), make_variant()
    bought = till.buy({late: 2, there: 1})
    problem = till.fulfil(bought, 1, 1, status=409)
    assert problem["type"] == "/problems/awaiting-stock"
    assert problem["line_ids"] == [bought["lines"][0]["id"]]
    assert [line["quantity"] for line in till.fulfil(bought)["lines"]] == [1]
    assert till.fulfil(bought, status=409)["type"] == "/problems/awaiting-stock"
    till.staff.post_json(f"{API}/admin/stock/{late}/receive", {"quantity": 2})
    till.fulfil(bought)
    assert states(till.show(bought)) == ("completed", "paid", "fulfilled")
    assert_stock_adds_up(engine)


def test_a_fulfillment_that_was_a_mistake_is_cancelled_once(
    till: Till, make_variant: MakeVariant, engine: Engine
) -> None:
    bought = till.buy({make_variant(): 2})
    first, second = till.fulfil(bought, 1), till.fulfil(bought, 1)
    assert states(till.show(bought)) == ("completed", "paid", "fulfilled")
    path = f"{ADMIN}/{bought['id']}/fulfillments/{first['id']}/cancel"
    assert till.staff.post_json(path, {}).json["status"] == "cancelled"
    assert states(till.show(bought)) == ("processing", "paid", "partial")
    till.staff.post_json(path, {}, status=409)
    till.staff.post_json(f"{ADMIN}/{bought['id']}/fulfillments/{second['id']}/cancel", {})
    assert states(till.show(bought)) == ("processing", "paid", "unfulfilled")
    assert_stock_adds_up(engine)


def test_a_fulfillment_whose_units_have_come_back_cannot_be_undone(till: Till, make_variant: MakeVariant) -> None:
    bought = till.buy({make_variant(): 1})
    parcel = till.fulfil(bought)
    till.refund(bought, 1)
    path = f"{ADMIN}/{bought['id']}/fulfillments/{parcel['id']}/cancel"
    assert till.staff.post_json(path, {}, status=409).json["state"] == "returned"


@pytest.mark.parametrize("round_", range(5))
def test_several_who_ship_the_same_units_at_once_ship_them_once(
    till: Till, make_variant: MakeVariant, engine: Engine, round_: int
) -> None:
    bought = till.buy({make_variant(): 3})
    answers: list[Any] = concurrently([lambda: till.fulfil(bought, 2, status="*")] * 4)
    assert sum("carrier" in answer for answer in answers) == 1, answers
    assert till.show(bought)["lines"][0]["fulfilled_quantity"] == 2
    assert_stock_adds_up(engine)


def test_customers_may_not_ship(sign_in: Callable[..., SignedIn], till: Till, make_variant: MakeVariant) -> None:
    bought = till.buy({make_variant(): 1})
    customer = sign_in("customer").client
    customer.post_json(f"{ADMIN}/{bought['id']}/fulfillments", {}, status=403)
