"""Payments and the manual provider's webhook, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from webtest import TestApp

from commerce_core.payments import sweep
from commerce_core.payments.models import Payment, Refund, WebhookEvent
from commerce_core.payments.provider import ManualProvider
from commerce_core.payments.sweep import carry_out_refunds, expire_orders, retry_unmatched
from commerce_core.testing import WEBHOOK_SECRET, StoppedClock, assert_stock_adds_up, concurrently

MakeVariant = Callable[..., UUID]


def webhook(
    client: TestApp,
    order_id: UUID | str,
    status: str = "paid",
    event_id: str = "evt-1",
    *,
    secret: str = WEBHOOK_SECRET,
    **more: Any,
) -> Any:
    body = json.dumps({"event_id": event_id, "order_id": str(order_id), "status": status, **more}).encode()
    signature = f"sha256={ManualProvider.signature(secret, body)}"
    return client.post(
        "/api/v1/payments/webhook",
        body,
        headers={"X-Webhook-Signature": signature},
        content_type="application/json",
        status="*",
    )


@pytest.fixture
def order(client: TestApp, make_variant: MakeVariant) -> Callable[..., Any]:
    """`order(variant_id)`: places an order of one unit."""

    def place(variant_id: UUID | None = None, **body: Any) -> Any:
        variant_id = variant_id or make_variant(stock=1)
        hold = client.post_json("/api/v1/holds", {"variant_id": str(variant_id), "quantity": 1}).json
        return client.post_json("/api/v1/orders", {"hold_id": hold["id"], **body}).json

    return place


def show(client: TestApp, order: Any) -> Any:
    return client.get(f"/api/v1/orders/{order['id']}").json


def test_a_paid_webhook_sells_the_stock_and_its_repeat_changes_nothing(
    client: TestApp, order: Callable[..., Any], engine: Engine
) -> None:
    placed = order(payment={"provider": "manual"})
    assert placed["payment_status"] == "pending"
    receipt = webhook(client, placed["id"]).json
    assert receipt == {"event_id": "evt-1", "state": "processed", "order_id": placed["id"], "duplicate": False}
    paid = show(client, placed)
    assert (paid["status"], paid["payment_status"], paid["expires_at"]) == ("processing", "paid", None)
    assert [payment["status"] for payment in paid["payments"]] == ["paid"]
    assert webhook(client, placed["id"]).json == receipt | {"duplicate": True}
    assert show(client, placed) == paid
    assert_stock_adds_up(engine)


def test_an_event_id_that_is_used_for_something_else_is_refused_and_not_swallowed(
    client: TestApp, order: Callable[..., Any]
) -> None:
    first, second = order(), order()
    assert webhook(client, first["id"], "failed").json["state"] == "processed"
    for order_id, status in ((second["id"], "failed"), (first["id"], "paid")):
        refused = webhook(client, order_id, status)
        assert (refused.status_int, refused.json["type"]) == (409, "/problems/event-id-reused")
    assert webhook(client, first["id"], "failed").json["duplicate"] is True


def test_fifty_deliveries_of_one_event_have_one_effect(
    application: Any, client: TestApp, order: Callable[..., Any], engine: Engine
) -> None:
    placed = order()
    answers: list[Any] = concurrently([lambda: webhook(TestApp(application), placed["id"])] * 50)
    assert {answer.status_int for answer in answers} == {200}
    assert sum(not answer.json["duplicate"] for answer in answers) == 1
    assert len(show(client, placed)["payments"]) == 1
    assert_stock_adds_up(engine)


def test_a_failed_payment_can_be_tried_again(client: TestApp, order: Callable[..., Any], engine: Engine) -> None:
    placed = order()
    assert webhook(client, placed["id"], "failed", "evt-1").json["state"] == "processed"
    assert show(client, placed)["payment_status"] == "failed"
    started = client.post_json(f"/api/v1/orders/{placed['id']}/payments", {"provider": "manual"}, status=201).json
    assert started["payment"]["status"] == "pending"
    assert started["client_data"] == {"reference": started["payment"]["id"]}
    assert webhook(client, placed["id"], "paid", "evt-2").json["state"] == "processed"
    paid = show(client, placed)
    assert (paid["payment_status"], [p["status"] for p in paid["payments"]]) == ("paid", ["failed", "paid"])
    assert_stock_adds_up(engine)


def test_a_failure_that_comes_after_the_payment_is_ignored(client: TestApp, order: Callable[..., Any]) -> None:
    placed = order()
    webhook(client, placed["id"], "paid", "evt-2")
    assert webhook(client, placed["id"], "failed", "evt-1").json["state"] == "ignored"
    assert webhook(client, placed["id"], "paid", "evt-3").json["state"] == "ignored"
    assert show(client, placed)["payment_status"] == "paid"


def test_an_event_of_an_unknown_order_is_kept_and_tried_again(
    client: TestApp, engine: Engine, application: Any, clock: StoppedClock
) -> None:
    assert webhook(client, uuid4()).json["state"] == "unmatched"
    attempts = []
    for _ in range(9 * 60):  # an hour and a half of rounds, each ten seconds after the one before
        clock.tick(seconds=10)
        retry_unmatched(engine, application.registry, now=clock.now())
        with Session(engine) as session:
            attempts.append(session.scalars(select(WebhookEvent.attempts)).one())
    # After 10 seconds, another minute, another 5 minutes, then every quarter of an hour; and then it is left alone.
    assert [attempts.index(count) + 1 for count in range(2, 8)] == [1, 7, 37, 127, 217, 307]
    assert attempts[-1] == 7


def test_a_webhook_that_overtakes_its_order_is_matched_later(
    client: TestApp, order: Callable[..., Any], engine: Engine, application: Any, clock: StoppedClock
) -> None:
    placed = order()
    webhook(client, uuid4())
    with Session(engine) as session:  # as if it had come before the order was committed
        event = session.scalars(select(WebhookEvent)).one()
        event.payload = event.payload | {"order_id": placed["id"]}
        session.commit()
    clock.tick(seconds=10)
    assert retry_unmatched(engine, application.registry, now=clock.now()) == 1
    assert show(client, placed)["payment_status"] == "paid"
    assert_stock_adds_up(engine)


def test_paid_after_it_lapsed_takes_the_stock_again(
    client: TestApp, order: Callable[..., Any], engine: Engine, clock: StoppedClock
) -> None:
    placed = order(payment={"provider": "manual"})
    clock.tick(hours=1)
    expire_orders(engine, now=clock.now())
    assert show(client, placed)["status"] == "cancelled"
    assert webhook(client, placed["id"]).json["state"] == "processed"
    paid = show(client, placed)
    assert (paid["status"], paid["payment_status"]) == ("processing", "paid")
    variant_id = paid["lines"][0]["variant_id"]
    client.post_json("/api/v1/holds", {"variant_id": variant_id, "quantity": 1}, status=409)
    assert_stock_adds_up(engine)


def test_paid_after_it_lapsed_and_the_stock_is_gone_owes_a_refund(
    client: TestApp, order: Callable[..., Any], make_variant: MakeVariant, engine: Engine, clock: StoppedClock
) -> None:
    variant_id = make_variant(stock=1)
    late = order(variant_id)
    clock.tick(hours=1)
    expire_orders(engine, now=clock.now())
    quick = order(variant_id)
    webhook(client, quick["id"], event_id="evt-quick")
    assert webhook(client, late["id"], event_id="evt-late").json["state"] == "processed"
    shown = show(client, late)
    assert (shown["status"], shown["payment_status"]) == ("cancelled", "paid")
    with Session(engine) as session:
        refund = session.scalars(select(Refund)).one()
        payment = session.get_one(Payment, refund.payment_id)
    assert (refund.status, refund.amount, refund.currency) == ("pending", 9_999, "USD")
    assert (payment.status, str(payment.order_id)) == ("paid", late["id"])
    assert webhook(client, late["id"], event_id="evt-late").json["duplicate"] is True
    assert_stock_adds_up(engine)


def test_an_order_past_its_time_but_not_yet_cancelled_is_simply_paid(
    client: TestApp, order: Callable[..., Any], engine: Engine, clock: StoppedClock
) -> None:
    placed = order()
    clock.tick(hours=1)
    assert webhook(client, placed["id"]).json["state"] == "processed"
    assert expire_orders(engine, now=clock.now()) == 0
    assert show(client, placed)["status"] == "processing"
    assert_stock_adds_up(engine)


def test_a_paid_backorder_is_sold_by_the_delivery(
    client: TestApp, staff: TestApp, order: Callable[..., Any], make_variant: MakeVariant, engine: Engine
) -> None:
    variant_id = make_variant(stock=0, allow_backorder=True)
    orders = [order(variant_id) for _ in range(3)]
    for placed in orders[:2]:
        webhook(client, placed["id"], event_id=placed["id"])
    stock = f"/api/v1/admin/stock/{variant_id}"
    assert staff.get(stock).json["reserved"] == 3
    assert_stock_adds_up(engine)
    level = staff.post_json(f"{stock}/receive", {"quantity": 1}).json
    assert (level["on_hand"], level["reserved"]) == (0, 2)
    level = staff.post_json(f"{stock}/receive", {"quantity": 5}).json
    assert (level["on_hand"], level["reserved"]) == (4, 1)
    assert_stock_adds_up(engine)


def test_a_webhook_without_a_good_signature_is_refused_unread(client: TestApp, order: Callable[..., Any]) -> None:
    placed = order()
    refused = webhook(client, placed["id"], secret="another secret")
    assert (refused.status_int, refused.json["type"]) == (401, "/problems/invalid-signature")
    for headers in ({}, {"X-Webhook-Signature": "sha256="}, {"X-Webhook-Signature": "sha256=ÿ"}):
        client.post("/api/v1/payments/webhook", b"not even JSON", headers=headers, status=401)
    assert show(client, placed)["payment_status"] == "unpaid"


def test_a_signed_webhook_with_bad_content_is_refused(client: TestApp) -> None:
    assert webhook(client, "x", "maybe", "", extra=1).status_int == 422
    body = b"{"
    signature = f"sha256={ManualProvider.signature(WEBHOOK_SECRET, body)}"
    client.post(
        "/api/v1/payments/webhook",
        body,
        headers={"X-Webhook-Signature": signature},
        content_type="application/json",
        status=400,
    )


@pytest.mark.commerce(settings={"payments.manual_webhook_secret": ""})
def test_without_a_secret_no_webhook_is_accepted(client: TestApp, order: Callable[..., Any]) -> None:
    assert webhook(client, order()["id"], secret="").status_int == 401


def test_an_unknown_provider_is_a_clear_problem(
    client: TestApp, order: Callable[..., Any], make_variant: MakeVariant
) -> None:
    placed = order()
    problem = client.post_json(f"/api/v1/orders/{placed['id']}/payments", {"provider": "cheque"}, status=404).json
    assert (problem["type"], problem["available"]) == ("/problems/unknown-payment-provider", ["manual"])
    hold = client.post_json("/api/v1/holds", {"variant_id": str(make_variant()), "quantity": 1}).json
    client.post_json("/api/v1/orders", {"hold_id": hold["id"], "payment": {"provider": "cheque"}}, status=404)
    client.post_json("/api/v1/orders", {"hold_id": hold["id"]}, status=201)  # nothing had been done


def test_a_paid_order_can_be_neither_cancelled_nor_paid_again(client: TestApp, order: Callable[..., Any]) -> None:
    placed = order()
    webhook(client, placed["id"])
    client.post_json(f"/api/v1/orders/{placed['id']}/cancel", {}, status=409)
    client.post_json(f"/api/v1/orders/{placed['id']}/payments", {"provider": "manual"}, status=409)


def test_an_open_payment_is_gone_on_with_not_doubled(client: TestApp, order: Callable[..., Any]) -> None:
    placed = order(payment={"provider": "manual"})
    for _ in range(2):
        client.post_json(f"/api/v1/orders/{placed['id']}/payments", {"provider": "manual"}, status=201)
    assert len(show(client, placed)["payments"]) == 1


def test_one_order_that_cannot_be_cancelled_does_not_keep_the_others(
    client: TestApp, order: Callable[..., Any], engine: Engine, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, healthy = order(), order()
    cancel = sweep.cancel_open_payments

    def fail(session: Session, placed: Any) -> None:
        assert str(placed.id) != broken["id"]
        cancel(session, placed)

    monkeypatch.setattr(sweep, "cancel_open_payments", fail)
    clock.tick(hours=1)
    assert expire_orders(engine, now=clock.now()) == 1
    assert [show(client, placed)["status"] for placed in (broken, healthy)] == ["pending", "cancelled"]


def test_what_costs_nothing_is_paid_at_once_and_owes_nothing(
    client: TestApp, order: Callable[..., Any], make_variant: MakeVariant, engine: Engine
) -> None:
    placed = order(make_variant(stock=1, price_amount=0), payment={"provider": "manual"})
    assert (placed["status"], placed["payment_status"], placed["payments"]) == ("processing", "paid", [])
    assert webhook(client, placed["id"]).json["state"] == "ignored"
    assert_stock_adds_up(engine)


def test_an_order_that_its_customer_cancelled_is_not_revived_by_a_payment_but_refunded(
    application: Any, client: TestApp, order: Callable[..., Any], engine: Engine
) -> None:
    placed = order()
    client.post_json(f"/api/v1/orders/{placed['id']}/cancel", {})
    assert webhook(client, placed["id"]).json["state"] == "processed"
    assert carry_out_refunds(engine, application.registry) == 1
    shown = show(client, placed)
    assert (shown["status"], shown["payment_status"]) == ("cancelled", "refunded")
    assert [refund["amount"]["amount"] for refund in shown["refunds"]] == [9_999]
    assert_stock_adds_up(engine)


def test_a_second_payment_of_a_paid_order_goes_back(
    application: Any, client: TestApp, order: Callable[..., Any], engine: Engine
) -> None:
    placed = order()
    webhook(client, placed["id"], event_id="evt-1", reference="transfer 1")
    assert webhook(client, placed["id"], event_id="evt-2", reference="transfer 1").json["state"] == "ignored"
    assert webhook(client, placed["id"], event_id="evt-3", reference="transfer 2").json["state"] == "processed"
    assert carry_out_refunds(engine, application.registry) == 1
    shown = show(client, placed)
    assert (shown["status"], shown["payment_status"]) == ("processing", "paid")
    assert [payment["status"] for payment in shown["payments"]] == ["paid", "refunded"]
    assert webhook(client, placed["id"], event_id="evt-4", reference="transfer 2").json["state"] == "ignored"
    assert len(show(client, placed)["refunds"]) == 1
    assert_stock_adds_up(engine)


def test_a_payment_cannot_pay_two_orders(
    client: TestApp, staff: TestApp, order: Callable[..., Any], engine: Engine
) -> None:
    first, second = order(), order()
    webhook(client, first["id"], event_id="evt-1", reference="transfer 1")
    assert webhook(client, second["id"], event_id="evt-2", reference="transfer 1").json["state"] == "dead"
    assert show(client, second)["payment_status"] == "unpaid"
    (event,) = staff.get("/api/v1/admin/webhook-events?state=dead&provider=manual").json["data"]
    assert event["detail"] == "The reference 'transfer 1' is that of a payment of another order."
    assert_stock_adds_up(engine)


def test_a_payment_that_is_told_of_two_orders_at_once_pays_one(
    application: Any, client: TestApp, order: Callable[..., Any], engine: Engine
) -> None:
    def tell(order_id: str, reference: str) -> Callable[[], str]:
        event = {"event_id": f"{reference} for {order_id}", "reference": reference}
        return lambda: str(webhook(TestApp(application), order_id, **event).json["state"])

    for attempt in range(5):
        told = concurrently([tell(order()["id"], f"transfer {attempt}") for _ in range(2)])
        assert sorted(map(str, told)) == ["dead", "processed"]
    assert_stock_adds_up(engine)


def test_staff_may_try_an_event_again(
    client: TestApp, staff: TestApp, order: Callable[..., Any], engine: Engine
) -> None:
    placed = order()
    webhook(client, uuid4())
    with Session(engine) as session:  # as if it had come before the order was committed, and nobody had tried again
        event = session.scalars(select(WebhookEvent)).one()
        event.payload = event.payload | {"order_id": placed["id"]}
        event.next_attempt_at = None
        session.commit()
        path = f"/api/v1/admin/webhook-events/{event.id}/retry"
    assert staff.post_json(path, {}).json["state"] == "processed"
    assert show(client, placed)["payment_status"] == "paid"
    assert staff.post_json(path, {}, status=409).json["type"] == "/problems/wrong-event-state"
    staff.post_json(f"/api/v1/admin/webhook-events/{uuid4()}/retry", {}, status=404)


def test_an_event_that_cannot_be_used_is_tried_again_later_and_keeps_no_other_waiting(
    client: TestApp, order: Callable[..., Any], engine: Engine, application: Any, clock: StoppedClock
) -> None:
    placed = order()
    webhook(client, uuid4(), event_id="broken")
    webhook(client, uuid4(), event_id="healthy")
    with Session(engine) as session:
        for event in session.scalars(select(WebhookEvent)):
            event.payload = {} if event.event_id == "broken" else event.payload | {"order_id": placed["id"]}
        session.commit()
    clock.tick(seconds=10)
    assert retry_unmatched(engine, application.registry, now=clock.now()) == 1
    assert retry_unmatched(engine, application.registry, now=clock.now()) == 0
    for _ in range(9):
        clock.tick(minutes=15)
        retry_unmatched(engine, application.registry, now=clock.now())
    with Session(engine) as session:
        broken = session.scalars(select(WebhookEvent).where(WebhookEvent.event_id == "broken")).one()
    assert (broken.state, broken.detail) == ("dead", "Please correct: event_id, order_id, status.")
