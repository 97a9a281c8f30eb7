"""Refunds: what goes back, what becomes of the units, and of the order, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session
from support.till import ADMIN, API, Till, states
from webtest import TestApp

from commerce_core.orders.models import Order, OrderLine
from commerce_core.payments.refunds import line_paid
from commerce_core.pricing.quote import Stage
from commerce_core.pricing.rules import PriceRule
from commerce_core.testing import SignedIn, assert_stock_adds_up, concurrently

MakeVariant = Callable[..., UUID]

TAXED = {"tax.rates": "GB 7.7%", "shipping.flat": "USD 500"}


def test_half_shipped_and_the_other_half_refunded_is_completed(
    till: Till, make_variant: MakeVariant, engine: Engine
) -> None:
    variant_id = make_variant(stock=5, price_amount=1_000)
    bought = till.buy({variant_id: 4})
    till.fulfil(bought, 2)
    refund = till.refund(bought, 2)
    assert (refund["status"], refund["amount"]["amount"], refund["provider"]) == ("succeeded", 2_000, "manual")
    assert refund["lines"][0]["restocked_quantity"] == 2
    after = till.show(bought)
    assert states(after) == ("completed", "partially_refunded", "fulfilled")
    (line,) = after["lines"]
    assert (line["fulfilled_quantity"], line["cancelled_quantity"], line["returned_quantity"]) == (2, 2, 0)
    assert till.level(variant_id) == (3, 0)
    assert_stock_adds_up(engine)


def test_all_that_was_shipped_and_came_back_is_returned(till: Till, make_variant: MakeVariant, engine: Engine) -> None:
    variant_id = make_variant(stock=2)
    bought = till.buy({variant_id: 2})
    till.fulfil(bought)
    till.refund(bought, 1)
    assert states(till.show(bought)) == ("completed", "partially_refunded", "fulfilled")
    till.refund(bought, 1, restock=False)
    assert states(till.show(bought)) == ("completed", "refunded", "returned")
    assert till.level(variant_id) == (1, 0)
    assert [payment["status"] for payment in till.show(bought)["payments"]] == ["refunded"]
    assert_stock_adds_up(engine)


def test_all_that_was_not_shipped_refunded_is_cancelled(till: Till, make_variant: MakeVariant, engine: Engine) -> None:
    bought = till.buy({make_variant(): 2})
    till.refund(bought, 2)
    assert states(till.show(bought)) == ("cancelled", "refunded", "unfulfilled")
    assert_stock_adds_up(engine)


def test_the_staff_say_which_units_come_back(till: Till, make_variant: MakeVariant) -> None:
    bought = till.buy({make_variant(): 3})
    till.fulfil(bought, 1)
    line = {"line_id": bought["lines"][0]["id"], "quantity": 1}
    till.refund(bought, lines=[{**line, "returned": True}])
    assert till.refund(bought, lines=[{**line, "returned": True}], status=409)["left"] == 0
    till.refund(bought, lines=[{**line, "returned": False}])
    (after,) = till.show(bought)["lines"]
    assert (after["fulfilled_quantity"], after["cancelled_quantity"], after["returned_quantity"]) == (1, 1, 1)


def refund_one_by_one(till: Till, variant_id: UUID) -> None:
    bought = till.buy({variant_id: 7})
    shipping = bought["refundable_shipping"]["amount"]
    assert shipping >= 500
    paid = bought["total"]["amount"]
    assert (paid - shipping) % 7, "the line can be divided, and proves nothing"
    given_back = [till.refund(bought, 1)["amount"]["amount"] for _ in range(7)]
    assert sum(given_back) == paid - shipping
    assert max(given_back) - min(given_back) <= 1
    assert till.refund(bought, shipping=shipping + 1, status=409)["refundable"] == shipping
    till.refund(bought, shipping=shipping)
    assert states(till.show(bought)) == ("cancelled", "refunded", "unfulfilled")


@pytest.mark.commerce(settings=TAXED)
def test_units_refunded_one_by_one_come_to_exactly_what_was_paid_with_tax_added(
    till: Till, make_variant: MakeVariant, engine: Engine
) -> None:
    refund_one_by_one(till, make_variant(stock=7, price_amount=333))
    assert_stock_adds_up(engine)


@pytest.mark.commerce(settings={**TAXED, "tax.prices_include_tax": "true"})
def test_units_refunded_one_by_one_come_to_exactly_what_was_paid_with_tax_included(
    till: Till, make_variant: MakeVariant, engine: Engine
) -> None:
    bought = till.buy({make_variant(stock=7, price_amount=333): 7})
    with Session(engine) as session:
        line = session.get_one(OrderLine, UUID(bought["lines"][0]["id"]))
        order = session.get_one(Order, line.order_id)
        assert line.tax_total > 0
        assert line_paid(order, line) == 7 * 333
    assert sum(till.refund(bought, 1)["amount"]["amount"] for _ in range(7)) == 7 * 333


def test_where_the_total_was_rounded_down_the_last_units_come_to_what_is_left(
    application: Any, till: Till, make_variant: MakeVariant
) -> None:
    registry = application.registry
    registry.pricing = registry.pricing.with_rule(
        PriceRule(
            code="cash", source="test", stage=Stage.ROUND, label="Cash", apply=lambda quote: quote.round_total(-2)
        )
    )
    bought = till.buy({make_variant(price_amount=1_001): 2, make_variant(price_amount=1_001): 1})
    first, second = (till.refund(bought, *quantities)["amount"]["amount"] for quantities in ((2, 0), (0, 1)))
    assert (first, second) == (2_002, 999)
    assert states(till.show(bought)) == ("cancelled", "refunded", "unfulfilled")


def test_an_amount_is_refunded_without_touching_the_units(
    till: Till, make_variant: MakeVariant, engine: Engine
) -> None:
    bought = till.buy({make_variant(price_amount=1_000): 1})
    assert till.refund(bought, amount=250)["amount"]["amount"] == 250
    after = till.show(bought)
    assert states(after) == ("processing", "partially_refunded", "unfulfilled")
    assert after["refundable"]["amount"] == 750
    problem = till.refund(bought, amount=751, status=409)
    assert (problem["type"], problem["refundable"]) == ("/problems/refund-too-large", 750)
    assert till.refund(bought, 1, status=409)["refundable"] == 750  # the line was 1000
    till.refund(bought, 1, amount=750)
    assert states(till.show(bought)) == ("cancelled", "refunded", "unfulfilled")
    assert_stock_adds_up(engine)


def test_what_refunds_nothing_is_refused(till: Till, make_variant: MakeVariant) -> None:
    bought = till.buy({make_variant(): 1})
    for body in ({}, {"amount": 0}, {"lines": []}, {"amount": -1}, {"amount": 1, "shipping": -1}):
        till.refund(bought, status=422, **body)
    till.refund(bought, amount=1, payment_id=str(uuid4()), status=422)
    till.refund(bought, shipping=1, status=409)
    assert till.show(bought)["refunds"] == []


def test_what_was_not_paid_is_not_refunded(till: Till, make_variant: MakeVariant) -> None:
    placed = till.order({make_variant(): 1})
    assert till.refund(placed, 1, status=409)["state"] == "unpaid"


def test_part_of_a_waiting_backorder_is_released_and_the_rest_keeps_its_place(
    till: Till, make_variant: MakeVariant, engine: Engine, clock: Any
) -> None:
    variant_id = make_variant(stock=0, allow_backorder=True)
    first = till.buy({variant_id: 3})
    clock.tick(minutes=1)
    second = till.buy({variant_id: 2})
    refund = till.refund(first, 1, restock=False)
    assert (refund["lines"][0]["released_quantity"], till.level(variant_id)) == (1, (0, 4))
    assert_stock_adds_up(engine)
    till.staff.post_json(f"{API}/admin/stock/{variant_id}/receive", {"quantity": 2})
    till.fulfil(first)
    till.fulfil(second, status=409)
    assert states(till.show(first)) == ("completed", "partially_refunded", "fulfilled")
    till.refund(second, 2)
    assert (states(till.show(second))[0], till.level(variant_id)) == ("cancelled", (0, 0))
    assert_stock_adds_up(engine)


def test_units_that_were_not_counted_are_not_counted_when_they_return(
    till: Till, make_variant: MakeVariant, engine: Engine
) -> None:
    variant_id = make_variant(stock=0)
    with engine.begin() as connection:
        connection.execute(text("UPDATE stock_level SET policy = 'ignore'"))
    bought = till.buy({variant_id: 2})
    assert till.refund(bought, 1)["lines"][0]["restocked_quantity"] == 0
    assert till.level(variant_id) == (0, 0)
    assert_stock_adds_up(engine)


def test_a_free_order_can_be_cancelled_and_owes_nothing(till: Till, make_variant: MakeVariant, engine: Engine) -> None:
    variant_id = make_variant(stock=2, price_amount=0)
    placed = till.order({variant_id: 2})
    assert states(placed) == ("processing", "paid", "unfulfilled")
    refund = till.refund(placed, 1)
    assert (refund["amount"]["amount"], refund["status"], refund["provider"]) == (0, "succeeded", None)
    till.staff.post_json(f"{ADMIN}/{placed['id']}/cancel", {})
    assert (states(till.show(placed))[0], till.level(variant_id)) == ("cancelled", (2, 0))
    again = till.staff.post_json(f"{ADMIN}/{placed['id']}/cancel", {}, status=409)
    assert again.json["detail"] == "The order is cancelled already."  # and no advice to refund it
    assert_stock_adds_up(engine)


@pytest.mark.parametrize("round_", range(10))
def test_several_refunds_of_the_same_rest_at_once_give_it_back_once(
    till: Till, make_variant: MakeVariant, engine: Engine, round_: int
) -> None:
    bought = till.buy({make_variant(price_amount=1_000): 1})
    till.refund(bought, amount=300)
    answers: list[Any] = concurrently([lambda: till.refund(bought, amount=700, status="*")] * 4)
    assert sorted(answer["status"] for answer in answers if "amount" in answer) == ["succeeded"]
    after = till.show(bought)
    assert sum(refund["amount"]["amount"] for refund in after["refunds"]) == 1_000
    assert after["payment_status"] == "refunded"
    assert_stock_adds_up(engine)


@pytest.mark.parametrize("round_", range(10))
def test_shipping_and_refunding_the_same_unit_at_once_does_one_of_them(
    till: Till, make_variant: MakeVariant, engine: Engine, round_: int
) -> None:
    bought = till.buy({make_variant(): 1})
    line = {"line_id": bought["lines"][0]["id"], "quantity": 1, "returned": False}
    answers: list[Any] = concurrently(
        [lambda: till.fulfil(bought, 1, status="*"), lambda: till.refund(bought, lines=[line], status="*")] * 2
    )
    assert sum("/problems/" not in answer.get("type", "") for answer in answers) == 1, answers
    (after,) = till.show(bought)["lines"]
    assert after["fulfilled_quantity"] + after["cancelled_quantity"] == 1
    assert_stock_adds_up(engine)


def test_a_refund_is_in_the_audit_log_with_the_states_before_and_after(
    till: Till, make_variant: MakeVariant, sign_in: Callable[..., SignedIn]
) -> None:
    bought = till.buy({make_variant(): 1})
    refund = till.refund(bought, 1, reason="broken")
    log = sign_in("admin").client.get(f"{API}/admin/audit-log", {"subject": f"order:{bought['id']}"}).json["data"]
    assert [entry["action"] for entry in log] == ["order.refund"]
    assert (log[0]["before"]["status"], log[0]["after"]["status"]) == ("processing", "cancelled")
    assert log[0]["after"]["refund"]["id"] == refund["id"]
    assert log[0]["after"]["refund"]["reason"] == "broken"


def test_only_those_who_may_refund_do(
    client: TestApp, sign_in: Callable[..., SignedIn], till: Till, make_variant: MakeVariant
) -> None:
    bought = till.buy({make_variant(): 1})
    path = f"{ADMIN}/{bought['id']}"
    body = {"amount": 1, "reason": "please"}
    client.post_json(f"{path}/refunds", body, status=401)
    sign_in("customer").client.post_json(f"{path}/refunds", body, status=403)
    packer = sign_in("staff", abilities=["order:manage", "order:read-all"]).client
    packer.post_json(f"{path}/refunds", body, status=403)
    packer.post_json(f"{path}/cancel", {}, status=403)
    packer.post_json(f"{path}/fulfillments", {}, status=201)
