"""What the staff do with orders, over HTTP: find, correct, cancel, mark as paid; and what a guest may look up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text
from support.till import ADDRESS, ADMIN, API, Till, states
from webtest import TestApp

from commerce_core.orders.admin_schemas import AdminOrderQuery
from commerce_core.payments.sweep import expire_orders
from commerce_core.testing import SignedIn, StoppedClock, assert_stock_adds_up, concurrently

MakeVariant = Callable[..., UUID]


def found(till: Till, **filters: Any) -> list[str]:
    return [order["id"] for order in till.staff.get(ADMIN, filters).json["data"]]


def test_orders_are_found_by_all_that_the_staff_know_of_them(
    till: Till, make_variant: MakeVariant, clock: StoppedClock
) -> None:
    first_variant, second_variant = make_variant(), make_variant()
    before = clock.now().isoformat()
    first = till.buy({first_variant: 1}, customer={"email": "Grace@Example.com", "name": "Grace"})
    clock.tick(minutes=5)
    middle = clock.now().isoformat()
    second = till.order({second_variant: 1, first_variant: 1})
    both = [second["id"], first["id"]]
    assert found(till) == both
    assert found(till, status="processing") == [first["id"]]
    assert found(till, payment_status="unpaid") == [second["id"]]
    assert found(till, fulfillment_status="unfulfilled") == both
    assert found(till, email="grace@example.COM") == [first["id"]]
    assert found(till, number=first["number"].lower()) == [first["id"]]
    assert found(till, sku=second["lines"][0]["sku"]) == [second["id"]]
    assert found(till, variant_id=str(first_variant)) == both
    assert found(till, created_from=before, created_to=middle) == [first["id"]]
    assert found(till, created_from=middle) == [second["id"]]
    assert found(till, status="processing", payment_status="unpaid") == []
    for bad in ({"status": "lost"}, {"created_from": "yesterday"}, {"created_from": "2026-01-01T00:00:00"}):
        till.staff.get(ADMIN, bad, status=422)


def test_the_list_goes_on_with_its_filters(till: Till, make_variant: MakeVariant) -> None:
    variant_id = make_variant()
    ids = [till.order({variant_id: 1})["id"] for _ in range(5)]
    seen, link = [], f"{ADMIN}?limit=2&variant_id={variant_id}&created_from=2020-01-01T00:00:00Z"
    while link:
        page = till.staff.get(link).json
        seen += [order["id"] for order in page["data"]]
        link = page["links"]["next"]
    assert seen == ids[::-1]


MANY = 5_000
SERVED_BY = {
    "status": ("completed", "ix_orders_status"),
    "payment_status": ("refunded", "ix_orders_payment_status"),
    "fulfillment_status": ("returned", "ix_orders_fulfillment_status"),
    "email": ("nobody@example.com", "ix_orders_email"),
    "number": ("AAAAA-BBBBB", "uq_orders_number"),
    "sku": ("SKU-RARE", "ix_order_line_sku"),
    "created_from": ("2027-01-01T00:00:00Z", "ix_orders_created_at"),
}


@pytest.mark.parametrize("name", SERVED_BY)
def test_every_filter_is_served_by_an_index(engine: Engine, make_variant: MakeVariant, name: str) -> None:
    from commerce_core.orders.queries import OrderFilter, order_query

    value, index = SERVED_BY[name]
    query = AdminOrderQuery.model_validate({name: value})
    variant_id = make_variant()
    with engine.connect() as connection:
        connection.execute(text(MANY_ORDERS), {"many": MANY, "variant": variant_id})
        connection.execute(text("ANALYZE orders, order_line"))
        which = OrderFilter(**query.model_dump(exclude={"limit", "cursor"}))
        statement = order_query(which, before=None, limit=50).compile(engine, compile_kwargs={"literal_binds": True})
        plan = "\n".join(connection.scalars(text("EXPLAIN " + str(statement).replace(":", "\\:"))))
        connection.rollback()
    assert index in plan, plan
    assert "Seq Scan on orders" not in plan, plan


MANY_ORDERS = """
    WITH made AS (
        INSERT INTO orders (id, number, status, payment_status, fulfillment_status, currency, subtotal, discount_total,
            shipping_total, tax_total, total, customer, created_at)
        SELECT gen_random_uuid(), 'N' || n, CASE WHEN n % 1000 = 0 THEN 'completed' ELSE 'processing' END,
            CASE WHEN n % 1000 = 0 THEN 'refunded' ELSE 'paid' END,
            CASE WHEN n % 1000 = 0 THEN 'returned' ELSE 'unfulfilled' END,
            'USD', 1, 0, 0, 0, 1, jsonb_build_object('email', 'c' || n || '@example.com'),
            '2026-01-01T00:00:00Z'::timestamptz + n * interval '1 minute'
        FROM generate_series(1, :many) AS n RETURNING id, number
    )
    INSERT INTO order_line (id, order_id, position, variant_id, product_name, variant_name, sku, attributes, quantity,
        unit_price, total)
    SELECT gen_random_uuid(), id, 1, :variant, 'P', 'V', 'SKU-' || number, '{}', 1, 1, 1 FROM made
"""


def test_an_order_is_shown_with_its_history(till: Till, make_variant: MakeVariant) -> None:
    bought = till.buy({make_variant(): 2})
    till.fulfil(bought, 1)
    till.refund(bought, 1)
    shown = till.staff.get(f"{ADMIN}/{bought['number']}").json
    kinds = [event["kind"] for event in shown["history"]]
    assert kinds[0] == "placed"
    assert {"payment_status", "fulfilled", "fulfillment_status", "refund", "refund_succeeded"} < set(kinds)
    assert shown["owner"].startswith("guest:")
    assert len(shown["payments"]) == len(shown["refunds"]) == len(shown["fulfillments"]) == 1
    till.staff.get(f"{ADMIN}/{uuid4()}", status=404)
    till.staff.get(f"{ADMIN}/AAAAA-AAAAA", status=404)


def test_the_address_is_corrected_until_something_is_shipped(
    till: Till, make_variant: MakeVariant, sign_in: Callable[..., SignedIn]
) -> None:
    bought = till.buy({make_variant(): 2})
    path = f"{ADMIN}/{bought['id']}"
    changed = till.staff.patch_json(path, {"shipping_address": {**ADDRESS, "city": "Leeds"}, "staff_note": "VIP"}).json
    assert (changed["shipping_address"]["city"], changed["staff_note"]) == ("Leeds", "VIP")
    till.fulfil(bought, 1)
    till.staff.patch_json(path, {"shipping_address": ADDRESS}, status=409)
    assert till.staff.patch_json(path, {"staff_note": None}).json["staff_note"] is None
    till.staff.patch_json(path, {"shipping_address": None}, status=422)
    till.staff.patch_json(path, {"total": 0}, status=422)
    log = sign_in("admin").client.get(f"{API}/admin/audit-log", {"action": "order.update"}).json["data"]
    assert log[1]["before"]["shipping_address"]["city"] == "London"
    assert log[1]["after"]["shipping_address"]["city"] == "Leeds"


def test_a_customer_does_not_see_what_the_staff_note(client: TestApp, till: Till, make_variant: MakeVariant) -> None:
    hold = client.post_json(f"{API}/holds", {"variant_id": str(make_variant()), "quantity": 1}).json
    placed = client.post_json(f"{API}/orders", {"hold_id": hold["id"]}).json
    till.staff.patch_json(f"{ADMIN}/{placed['id']}", {"staff_note": "odd"})
    assert "odd" not in client.get(f"{API}/orders/{placed['id']}").text


def test_cancelling_a_paid_order_gives_money_and_stock_back_in_one_go(
    till: Till, make_variant: MakeVariant, engine: Engine
) -> None:
    there, late = make_variant(stock=3), make_variant(stock=0, allow_backorder=True)
    bought = till.buy({there: 2, late: 1})
    till.refund(bought, 1, amount=100)
    cancelled = till.staff.post_json(f"{ADMIN}/{bought['id']}/cancel", {"reason": "fraud"}).json
    assert states(cancelled) == ("cancelled", "refunded", "unfulfilled")
    assert cancelled["refundable"]["amount"] == 0
    assert sum(refund["amount"]["amount"] for refund in cancelled["refunds"]) == bought["total"]["amount"]
    assert (till.level(there), till.level(late)) == ((3, 0), (0, 0))
    till.staff.post_json(f"{ADMIN}/{bought['id']}/cancel", {}, status=409)
    assert_stock_adds_up(engine)


def test_cancelled_without_restocking_the_units_are_gone(till: Till, make_variant: MakeVariant, engine: Engine) -> None:
    variant_id = make_variant(stock=3)
    bought = till.buy({variant_id: 2})
    till.staff.post_json(f"{ADMIN}/{bought['id']}/cancel", {"restock": False})
    assert till.level(variant_id) == (1, 0)
    assert_stock_adds_up(engine)


def test_an_unpaid_order_is_cancelled_and_one_that_was_shipped_is_not(
    till: Till, make_variant: MakeVariant, engine: Engine
) -> None:
    variant_id = make_variant(stock=3)
    placed, shipped = till.order({variant_id: 1}), till.buy({variant_id: 2})
    till.fulfil(shipped, 1)
    assert till.staff.post_json(f"{ADMIN}/{placed['id']}/cancel", {}).json["cancel_reason"] == "cancelled"
    till.staff.post_json(f"{ADMIN}/{shipped['id']}/cancel", {}, status=409)
    assert till.level(variant_id) == (1, 0)
    assert_stock_adds_up(engine)


def test_money_that_came_another_way_is_recorded_once(
    till: Till, make_variant: MakeVariant, engine: Engine, sign_in: Callable[..., SignedIn]
) -> None:
    placed, other = till.order({make_variant(): 1}), till.order({make_variant(): 1})
    path, body = f"{ADMIN}/{placed['id']}/mark-paid", {"reference": "cash 17", "note": "at the counter"}
    assert states(till.staff.post_json(path, body).json) == ("processing", "paid", "unfulfilled")
    again = till.staff.post_json(path, body).json
    assert [(payment["provider"], payment["status"]) for payment in again["payments"]] == [("manual", "paid")]
    problem = till.staff.post_json(path, {"reference": "cash 18"}, status=409).json
    assert problem["type"] == "/problems/wrong-order-state"
    problem = till.staff.post_json(f"{ADMIN}/{other['id']}/mark-paid", body, status=409).json
    assert problem["type"] == "/problems/payment-reference-used"
    log = sign_in("admin").client.get(f"{API}/admin/audit-log", {"action": "order.mark-paid"}).json["data"]
    assert log[-1]["before"]["payment_status"] == "unpaid"
    assert (log[-1]["after"]["payment_status"], log[-1]["after"]["reference"]) == ("paid", "cash 17")
    assert_stock_adds_up(engine)


def test_marked_as_paid_after_it_lapsed_it_takes_the_stock_again(
    till: Till, make_variant: MakeVariant, engine: Engine, clock: StoppedClock
) -> None:
    placed = till.order({make_variant(stock=1): 1})
    clock.tick(hours=1)
    expire_orders(engine, now=clock.now())
    path = f"{ADMIN}/{placed['id']}/mark-paid"
    marked = till.staff.post_json(path, {"reference": "transfer 1"}).json
    assert (states(marked), marked["cancel_reason"]) == (("processing", "paid", "unfulfilled"), None)
    assert_stock_adds_up(engine)


def test_marked_as_paid_by_two_at_once_it_is_paid_once(till: Till, make_variant: MakeVariant, engine: Engine) -> None:
    placed = till.order({make_variant(): 1})
    path = f"{ADMIN}/{placed['id']}/mark-paid"
    concurrently([lambda: till.staff.post_json(path, {"reference": "cash"}, status="*")] * 4)
    assert len(till.show(placed)["payments"]) == 1
    assert_stock_adds_up(engine)


def test_a_guest_finds_an_order_by_number_and_address(
    client: TestApp, till: Till, make_variant: MakeVariant, sign_in: Callable[..., SignedIn]
) -> None:
    placed = till.order({make_variant(): 1})
    lookup = f"{API}/orders/lookup"
    answer = client.post_json(lookup, {"number": placed["number"].lower(), "email": "ada@EXAMPLE.com"}).json
    assert answer["id"] == placed["id"]
    wrong = [
        client.post_json(lookup, body, status=404).json["detail"]
        for body in (
            {"number": "AAAAA-AAAAA", "email": "ada@example.com"},
            {"number": placed["number"], "email": "eve@example.com"},
        )
    ]
    assert wrong[0] == wrong[1]
    client.post_json(lookup, {"number": placed["number"], "email": "ada"}, status=422)


def test_an_order_of_a_user_is_not_looked_up_but_seen_after_signing_in(
    client: TestApp, make_variant: MakeVariant, sign_in: Callable[..., SignedIn]
) -> None:
    customer = sign_in("customer").client
    hold = customer.post_json(f"{API}/holds", {"variant_id": str(make_variant()), "quantity": 1}).json
    body = {"hold_id": hold["id"], "customer": {"email": "ada@example.com", "name": "Ada"}}
    placed = customer.post_json(f"{API}/orders", body).json
    client.post_json(f"{API}/orders/lookup", {"number": placed["number"], "email": "ada@example.com"}, status=404)


@pytest.mark.commerce(settings={"limits.lookup": "10/minute"})
def test_guessing_numbers_is_stopped(client: TestApp) -> None:
    body = {"number": "AAAAA-AAAAA", "email": "ada@example.com"}
    statuses = [client.post_json(f"{API}/orders/lookup", body, status="*").status_int for _ in range(12)]
    assert statuses == [404] * 10 + [429] * 2


@pytest.mark.parametrize("moment", ["0.5", "1700000000", "2026-11-21T10:00:00", "yesterday"])
def test_a_time_is_written_out_with_its_offset(staff: TestApp, moment: str) -> None:
    problem = staff.get("/api/v1/admin/orders", {"created_to": moment}, status=422).json
    assert [error["field"] for error in problem["errors"]] == ["created_to"]
