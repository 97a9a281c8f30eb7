"""Collecting: P1 to P18 of the plugin's README, on the fake Stripe."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import pytest
import stripe
from babel.numbers import get_currency_precision
from commerce_stripe_payments.amounts import (
    THREE_DECIMAL,
    ZERO_DECIMAL,
    AmountDoesNotFit,
    chargeable,
    from_stripe,
    to_stripe,
)
from commerce_stripe_payments.models import StripeEvent
from commerce_stripe_payments.payments import declines
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session
from stripe_shop import API, PAY, Shop
from stripe_signing import SETTINGS

from commerce_core.orders.models import Order
from commerce_core.payments.closing import MOST_ATTEMPTS
from commerce_core.payments.sweep import expire_orders
from commerce_core.testing import assert_stock_adds_up, concurrently

pytestmark = pytest.mark.commerce(plugins=["stripe"], settings=SETTINGS)
INTENTS = "POST /v1/payment_intents"


def test_an_order_is_paid_by_an_intent(shop: Shop) -> None:
    order = shop.order()
    started = shop.intent(order)
    assert (started["status"], started["error"]) == ("requires_payment_method", None)
    assert started["client_secret"].startswith(shop.intent_id(order))
    shop.fake.confirm(shop.intent_id(order))
    assert shop.states(order) == ("pending", "pending")
    shop.tell()
    assert shop.states(order) == ("processing", "paid")
    assert shop.level(order) == (9, 0)
    assert shop.mails() == ["order-placed", "order-paid"]
    assert_stock_adds_up(shop.engine)


def test_the_client_is_told_what_it_needs_and_nothing_secret(shop: Shop) -> None:
    config = shop.guest().get(f"{PAY}/config").json
    assert config == {
        "publishable_key": SETTINGS["stripe.publishable_key"],
        "account": None,
        "mode": "test",
        "demo": False,
        "demo_address": None,
        "capture": "automatic",
        "api_version": "2026-10-28.endive",
    }


def test_p1_the_attempt_is_committed_before_stripe_is_asked(shop: Shop) -> None:
    order = shop.order()
    seen: list[Any] = []
    fault = shop.fake.go_wrong(INTENTS, "pause")
    asking = threading.Thread(target=lambda: seen.append(shop.intent(order)))
    asking.start()
    assert fault.reached.wait(120)
    [attempt] = shop.attempts(order)
    assert (attempt.state, attempt.intent_id, str(attempt.payment_id)) == ("creating", None, order["payments"][0]["id"])
    fault.release()
    asking.join()
    [call] = shop.calls(INTENTS)
    assert parse_qs(call["body"])["metadata[commerce_attempt]"] == [str(attempt.id)]
    assert seen[0]["client_secret"].startswith(shop.intent_id(order))


def test_p1_an_intent_that_no_row_is_about_is_cancelled_or_given_back(shop: Shop) -> None:
    client = shop.fake.client()
    metadata = {"commerce_site": str(shop.stripe.site), "commerce_attempt": str(UUID(int=7))}
    params: Any = {"amount": 1_999, "currency": "usd", "metadata": metadata}
    open_one = client.v1.payment_intents.create(params)
    paid_one = client.v1.payment_intents.create({**params, "payment_method": "pm_card_visa", "confirm": True})
    foreign = client.v1.payment_intents.create({"amount": 1_999, "currency": "usd"})
    shop.tell()
    for _ in range(8):
        shop.clock.tick(minutes=15)
        shop.work()
    assert client.v1.payment_intents.retrieve(open_one.id).status == "canceled"
    assert client.v1.payment_intents.retrieve(foreign.id).status == "requires_payment_method"
    [refund] = client.v1.refunds.list({"payment_intent": paid_one.id}).data
    assert refund.amount == 1_999


def test_p2_a_retry_has_the_same_key_and_body_and_another_attempt_has_another(shop: Shop) -> None:
    order = shop.order()
    shop.fake.go_wrong(INTENTS, "cut", times=2)
    shop.intent(order)
    shop.clock.tick(seconds=10)
    shop.work()
    shop.clock.tick(minutes=1)
    shop.work()
    first, second, third = shop.calls(INTENTS)
    assert first["body"] == second["body"] == third["body"]
    [attempt] = shop.attempts(order)
    assert attempt.state == "open"
    assert shop.fake.client().v1.payment_intents.list().data[0].id == attempt.intent_id
    shop.fake.go_wrong(INTENTS, status=400, code="parameter_unknown")
    other = shop.order()
    shop.intent(other, status=502)
    shop.intent(other)
    assert [attempt.state for attempt in shop.attempts(other)] == ["refused", "open"]


def test_p3_an_answer_that_is_lost_is_given_again_and_nothing_is_made_twice(shop: Shop) -> None:
    order = shop.order()
    shop.fake.go_wrong(INTENTS, "cut", "after")
    assert shop.intent(order)["status"] == "preparing"
    assert shop.intent(order)["status"] == "requires_payment_method"
    assert len(shop.calls(INTENTS)) == 2
    assert len(shop.fake.client().v1.payment_intents.list().data) == 1
    assert len(shop.attempts(order)) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_p4_while_the_outcome_is_unknown_nobody_is_told_to_pay_again(shop: Shop, when: Any) -> None:
    order = shop.order()
    shop.fake.go_wrong(INTENTS, "cut", when, times=3)
    for _ in range(3):
        assert shop.intent(order) == {
            "payment_id": order["payments"][0]["id"],
            "status": "preparing",
            "client_secret": None,
            "error": None,
            "decline_code": None,
        }
    assert shop.states(order) == ("pending", "pending")
    # Told by the webhook, or asked again by the worker: whichever comes first.
    shop.tell()
    shop.clock.tick(minutes=10)
    shop.work()
    assert [attempt.state for attempt in shop.attempts(order)] == ["open"]
    assert len(shop.fake.client().v1.payment_intents.list().data) == 1


def test_p5_a_key_that_is_in_use_is_waited_for(shop: Shop) -> None:
    order = shop.order()
    fault = shop.fake.go_wrong(INTENTS, "pause")
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(shop.intent(order)))
    asking.start()
    assert fault.reached.wait(120)
    assert shop.intent(order)["status"] == "preparing"
    fault.release()
    asking.join()
    assert answers[0]["status"] == "requires_payment_method"
    assert len(shop.attempts(order)) == 1


def test_p6_a_key_for_two_things_is_an_alarm_and_not_the_customers_fault(shop: Shop) -> None:
    order = shop.order()
    shop.fake.go_wrong(INTENTS, "cut")
    shop.intent(order)
    [attempt] = shop.attempts(order)
    key = f"{shop.stripe.key_prefix}:intent:{attempt.id}"
    shop.fake.client().v1.payment_intents.create({"amount": 500, "currency": "usd"}, {"idempotency_key": key})
    problem = shop.intent(order, status=502)
    assert problem["type"] == "/problems/stripe/cannot-start"
    assert shop.attempts(order)[0].state == "refused"
    assert shop.states(order) == ("pending", "pending")


def test_p7_an_error_that_stripe_remembers_does_not_lock_the_customer_out(shop: Shop) -> None:
    order = shop.order()
    shop.fake.go_wrong(INTENTS, "error", "after", status=500)
    assert shop.intent(order)["status"] == "preparing"
    # The same key is answered the same, out of Stripe's memory. So the next one is another attempt.
    assert shop.intent(order, status=502)["type"] == "/problems/stripe/cannot-start"
    assert shop.intent(order)["client_secret"] is not None
    assert [attempt.state for attempt in shop.attempts(order)] == ["refused", "open"]
    # What the first has made all the same is nobody's to pay.
    shop.tell()
    intents = shop.fake.client().v1.payment_intents.list().data
    assert sorted(intent.status for intent in intents) == ["canceled", "requires_payment_method"]


def test_p8_a_declined_card_is_told_in_words_and_can_be_tried_again(shop: Shop) -> None:
    order = shop.order()
    intent = shop.pay(order, "pm_card_visa_chargeDeclinedInsufficientFunds")
    shop.tell()
    assert shop.states(order) == ("pending", "failed")
    [attempt] = shop.attempts(order)
    assert (attempt.decline_code, attempt.error) == ("insufficient_funds", declines.text_of("insufficient_funds"))
    assert "failed" in shop.mails()[-1]
    shop.fake.confirm(intent, "pm_card_visa")
    shop.tell()
    assert shop.states(order) == ("processing", "paid")
    assert len(shop.attempts(order)) == 1


def test_p8_nobody_is_told_that_the_card_was_stolen(shop: Shop) -> None:
    order = shop.order()
    shop.pay(order, "pm_card_visa_chargeDeclinedStolenCard")
    shop.tell()
    assert shop.attempts(order)[0].error == declines.GENERIC


def test_p9_a_bank_that_wants_to_see_its_customer_is_waited_for(shop: Shop) -> None:
    order = shop.order()
    intent = shop.pay(order, "pm_card_threeDSecure2Required")
    shop.tell()
    assert shop.states(order) == ("pending", "pending")
    assert shop.level(order) == (10, 1)
    assert shop.intent(order)["status"] == "requires_action"
    stranger = {**order, "client": shop.guest()}
    assert shop.intent(stranger, status=404)["type"] == "/problems/not-found"
    assert shop.intent({**order, "client": shop.staff}, status=404)["type"] == "/problems/not-found"
    shop.fake.authenticate(intent)
    shop.tell()
    assert shop.states(order) == ("processing", "paid")


@pytest.mark.parametrize(("account", "end"), [("success", ("processing", "paid")), ("fails", ("pending", "failed"))])
def test_p10_slow_money_keeps_its_order_open(shop: Shop, account: str, end: Any) -> None:
    order = shop.order()
    intent = shop.pay(order, f"pm_sepaDebit_{account}")
    shop.tell()
    shop.clock.tick(days=3)
    shop.work()
    assert shop.states(order) == ("pending", "pending")
    assert shop.level(order) == (10, 1)
    body = {"reason": "x", "amount": 1}
    shop.staff.post_json(f"{API}/admin/orders/{order['id']}/refunds", body, status=409)
    shop.staff.post_json(f"{API}/admin/orders/{order['id']}/fulfillments", {}, status=409)
    shop.fake.settle(intent)
    shop.tell()
    assert shop.states(order) == end
    shop.clock.tick(hours=1)
    shop.work()
    assert shop.states(order)[0] == ("processing" if account == "success" else "cancelled")
    assert_stock_adds_up(shop.engine)


@pytest.mark.parametrize("wrong", [{"amount_received": 1}, {"currency": "jpy"}])
def test_p11_another_amount_or_currency_pays_nothing(shop: Shop, wrong: dict[str, Any]) -> None:
    order = shop.order()
    intent = shop.pay(order)
    shop.fake.world.objects[intent].update(wrong)
    shop.tell()
    assert shop.states(order) == ("pending", "pending")
    with Session(shop.engine) as session:
        dead = session.scalar(select(func.count()).where(StripeEvent.state == "dead", StripeEvent.object_id == intent))
    assert dead
    # Money has come: the order does not lapse by itself before somebody has looked.
    shop.clock.tick(hours=1)
    shop.work()
    assert shop.states(order) == ("pending", "pending")


def test_p12_metadata_alone_is_not_believed(shop: Shop) -> None:
    order = shop.order()
    shop.intent(order)
    mine = shop.fake.client().v1.payment_intents.retrieve(shop.intent_id(order))
    forged: Any = {"amount": 1_999, "currency": "usd", "metadata": dict(mine.metadata.to_dict())}
    cheap = {**forged, "amount": 50}
    for params in (forged, cheap):
        shop.fake.client().v1.payment_intents.create({**params, "payment_method": "pm_card_visa", "confirm": True})
    shop.tell()
    assert shop.states(order) == ("pending", "pending")
    assert shop.attempts(order)[0].intent_id == mine.id


CURRENCIES = [
    ("USD", 1_999, 1_999),
    ("EUR", 50, 50),
    ("JPY", 1_999, 1_999),
    ("KRW", 50_000, 50_000),
    ("CLP", 990, 990),
    ("UGX", 5_000, 500_000),
    ("ISK", 990, 99_000),
    ("KWD", 1_230, 1_230),
    ("BHD", 10, 10),
    ("HUF", 199_000, 199_000),
    ("TWD", 10_000, 10_000),
]


@pytest.mark.parametrize(("currency", "ours", "theirs"), CURRENCIES)
def test_p13_minor_units_are_exact_both_ways(currency: str, ours: int, theirs: int) -> None:
    assert to_stripe(ours, currency) == theirs
    assert from_stripe(theirs, currency.lower()) == ours


def test_p13_what_does_not_fit_is_refused() -> None:
    for amount, currency in ((1_235, "KWD"), (49, "USD"), (100_000_000, "USD"), (1_000_000, "UGX"), (17_499, "HUF")):
        with pytest.raises(AmountDoesNotFit):
            chargeable(amount, currency)
    for code in ZERO_DECIMAL:
        assert to_stripe(10 ** get_currency_precision(code), code) == 1, code
    for code in THREE_DECIMAL:
        assert to_stripe(10, code) == 10, code


def test_p13_an_order_that_is_too_cheap_is_told_so(shop: Shop) -> None:
    order = shop.order(price=49)
    assert shop.intent(order, status=409)["type"] == "/problems/stripe/amount-does-not-fit"


@pytest.mark.parametrize("stock", [0, 1])
def test_p14_a_payment_that_comes_too_late_takes_the_stock_again_or_goes_back(shop: Shop, stock: int) -> None:
    variant = shop.make_variant(stock=1)
    order = shop.order(variant=variant)
    intent = shop.pay(order, "pm_sepaDebit_success")
    # Nobody has told us that it is under way, and nobody can ask.
    shop.fake.go_wrong("*", "cut", times=1_000)
    shop.clock.tick(minutes=61)
    for _ in range(MOST_ATTEMPTS + 1):
        assert shop.states(order)[0] == "pending"
        shop.clock.tick(minutes=2)
        expire_orders(shop.engine, shop.application.registry, now=shop.clock.now())
    shop.fake.recover()
    assert shop.states(order)[0] == "cancelled"
    if not stock:
        shop.buy(variant=variant)
    shop.fake.settle(intent)
    shop.tell()
    shop.work()
    if stock:
        assert shop.states(order) == ("processing", "paid")
    else:
        shop.tell()
        assert shop.states(order) == ("cancelled", "refunded")
        assert "order-refunded" in shop.mails()
        [refund] = shop.fake.client().v1.refunds.list({"payment_intent": intent}).data
        assert (refund.amount, refund.status) == (9_999, "succeeded")
    assert_stock_adds_up(shop.engine)


def test_p15_an_order_that_lapses_cancels_its_intent_first(shop: Shop) -> None:
    order = shop.order()
    shop.intent(order)
    shop.clock.tick(hours=1)
    shop.work()
    assert shop.states(order)[0] == "cancelled"
    assert shop.fake.client().v1.payment_intents.retrieve(shop.intent_id(order)).status == "canceled"
    assert shop.attempts(order)[0].state == "canceled"


def test_p15_the_race_is_lost_to_a_customer_who_pays_in_the_last_moment(shop: Shop) -> None:
    order = shop.order()
    shop.pay(order)
    shop.clock.tick(hours=1)
    shop.work()
    assert shop.states(order) == ("processing", "paid")
    shop.tell()
    assert shop.states(order) == ("processing", "paid")
    assert shop.mails().count("order-paid") == 1


def test_p15_a_cancelled_order_cannot_be_paid_any_more(shop: Shop) -> None:
    order = shop.order()
    shop.intent(order)
    order["client"].post_json(f"{API}/orders/{order['id']}/cancel", {})
    shop.work()
    with pytest.raises(stripe.InvalidRequestError):
        shop.fake.client().v1.payment_intents.confirm(shop.intent_id(order), {"payment_method": "pm_card_visa"})


def test_p16_a_second_intent_cancels_the_first_and_what_is_paid_twice_goes_back(shop: Shop) -> None:
    order = shop.order()
    first = shop.pay(order, "pm_card_visa_chargeDeclined")
    shop.tell()
    client = order["client"]
    client.post_json(f"{API}/orders/{order['id']}/payments", {"provider": "stripe"})
    shop.intent(order)
    # Both are paid, before the job that cancels the first has run.
    shop.fake.confirm(first)
    second = shop.intent_id(order)
    shop.fake.confirm(second)
    assert first != second
    shop.tell()
    shop.tell()
    assert shop.states(order) == ("processing", "paid")
    refunds = shop.fake.client().v1.refunds.list().data
    assert [refund.amount for refund in refunds] == [1_999]
    assert shop.level(order) == (9, 0)


def test_p16_a_second_intent_cancels_the_first(shop: Shop) -> None:
    order = shop.order()
    first = shop.pay(order, "pm_card_visa_chargeDeclined")
    shop.tell()
    shop.intent(order)
    shop.work()
    assert shop.fake.client().v1.payment_intents.retrieve(first).status == "canceled"
    assert shop.intent_id(order) != first


def test_p16_the_second_intent_is_paid_before_the_first_is_cancelled(shop: Shop, sign_in: Any) -> None:
    """The workers are behind: the first one is open at Stripe, and the payment is called by its name."""
    client = sign_in("customer").client
    order = shop.order(client)
    shop.intent(order)
    first = shop.intent_id(order)
    shop.intent(order, save=True)
    second = shop.intent_id(order)
    assert first != second
    shop.fake.confirm(second)
    assert client.get(f"{PAY}/return?payment_intent={second}").json["status"] == "succeeded"
    assert shop.states(order) == ("processing", "paid")
    shop.work()
    shop.tell()
    assert shop.fake.client().v1.payment_intents.retrieve(first).status == "canceled"
    assert shop.states(order) == ("processing", "paid")
    assert shop.fake.client().v1.refunds.list().data == []
    assert_stock_adds_up(shop.engine)


def test_an_intent_that_stripe_has_forgotten_is_made_anew(shop: Shop) -> None:
    """The demo's fake forgets everything when it ends; and somebody may change the account."""
    order = shop.order()
    shop.intent(order)
    first = shop.intent_id(order)
    shop.fake.world.remove(shop.fake.world.objects[first])
    started = shop.intent(order)
    assert started["status"] == "requires_payment_method"
    assert [attempt.state for attempt in shop.attempts(order)] == ["canceled", "open"]
    shop.fake.confirm(shop.intent_id(order))
    shop.tell()
    assert shop.states(order) == ("processing", "paid")


def test_p17_the_address_that_customers_come_back_to_proves_nothing(shop: Shop) -> None:
    order = shop.order()
    shop.intent(order)
    intent = shop.intent_id(order)
    back = f"{PAY}/return?payment_intent={intent}&redirect_status=succeeded&payment_intent_client_secret=x"
    assert shop.guest().get(back).json["status"] == "requires_payment_method"
    assert shop.states(order) == ("pending", "pending")
    shop.fake.confirm(intent)
    assert shop.guest().get(back.replace("succeeded", "failed")).json["status"] == "succeeded"
    assert shop.states(order) == ("processing", "paid")
    assert shop.guest().get(back).json["client_secret"] is None
    shop.guest().get(f"{PAY}/return?payment_intent=pi_nobodys", status=404)


def test_p18_nothing_is_locked_while_stripe_thinks(shop: Shop) -> None:
    order = shop.order()
    fault = shop.fake.go_wrong(INTENTS, "pause")
    asking = threading.Thread(target=lambda: shop.intent(order))
    asking.start()
    assert fault.reached.wait(120)
    with Session(shop.engine) as session, session.begin():
        assert session.scalars(select(Order).with_for_update(nowait=True)).all()
        busy = text("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'")
        assert session.scalar(busy) == 0
    fault.release()
    asking.join()


@pytest.mark.commerce(settings={**SETTINGS, "stripe.capture": "manual"})
def test_staff_capture_what_was_authorized(shop: Shop) -> None:
    order = shop.order()
    shop.pay(order)
    shop.tell()
    assert shop.states(order) == ("pending", "pending")
    assert shop.show(order)["extensions"]["stripe"]["payment"]["status"] == "requires_capture"
    shop.clock.tick(days=2)
    shop.work()
    assert shop.states(order) == ("pending", "pending"), "it waits to be captured"
    path = f"{API}/admin/stripe/orders/{order['id']}/capture"
    assert shop.staff.post_json(path, {}, status=202).json["state"] == "processing"
    shop.work()
    assert shop.states(order) == ("processing", "paid")
    shop.tell()
    shop.staff.post_json(path, {}, status=409)
    assert shop.mails().count("order-paid") == 1


def test_one_intent_for_all_who_ask_at_once(shop: Shop) -> None:
    order = shop.order()
    answers = concurrently([lambda: shop.intent(order) for _ in range(4)])
    assert not [answer for answer in answers if isinstance(answer, BaseException)]
    assert len(shop.attempts(order)) == 1
    assert len(shop.fake.client().v1.payment_intents.list().data) == 1
