"""Subscriptions: S1 to S10 of the plugin's README, and the story from a trial to recovery, on the fake Stripe."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from commerce_stripe_payments.hooks import commerce_principals
from commerce_stripe_payments.models import StripeEvent, StripePaymentMethod, StripeSubscription
from commerce_stripe_payments.subscriptions.calls import settle
from commerce_stripe_payments.subscriptions.entitlement import does_entitle, entitles, features_of, is_entitled
from commerce_stripe_payments.subscriptions.events import SubscriptionChanged
from commerce_stripe_payments.subscriptions.jobs import read_overdue_subscriptions, sync_customers, tell_defaults
from commerce_stripe_payments.webhooks.processing import process_event
from commerce_stripe_payments.webhooks.reading import (
    intent_of_invoice,
    period_end_of_subscription,
    subscription_of_invoice,
)
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from stripe_shop import Shop
from stripe_signing import SETTINGS
from stripe_subscribers import ADMIN_STRIPE, PAY, SUBSCRIPTIONS, Subscriber, offer

from commerce_core.accounts.models import User
from commerce_core.database import transaction
from commerce_core.testing import concurrently

pytestmark = pytest.mark.commerce(plugins=["stripe"], settings=SETTINGS)
CREATE = "POST /v1/subscriptions"
# Each takes its time, and the others say nothing else.
SOME_EVENTS = (
    "customer.subscription.*",
    "customer.updated",
    "invoice.paid",
    "invoice.payment_*",
    "invoice_payment.paid",
    "payment_method.*",
)


@pytest.fixture
def ada(shop: Shop, sign_in: Callable[..., Any]) -> Subscriber:
    """Somebody in a shop with the plans `basic` (ten days of trial) and `plain` of ten euros, and `pro` of thirty."""
    offer(
        shop,
        ("basic", 1_000, {"trial_days": 10, "features": ["reports"]}),
        ("plain", 1_000, {}),
        ("pro", 3_000, {"features": ["reports", "exports"]}),
    )
    shop.endpoint.enabled_events = SOME_EVENTS
    customer = sign_in()
    return Subscriber(shop, customer.client, customer.user_id)


@pytest.fixture
def subscribed(ada: Subscriber) -> Subscriber:
    """Ada, who pays for `plain`."""
    ada.subscribe("plain")
    ada.shop.fake.confirm(intent_of(ada))
    ada.shop.tell()
    # The card is saved now; Stripe is told that it is the default.
    ada.run(tell_defaults)
    assert ada.row().status == "active"
    return ada


def intent_of(ada: Subscriber) -> str:
    """The payment intent of the latest invoice."""
    invoice = ada.v1.invoices.retrieve(str(ada.stripe().latest_invoice))
    return str(invoice["payments"]["data"][0]["payment"]["payment_intent"])


def cannot_pay(ada: Subscriber) -> None:
    ada.save("pm_card_chargeCustomerFail")


def test_a_subscription_from_trial_through_two_failed_renewals_to_recovery(ada: Subscriber) -> None:
    ada.shop.endpoint.enabled_events = ("*",)
    ada.go_by_a_test_clock()
    plans = ada.client.get(f"{PAY}/plans").json["data"]
    assert [plan["code"] for plan in plans] == ["basic", "plain", "pro"]
    started = ada.subscribe("basic")
    assert (started["status"], started["entitled"], started["client_secret"]) == ("trialing", True, None)
    ada.shop.tell()
    ada.save("pm_card_chargeCustomerFail")
    ada.pass_time(days=7)
    assert ada.mails() == ["trial-ends"]
    # The trial ends, and the first renewal fails: there is grace.
    ada.pass_time(days=3, hours=2)
    shown = ada.show()
    assert (shown["status"], shown["entitled"], shown["invoices"][0]["attempts"]) == ("past_due", True, 1)
    assert shown["invoices"][0]["next_attempt_at"] is not None
    ada.pass_time(days=3)
    assert ada.mails() == ["trial-ends", "renewal-failed", "renewal-failed"]
    # The customer takes another card, and does not wait for the next try.
    ada.save("pm_card_visa")
    shown = ada.change("pay")
    assert (shown["status"], shown["entitled"], shown["error"]) == ("active", True, None)
    assert (shown["invoices"][0]["status"], shown["invoices"][0]["paid"]["amount"]) == ("paid", 1_000)
    assert ada.mails() == ["trial-ends", "renewal-failed", "renewal-failed", "subscription-recovered"]
    ada.pass_time(days=32)
    assert [invoice.status for invoice in ada.invoices()] == ["paid", "paid", "paid"]
    assert ada.row().status == "active"


def test_a_stripe_that_is_away_is_said_to_be(ada: Subscriber) -> None:
    ada.shop.fake.go_wrong("POST /v1/customers")
    assert ada.subscribe("plain", status=502)["type"] == "/problems/stripe/cannot-start"
    # Made, but the secret cannot be had: it is there the next time.
    ada.shop.fake.go_wrong("GET /v1/subscriptions/*", skip=2)
    started = ada.subscribe("plain")
    assert (started["status"], started["client_secret"]) == ("incomplete", None)
    assert ada.subscribe("plain")["client_secret"] is not None


def test_two_clicks_make_one_subscription(ada: Subscriber) -> None:
    # Who comes when it is made is told so, 409; who comes before sees it being made.
    answers: list[Any] = concurrently([lambda: ada.subscribe("basic", status="*")] * 4)
    assert {answer["id"] for answer in answers if "id" in answer} == {str(ada.row().id)}
    assert {answer.get("status") for answer in answers} <= {"creating", "trialing", 409}
    assert (ada.row().status, ada.row().wish) == ("trialing", None)
    assert sum(1 for _ in ada.shop.fake.world.every("subscription")) == 1


def test_a_first_payment_is_made_in_the_browser(ada: Subscriber) -> None:
    started = ada.subscribe("plain")
    assert (started["status"], started["entitled"]) == ("incomplete", False)
    # Asked again, it goes on with the same.
    assert ada.subscribe("plain")["client_secret"] == started["client_secret"]
    ada.shop.fake.confirm(intent_of(ada), "pm_card_threeDSecure2Required")
    ada.shop.fake.authenticate(intent_of(ada))
    ada.shop.tell()
    assert ada.show()["entitled"]
    assert len(ada.shop.calls(CREATE)) == 1
    assert ada.subscribe("plain", status=409)["type"] == "/problems/stripe/already-subscribed"


def test_s1_a_status_that_nobody_knows_is_kept_and_entitles_to_nothing(subscribed: Subscriber) -> None:
    ada = subscribed
    subscription_id = str(ada.row().subscription_id)
    for status in (
        "incomplete",
        "incomplete_expired",
        "trialing",
        "active",
        "past_due",
        "unpaid",
        "canceled",
        "paused",
        "foo",
    ):
        found = ada.shop.fake.world.objects[subscription_id]
        found["status"] = status
        ada.shop.fake.emit("customer.subscription.updated", found)
        ada.shop.tell()
        assert ada.show()["status"] == status
        assert ada.show()["entitled"] is (status in ("trialing", "active", "past_due"))


def test_s2_s3_the_shapes_of_every_version_are_read(subscribed: Subscriber) -> None:
    ada = subscribed
    row = ada.row()
    for version in ("2022-11-15", "2024-06-20", "2025-03-31.basil", "2026-10-28.endive"):
        v1 = ada.shop.fake.client(api_version=version).v1
        subscription = v1.subscriptions.retrieve(str(row.subscription_id)).to_dict(for_json=True)
        assert ("current_period_end" in subscription) is (version < "2025-03-31")
        assert period_end_of_subscription(subscription) == row.period_end
        invoice = v1.invoices.retrieve(str(row.latest_invoice)).to_dict(for_json=True)
        assert ("parent" in invoice) is (version >= "2025-03-31")
        assert subscription_of_invoice(invoice) == row.subscription_id
        assert intent_of_invoice(invoice)[0] == intent_of(ada) == ada.invoices()[0].intent_id
    # The last of several periods counts.
    later = {"items": {"data": [{"current_period_end": 5}, {"current_period_end": 7}]}, "current_period_end": 9}
    moment = period_end_of_subscription(later)
    assert moment is not None
    assert moment.timestamp() == 7


@pytest.mark.parametrize("version", ["2024-06-20", "2026-10-28.endive"])
def test_s3_events_of_every_version_take_effect(ada: Subscriber, version: str) -> None:
    ada.shop.endpoint.api_version = version
    ada.subscribe("plain")
    ada.shop.fake.confirm(intent_of(ada))
    ada.shop.tell()
    assert (ada.row().status, ada.invoices()[0].status) == ("active", "paid")
    told = [event for event in ada.shop.fake.event_types() if event.startswith(("invoice", "customer.subscription"))]
    assert "invoice_payment.paid" in told


def test_s4_paid_and_payment_succeeded_extend_once(subscribed: Subscriber, happened: list[Any]) -> None:
    ada = subscribed
    before = ada.row().period_end
    ada.pass_time(days=31, hours=2)
    after = ada.row()
    ada.shop.tell("invoice.*", again=True, copies=2, shuffle_seed=4)
    again = ada.row()
    assert before is not None
    assert after.period_end is not None
    assert timedelta(days=27) < after.period_end - before < timedelta(days=32)
    assert (again.period_end, again.version) == (after.period_end, after.version)
    assert len(ada.invoices()) == 2
    assert [event for event in happened if isinstance(event, SubscriptionChanged)] == []


def test_s5_each_failed_try_is_told_once_and_the_fourth_suspends(subscribed: Subscriber, happened: list[Any]) -> None:
    ada = subscribed
    ada.shop.fake.dun([3, 5, 7, 7], "unpaid")
    cannot_pay(ada)
    ada.pass_time(days=31, hours=2)
    for days in (3, 5):
        ada.pass_time(days=days)
    assert ada.mails() == ["renewal-failed"] * 3
    assert (ada.show()["suspended"], ada.show()["entitled"]) == (False, True)
    ada.pass_time(days=7)
    ada.shop.tell(again=True, copies=2, shuffle_seed=7)
    assert ada.mails() == ["renewal-failed"] * 3 + ["subscription-suspended"]
    assert (ada.show()["status"], ada.show()["suspended"], ada.show()["entitled"]) == ("past_due", True, False)
    suspended = [event for event in happened if isinstance(event, SubscriptionChanged)][-1]
    assert (suspended.is_entitled, suspended.plan) == (False, "plain")
    listed = ada.shop.staff.get(f"{ADMIN_STRIPE}/subscriptions?suspended=true").json["data"]
    assert [row["id"] for row in listed] == [str(ada.row().id)]
    ada.save("pm_card_visa")
    assert (ada.change("pay")["suspended"], ada.show()["entitled"]) == (False, True)


def test_s5_the_shop_says_which_tries_are_told_and_which_one_suspends(
    subscribed: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = subscribed
    wanted = {"dunning_mails": (2,), "dunning_suspend_at": 3, "customer_changes": ("cancel",)}
    monkeypatch.setattr(ada.shop.stripe, "settings", ada.shop.stripe.settings.model_copy(update=wanted))
    cannot_pay(ada)
    ada.pass_time(days=31, hours=2)
    assert ada.mails() == []
    ada.pass_time(days=3)
    ada.pass_time(days=5)
    assert ada.mails() == ["renewal-failed", "subscription-suspended"]
    ada.change("pay", status=403)


def test_s5_the_last_try_suspends_whatever_its_number(subscribed: Subscriber) -> None:
    ada = subscribed
    ada.shop.fake.dun([3], "past_due")
    cannot_pay(ada)
    ada.pass_time(days=31, hours=2)
    ada.pass_time(days=3)
    assert ada.invoices()[-1].next_payment_attempt is None
    assert ada.mails() == ["renewal-failed", "subscription-suspended"]


def test_s5_a_bank_that_wants_to_see_its_customer_is_told_with_a_link(subscribed: Subscriber) -> None:
    ada = subscribed
    ada.save("pm_card_authenticationRequired")
    ada.pass_time(days=31, hours=2)
    assert ada.mails() == ["renewal-confirm"]
    assert ada.show()["invoices"][0]["url"].startswith(ada.shop.fake.url)
    ada.shop.fake.authenticate(intent_of(ada))
    ada.shop.tell()
    assert ada.row().status == "active"
    assert ada.mails() == ["renewal-confirm", "subscription-recovered"]


def test_s6_access_ends_with_the_subscription(subscribed: Subscriber) -> None:
    ada = subscribed
    assert ada.change("cancel")["cancel_at_period_end"]
    assert (ada.show()["entitled"], ada.show()["ended_at"]) == (True, None)
    # The hour strikes, and Stripe has not told yet.
    ada.shop.clock.tick(days=32)
    assert not ada.show()["entitled"]
    ada.pass_time(hours=1)
    assert (ada.show()["status"], ada.show()["ended_at"] is None) == ("canceled", False)
    assert ada.mails() == ["subscription-ended"]


def test_s6_what_is_paid_after_the_end_goes_back_once(subscribed: Subscriber) -> None:
    ada = subscribed
    ada.shop.fake.dun([3], "canceled")
    cannot_pay(ada)
    ada.pass_time(days=31, hours=2)
    ada.pass_time(days=3)
    assert ada.row().status == "canceled"
    ada.shop.clock.tick(minutes=5)
    ada.v1.invoices.pay(ada.invoices()[-1].id, {"payment_method": ada.save("pm_card_visa")})
    ada.shop.tell()
    ada.shop.work()
    ada.shop.tell(again=True)
    assert (ada.invoices()[-1].status, ada.invoices()[-1].refund) == ("paid", "done")
    assert [refund["amount"] for refund in ada.shop.fake.world.every("refund")] == [1_000]
    assert ada.mails()[-1] == "late-payment-refunded"
    assert ada.mails().count("late-payment-refunded") == 1
    assert not ada.show()["entitled"]


def test_r9_a_renewal_that_the_bank_takes_back_flags_its_invoice(subscribed: Subscriber) -> None:
    ada = subscribed
    ada.shop.endpoint.enabled_events = ("*",)
    dispute = ada.shop.fake.dispute(str(ada.invoices()[0].intent_id))
    ada.shop.tell(copies=2)
    assert ada.show()["invoices"][0]["dispute"] == "needs_response"
    ada.shop.fake.end_dispute(dispute["id"], "won")
    ada.shop.tell()
    assert ada.show()["invoices"][0]["dispute"] == "won"


def test_s7_a_webhook_that_is_faster_than_our_own_call_makes_no_second_subscription(ada: Subscriber) -> None:
    pause = ada.shop.fake.go_wrong(CREATE, "pause", "after")
    asking = threading.Thread(target=lambda: ada.subscribe("basic"))
    asking.start()
    assert pause.reached.wait(120)
    ada.shop.tell()
    assert ada.row().status == "trialing"
    pause.release()
    asking.join()
    with Session(ada.shop.engine) as session:
        assert session.scalar(select(func.count()).select_from(StripeSubscription)) == 1
    assert (ada.row().status, ada.row().wish) == ("trialing", None)


def test_s7_events_in_any_order_come_to_the_same(ada: Subscriber) -> None:
    ada.subscribe("basic")
    ada.shop.tell("customer.subscription.updated")
    ada.shop.tell(shuffle_seed=3, copies=2)
    ada.shop.tell("customer.subscription.created", again=True)
    assert ada.row().status == "trialing"
    assert len(ada.invoices()) == 1


def test_s7_what_is_made_at_stripe_for_a_customer_of_ours_is_taken_in(subscribed: Subscriber) -> None:
    ada = subscribed
    price = ada.stripe()["items"].data[0].price.id
    ada.v1.subscriptions.create({"customer": str(ada.customer().customer_id), "items": [{"price": price}]})
    stranger = ada.v1.customers.create({})
    ada.v1.subscriptions.create({"customer": stranger.id, "items": [{"price": price}], "trial_period_days": 3})
    ada.shop.tell()
    shown = ada.client.get(SUBSCRIPTIONS).json["data"]
    assert [(row["plan"]["code"], row["status"]) for row in shown] == [("plain", "active"), ("plain", "active")]


def test_s7_an_answer_that_is_lost_is_asked_for_again(ada: Subscriber) -> None:
    ada.shop.fake.go_wrong(CREATE, "cut", "after", times=1)
    started = ada.subscribe("basic")
    assert (started["status"], started["pending"]) == ("creating", "create")
    ada.shop.clock.tick(seconds=11)
    ada.shop.work()
    assert ada.row().status == "trialing"
    assert sum(1 for _ in ada.shop.fake.world.every("subscription")) == 1


def test_s8_the_end_of_a_trial_is_told_once(ada: Subscriber) -> None:
    ada.subscribe("basic")
    ada.pass_time(days=8)
    ada.shop.tell("customer.subscription.trial_will_end", again=True, copies=3)
    assert ada.mails() == ["trial-ends"]
    # Ended at once, there is nothing to warn of.
    ada.save("pm_card_visa")
    ada.v1.subscriptions.update(str(ada.row().subscription_id), {"trial_end": "now"})
    ada.shop.tell()
    assert ada.shop.fake.event_types().count("customer.subscription.trial_will_end") == 2
    assert ada.mails() == ["trial-ends"]


def test_s8_a_plan_has_one_trial_for_each_customer(ada: Subscriber) -> None:
    ada.subscribe("basic")
    ada.change("cancel", at_once=True)
    assert ada.row().status == "canceled"
    assert ada.subscribe("basic")["status"] == "incomplete"


def test_s9_details_of_states_may_be_there(subscribed: Subscriber) -> None:
    ada = subscribed
    shown = ada.change("pause")
    assert (shown["status"], shown["entitled"]) == ("paused", False)
    assert ada.stripe().status_details.paused.type == "subscription"
    ada.shop.endpoint.enabled_events = ("*",)
    invoice = ada.shop.fake.world.objects[str(ada.row().latest_invoice)]
    invoice["status_details"] = {"uncollectible": {"reason": "something_new"}}
    ada.shop.fake.emit("invoice.updated", invoice)
    ada.shop.tell()
    assert ada.invoices()[0].status == "paid"
    assert (ada.change("resume")["status"], len(ada.invoices())) == ("active", 2)


def test_s10_the_default_way_to_pay_keeps_in_step(subscribed: Subscriber) -> None:
    ada = subscribed
    first, second = str(ada.customer().default_payment_method), ada.save("pm_card_mastercard")
    ada.shop.fake.renew_card(second, 2040, "1111")
    ada.shop.tell()
    with Session(ada.shop.engine) as session:
        row = session.get_one(StripePaymentMethod, second)
        assert (row.last4, row.exp_year) == ("1111", 2040)
    assert ada.stripe().default_payment_method == second
    ada.v1.payment_methods.detach(second)
    ada.shop.tell()
    ada.run(tell_defaults)
    assert ada.customer().default_payment_method == first
    assert ada.stripe().default_payment_method == first
    found = ada.v1.customers.retrieve(str(ada.customer().customer_id))
    assert found.invoice_settings is not None
    assert found.invoice_settings.default_payment_method == first


def test_a_switch_is_paid_now_or_later_or_not_at_all(subscribed: Subscriber) -> None:
    ada = subscribed
    ada.pass_time(days=10)
    query = f"subscription={ada.row().id}&plan=pro"
    cost = ada.client.get(f"{PAY}/subscription-preview?{query}").json["due"]["amount"]
    assert 0 < cost < 2_000
    assert ada.change("switch", plan="pro")["plan"]["code"] == "pro"
    assert ada.invoices()[-1].amount_paid == cost
    assert ada.change("switch", plan="plain", proration="later")["plan"]["code"] == "plain"
    assert len(ada.invoices()) == 2
    assert ada.change("switch", plan="pro", proration="none")["plan"]["code"] == "pro"
    with Session(ada.shop.engine) as session:
        now = ada.shop.clock.now()
        assert is_entitled(session, ada.user_id, "exports", now=now)
        assert features_of(session, [ada.user_id], now=now) == {ada.user_id: {"reports", "exports"}}


def test_who_cannot_pay_for_a_dearer_plan_keeps_the_other(subscribed: Subscriber) -> None:
    ada = subscribed
    cannot_pay(ada)
    ada.pass_time(days=10)
    shown = ada.change("switch", plan="pro")
    assert (shown["plan"]["code"], shown["status"], shown["pending"]) == ("plain", "active", None)
    assert "declined" in shown["error"]


def test_a_cancellation_is_taken_back(subscribed: Subscriber) -> None:
    ada = subscribed
    assert ada.change("cancel")["cancel_at_period_end"]
    assert not ada.change("keep")["cancel_at_period_end"]
    assert ada.change("cancel", at_once=True)["status"] == "canceled"
    assert ada.change("keep", status=409)["type"] == "/problems/stripe/wrong-subscription-state"


def test_one_thing_is_wanted_at_a_time_and_carried_out_however_often_it_takes(subscribed: Subscriber) -> None:
    ada = subscribed
    path = f"{SUBSCRIPTIONS}/{ada.row().id}/changes"
    ada.client.post_json(path, {"action": "pause"}, status=202)
    refused = ada.client.post_json(path, {"action": "cancel"}, status=409).json
    assert refused["type"] == "/problems/stripe/change-under-way"
    ada.shop.fake.go_wrong(f"POST /v1/subscriptions/{ada.row().subscription_id}/pause", status=503)
    ada.shop.work()
    assert (ada.row().status, ada.row().wish is None) == ("active", False)
    ada.shop.clock.tick(seconds=11)
    ada.shop.work()
    assert (ada.row().status, ada.row().wish) == ("paused", None)


def test_nobody_sees_or_changes_the_subscriptions_of_others(
    subscribed: Subscriber, sign_in: Callable[..., Any]
) -> None:
    ada = subscribed
    path = f"{SUBSCRIPTIONS}/{ada.row().id}"
    other = sign_in().client
    assert other.get(SUBSCRIPTIONS).json["data"] == []
    other.get(path, status=404)
    other.post_json(f"{path}/changes", {"action": "cancel"}, status=404)
    other.get(f"{PAY}/subscription-preview?subscription={ada.row().id}&plan=pro", status=404)
    stolen = {"plan": "plain", "payment_method": ada.customer().default_payment_method}
    assert other.post_json(SUBSCRIPTIONS, stolen, status=422).json["type"] == "/problems/invalid-input"
    ada.shop.guest().get(SUBSCRIPTIONS, status=401)
    ada.shop.guest().post_json(SUBSCRIPTIONS, {"plan": "plain"}, status=401)
    other.get(f"{ADMIN_STRIPE}/subscriptions", status=403)


def test_staff_see_and_change_subscriptions_and_plans(subscribed: Subscriber) -> None:
    ada = subscribed
    staff = ada.shop.staff
    path = f"{ADMIN_STRIPE}/subscriptions/{ada.row().id}"
    shown = staff.get(path).json
    assert (shown["subscription_id"], len(shown["invoices"])) == (ada.row().subscription_id, 1)
    staff.post_json(f"{path}/changes", {"action": "cancel", "at_once": True}, status=202)
    ada.shop.work()
    assert ada.row().status == "canceled"
    plan = next(row for row in staff.get(f"{ADMIN_STRIPE}/plans").json["data"] if row["code"] == "plain")
    assert (plan["state"], plan["price_id"] is None) == ("made", False)
    staff.patch_json(f"{ADMIN_STRIPE}/plans/{plan['id']}", {"is_active": False})
    assert ada.subscribe("plain", status=409)["type"] == "/problems/stripe/plan-not-ready"
    body = {"code": "plain", "name": "Again", "amount": 1, "currency": "EUR"}
    assert staff.post_json(f"{ADMIN_STRIPE}/plans", body, status=409).json["type"] == "/problems/stripe/plan-exists"


def test_a_plan_whose_answer_is_lost_is_made_once(shop: Shop) -> None:
    shop.fake.go_wrong("POST /v1/prices", "cut", "after", times=1)
    offer(shop, ("basic", 1_000, {}))
    assert shop.guest().get(f"{PAY}/plans").json["data"] == []
    shop.clock.tick(seconds=11)
    shop.work()
    assert [plan["code"] for plan in shop.guest().get(f"{PAY}/plans").json["data"]] == ["basic"]
    assert sum(1 for _ in shop.fake.world.every("price")) == 1


def test_a_renewal_that_is_not_told_is_asked_for(subscribed: Subscriber) -> None:
    ada = subscribed
    before = ada.row().period_end
    ada.shop.clock.tick(days=32)
    ada.run(read_overdue_subscriptions)
    after = ada.row().period_end
    assert before is not None
    assert after is not None
    assert after > before
    assert len(ada.invoices()) == 2


def test_a_customer_who_has_another_address_is_told_to_stripe(subscribed: Subscriber) -> None:
    ada = subscribed
    with transaction(ada.shop.engine) as session:
        session.get_one(User, ada.user_id).email = "countess@example.com"
    for _ in range(2):
        ada.run(sync_customers)
    customer = str(ada.customer().customer_id)
    assert ada.v1.customers.retrieve(customer).email == "countess@example.com"
    assert len(ada.shop.calls(f"POST /v1/customers/{customer}")) == 2  # this, and the default way to pay


def test_who_has_left_the_shop_pays_for_nothing_any_more(subscribed: Subscriber) -> None:
    ada = subscribed
    with transaction(ada.shop.engine) as session:
        user = session.get_one(User, ada.user_id)
        user.deleted_at, user.is_active, user.password_hash = ada.shop.clock.now(), False, None
    ada.run(sync_customers)
    ada.shop.work()
    assert ada.stripe().status == "canceled"
    ada.shop.tell()
    assert (ada.row().status, ada.mails()) == ("canceled", [])


def test_an_answer_that_is_older_than_what_is_written_is_asked_for_again(subscribed: Subscriber) -> None:
    ada = subscribed
    subscription_id = str(ada.row().subscription_id)
    with Session(ada.shop.engine) as session:
        [event] = session.scalars(
            select(StripeEvent).where(StripeEvent.type == "customer.subscription.updated").order_by(StripeEvent.id)
        ).all()
        event.state = "received"
        session.commit()
        event_id = event.id
    # Stripe answers, but the answer is late; meanwhile the subscription is paused.
    pause = ada.shop.fake.go_wrong(f"GET /v1/subscriptions/{subscription_id}", "pause", "after")
    late = threading.Thread(target=lambda: _run(ada, event_id))
    late.start()
    assert pause.reached.wait(120)
    ada.v1.subscriptions.pause(subscription_id)
    settle(ada.shop.stripe, subscription_id, now=ada.shop.clock.now())
    assert ada.row().status == "paused"
    pause.release()
    late.join()
    assert ada.row().status == "paused"
    with Session(ada.shop.engine) as session:
        assert session.get_one(StripeEvent, event_id).state == "received"
    ada.shop.clock.tick(seconds=30)
    ada.shop.work()
    with Session(ada.shop.engine) as session:
        assert session.get_one(StripeEvent, event_id).state == "processed"
    assert ada.row().status == "paused"


def _run(ada: Subscriber, event_id: UUID) -> None:
    with transaction(ada.shop.engine) as session:
        process_event.enqueue(session, now=ada.shop.clock.now(), event=event_id)
    ada.shop.work()


def test_features_are_groups_that_permissions_can_be_given_to(subscribed: Subscriber) -> None:
    ada = subscribed
    ada.change("switch", plan="pro")
    with Session(ada.shop.engine) as session:
        context = SimpleNamespace(actor=SimpleNamespace(user_id=ada.user_id), session=session, now=ada.shop.clock.now())
        assert set(commerce_principals(context)) == {"stripe.reports", "stripe.exports"}  # type: ignore[arg-type]


def test_the_condition_and_the_row_agree_on_who_is_entitled(subscribed: Subscriber) -> None:
    ada = subscribed
    now = ada.shop.clock.now()
    past, future = now - timedelta(days=1), now + timedelta(days=1)
    cases: list[dict[str, Any]] = [
        {},
        {"suspended_at": past},
        {"cancel_at_period_end": True, "period_end": past},
        {"cancel_at_period_end": True, "period_end": future},
        {"period_end": past},
        {"cancel_at": past},
        {"ended_at": future},
        {"ended_at": past},
        {"status": "paused"},
    ]
    with Session(ada.shop.engine) as session:
        for case in cases:
            row = session.get_one(StripeSubscription, ada.row().id)
            for name, value in case.items():
                setattr(row, name, value)
            session.flush()
            found = session.scalar(select(func.count()).where(StripeSubscription.id == row.id, entitles(now)))
            assert bool(found) is does_entitle(row, now=now), case
            session.rollback()
