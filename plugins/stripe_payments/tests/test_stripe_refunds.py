"""Giving back, and what banks take back: R1 to R11 of the plugin's README, on the fake Stripe."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import pytest
from commerce_stripe_payments import refunds
from commerce_stripe_payments.models import StripeDispute, StripeEvent, StripeRefund, StripeWarning
from sqlalchemy import select
from sqlalchemy.orm import Session
from stripe_shop import API, Shop
from stripe_signing import SETTINGS

from commerce_core.payments.models import Payment, Refund
from commerce_core.payments.sweep import carry_out_refunds
from commerce_core.testing import assert_stock_adds_up, concurrently

pytestmark = pytest.mark.commerce(plugins=["stripe"], settings=SETTINGS)
REFUNDS = "POST /v1/refunds"


def at_stripe(shop: Shop, order: Any) -> list[tuple[int, str]]:
    """The refunds that Stripe has made, oldest first."""
    listed = shop.fake.client().v1.refunds.list({"payment_intent": shop.intent_id(order)}).data
    return [(refund.amount, str(refund.status)) for refund in reversed(listed)]


def here(shop: Shop, order: Any) -> list[tuple[int, str]]:
    """The refunds that the shop knows, oldest first."""
    with Session(shop.engine) as session:
        query = select(Refund.amount, Refund.status).where(Refund.order_id == UUID(order["id"])).order_by(Refund.id)
        return [(amount, status) for amount, status in session.execute(query)]


def test_r1_two_equal_refunds_are_two(shop: Shop) -> None:
    order = shop.buy()
    first, second = shop.refund(order, 500), shop.refund(order, 500)
    shop.work()
    shop.tell()
    assert at_stripe(shop, order) == here(shop, order) == [(500, "succeeded")] * 2
    asked = [parse_qs(call["body"])["metadata[commerce_refund]"][0] for call in shop.calls(REFUNDS)]
    assert asked == [first["id"], second["id"]]
    assert shop.states(order) == ("processing", "partially_refunded")


def test_r1_an_answer_that_is_lost_gives_nothing_twice(shop: Shop) -> None:
    order = shop.buy()
    shop.fake.go_wrong(REFUNDS, "cut", "after")
    shop.refund(order, 500)
    shop.work()
    assert here(shop, order) == [(500, "pending")]
    shop.clock.tick(seconds=10)
    shop.work()
    assert at_stripe(shop, order) == here(shop, order) == [(500, "succeeded")]


def test_r1_a_key_that_stripe_has_forgotten_gives_nothing_twice(shop: Shop) -> None:
    order = shop.buy(method="pm_card_pendingRefund")
    shop.refund(order, 500)
    shop.work()
    assert here(shop, order) == [(500, "pending")]
    shop.fake.go_wrong("GET /v1/refunds*", "cut")
    for _ in range(3):
        shop.clock.tick(hours=25)
        shop.work()
    assert len(at_stripe(shop, order)) == 1
    with Session(shop.engine) as session, session.begin():
        session.query(StripeRefund).delete()
    shop.clock.tick(hours=25)
    shop.work()
    assert len(at_stripe(shop, order)) == 1


def test_r2_clicks_at_once_give_no_more_back_than_was_paid(shop: Shop) -> None:
    order = shop.buy()
    answers = concurrently([lambda: shop.refund(order, 1_500, status="*") for _ in range(5)])
    made = [answer for answer in answers if isinstance(answer, dict) and "id" in answer]
    assert len(made) == 1
    shop.work()
    assert at_stripe(shop, order) == [(1_500, "succeeded")]


def test_r2_staff_and_the_dashboard_at_once_give_no_more_back_than_was_paid(shop: Shop) -> None:
    order = shop.buy(price=2_000)
    shop.refund(order, 1_500)
    shop.fake.refund(shop.intent_id(order), 1_000)
    shop.work()
    shop.tell()
    assert at_stripe(shop, order) == [(1_000, "succeeded")]
    # What was promised here is still owed, and there is less left than that: somebody has to decide.
    assert here(shop, order) == [(1_500, "failed")]
    with Session(shop.engine) as session:
        told = session.scalars(select(StripeEvent).where(StripeEvent.type == "refund.created")).one()
        assert (told.state, "more than was paid" in str(told.detail)) == ("dead", True)
    assert_stock_adds_up(shop.engine)


@pytest.mark.parametrize("amount", [-500, 0, 2_001, 10**15, 1.5, "500", True])
def test_r2_odd_amounts_reach_nobody(shop: Shop, amount: Any) -> None:
    order = shop.buy(price=2_000)
    assert shop.refund(order, amount, status="4*")["status"] in (409, 422)
    shop.work()
    assert shop.calls(REFUNDS) == []


def test_r3_partial_refunds_count_by_their_ids(shop: Shop) -> None:
    order = shop.buy()
    for amount in (300, 400):
        shop.fake.refund(shop.intent_id(order), amount)
    shop.tell(copies=2, shuffle_seed=7)
    assert here(shop, order) == [(300, "succeeded"), (400, "succeeded")]
    shown = shop.show(order)
    assert (shown["payment_status"], shown["refundable"]["amount"]) == ("partially_refunded", 1_299)


def test_r4_our_own_refund_told_before_we_have_heard_is_not_another(shop: Shop, monkeypatch: Any) -> None:
    order = shop.buy()
    shop.refund(order, 500)
    give_back = refunds.give_back

    def told_first(connection: Any, request: Any) -> Any:
        result = give_back(connection, request)
        # The webhook is quicker than our own commit, and so is what we have noted of the answer undone.
        with Session(shop.engine) as session, session.begin():
            session.query(StripeRefund).delete()
        shop.fake.deliver()
        with Session(shop.engine) as session:
            waiting = session.scalars(select(StripeEvent).where(StripeEvent.state == "received")).all()
        assert waiting
        shop.work()
        return result

    monkeypatch.setattr("commerce_stripe_payments.provider.give_back", told_first)
    carry_out_refunds(shop.engine, shop.application.registry)
    assert here(shop, order) == [(500, "succeeded")]
    assert shop.mails().count("order-refunded") <= 1
    shop.work()
    assert shop.mails().count("order-refunded") == 1


def test_r5_what_somebody_gives_back_in_the_dashboard_counts(shop: Shop) -> None:
    order = shop.buy()
    shop.fake.refund(shop.intent_id(order), 500)
    shop.tell()
    assert here(shop, order) == [(500, "succeeded")]
    assert shop.states(order) == ("processing", "partially_refunded")
    assert shop.level(order) == (9, 0), "nobody has said that anything came back"
    shop.fake.refund(shop.intent_id(order))
    shop.tell()
    assert shop.states(order) == ("processing", "refunded")


def test_r6_a_refund_that_waits_succeeds_or_fails_later(shop: Shop) -> None:
    order = shop.buy(method="pm_card_pendingRefund")
    shop.refund(order, 500)
    shop.refund(order, 600)
    shop.work()
    shop.tell()
    assert here(shop, order) == [(500, "pending"), (600, "pending")]
    second, first = shop.fake.client().v1.refunds.list().data
    shop.fake.end_refund(first.id, "succeeded")
    shop.fake.end_refund(second.id, "failed")
    shop.tell()
    assert here(shop, order) == [(500, "succeeded"), (600, "failed")]
    assert shop.states(order) == ("processing", "partially_refunded")


def test_r6_a_refund_that_bounces_is_owed_again_and_can_be_tried_again(shop: Shop) -> None:
    order = shop.buy()
    shop.refund(order, 1_999)
    shop.work()
    assert here(shop, order) == [(1_999, "succeeded")]
    shop.fake.end_refund(shop.fake.client().v1.refunds.list().data[0].id, "failed")
    shop.tell()
    assert here(shop, order) == [(1_999, "failed")]
    assert shop.states(order) == ("processing", "paid")
    failed = shop.staff.get(f"{API}/admin/refunds?status=failed").json["data"]
    shop.staff.post_json(f"{API}/admin/refunds/{failed[0]['id']}/retry", {})
    shop.work()
    assert len(shop.calls(REFUNDS)) == 2, "with a key of its own: the first would only be told that it failed"
    assert here(shop, order) == [(1_999, "succeeded")]
    # The first one is told again: it says nothing about the second.
    shop.fake.emit("refund.failed", shop.fake.world.objects[shop.fake.client().v1.refunds.list().data[1].id])
    shop.tell()
    assert here(shop, order) == [(1_999, "succeeded")]


def test_r7_what_was_given_back_already_is_given_back(shop: Shop) -> None:
    order = shop.buy()
    shop.refund(order, 1_999)
    # Somebody is quicker in the dashboard; nobody has told us.
    shop.fake.refund(shop.intent_id(order))
    shop.work()
    assert here(shop, order) == [(1_999, "succeeded")]
    shop.tell()
    assert here(shop, order) == [(1_999, "succeeded")]
    assert shop.states(order) == ("processing", "refunded")


def test_r7_the_dashboard_told_first_is_the_same_money(shop: Shop) -> None:
    order = shop.buy()
    shop.refund(order, 1_999)
    shop.fake.refund(shop.intent_id(order))
    shop.fake.deliver()
    with Session(shop.engine) as session, session.begin():
        session.query(Refund).update({"next_attempt_at": None})
    shop.work()
    assert here(shop, order) == [(1_999, "succeeded")]
    assert shop.states(order) == ("processing", "refunded")


def test_r8_giving_a_second_payment_back_leaves_the_order_paid(shop: Shop) -> None:
    order = shop.order()
    first = shop.pay(order, "pm_card_visa_chargeDeclined")
    shop.tell()
    shop.intent(order)
    shop.fake.confirm(first)
    shop.fake.confirm(shop.intent_id(order))
    shop.tell()
    shop.tell()
    assert here(shop, order) == [(1_999, "succeeded")]
    assert shop.states(order) == ("processing", "paid")
    with Session(shop.engine) as session:
        surplus = session.scalars(select(Payment.surplus).where(Payment.order_id == UUID(order["id"]))).all()
    assert sorted(surplus) == [False, True]


def test_r9_a_dispute_stops_the_parcel_and_ends(shop: Shop) -> None:
    order = shop.buy(quantity=2)
    ship = f"{API}/admin/orders/{order['id']}/fulfillments"
    line = shop.show(order)["lines"][0]["id"]
    shop.staff.post_json(ship, {"lines": [{"line_id": line, "quantity": 1}]}, status=201)
    dispute = shop.fake.dispute(shop.intent_id(order))
    shop.tell(shuffle_seed=3)
    problem = shop.staff.post_json(ship, {}, status=409).json
    assert (problem["type"], problem["dispute"]) == ("/problems/stripe/order-disputed", dispute["id"])
    assert shop.show(order)["extensions"]["stripe"]["dispute"]["blocks_shipping"] is True
    assert shop.states(order) == ("processing", "paid"), "a dispute is no refund"
    refused = shop.refund(order, 500)
    shop.work()
    shown = shop.staff.get(f"{API}/admin/refunds?status=failed").json["data"]
    assert [(row["id"], "disputed" in row["error"]) for row in shown] == [(refused["id"], True)]
    assert shop.calls(REFUNDS) == []
    shop.fake.end_dispute(dispute["id"], "won")
    shop.tell()
    # Told again, out of order: what counts is what is true.
    shop.fake.deliver("charge.dispute.created", again=True)
    shop.work()
    shop.staff.post_json(ship, {}, status=201)
    assert_stock_adds_up(shop.engine)


def test_r9_a_lost_dispute_keeps_the_order_from_being_shipped(shop: Shop) -> None:
    order = shop.buy()
    dispute = shop.fake.dispute(shop.intent_id(order))
    shop.fake.end_dispute(dispute["id"], "lost")
    shop.tell()
    with Session(shop.engine) as session:
        row = session.get_one(StripeDispute, dispute["id"])
        assert (row.status, row.amount, row.closed_at is not None) == ("lost", 1_999, True)
    shop.staff.post_json(f"{API}/admin/orders/{order['id']}/fulfillments", {}, status=409)


def test_r9_an_inquiry_and_a_status_that_nobody_knows_are_kept(shop: Shop) -> None:
    order = shop.buy()
    dispute = shop.fake.dispute(shop.intent_id(order), is_inquiry=True)
    shop.tell()
    shop.fake.world.objects[dispute["id"]]["status"] = "appeal_under_review"
    shop.fake.deliver("charge.dispute.created", again=True)
    shop.fake.emit("charge.dispute.updated", shop.fake.world.objects[dispute["id"]])
    shop.tell()
    with Session(shop.engine) as session:
        assert session.get_one(StripeDispute, dispute["id"]).status == "appeal_under_review"
    shop.fake.end_dispute(dispute["id"], "warning_closed")
    shop.tell()
    shop.staff.post_json(f"{API}/admin/orders/{order['id']}/fulfillments", {}, status=201)


def test_r10_warnings_and_reviews_are_recorded(shop: Shop) -> None:
    order = shop.buy()
    shop.fake.warn(shop.intent_id(order))
    shop.fake.review(shop.intent_id(order))
    shop.tell(copies=2)
    with Session(shop.engine) as session:
        kinds = session.scalars(select(StripeWarning.kind).order_by(StripeWarning.kind)).all()
    assert kinds == ["early_fraud_warning", "review"]
    assert shop.states(order) == ("processing", "paid")


VERSIONS = ["2022-08-01", "2022-11-15", "2024-06-20", "2025-03-31.basil", "2026-10-28.endive"]


@pytest.mark.parametrize("version", VERSIONS)
def test_w11_r11_events_of_every_version_are_used(shop: Shop, version: str) -> None:
    """W11, too: an event of another version than ours is used."""
    shop.endpoint.api_version = version
    order = shop.buy()
    shop.fake.refund(shop.intent_id(order), 500)
    shop.tell()
    assert here(shop, order) == [(500, "succeeded")]
    assert shop.states(order) == ("processing", "partially_refunded")
