"""The second way to pay, on Stripe's page; and what customers have saved to pay with."""

from __future__ import annotations

from typing import Any

import pytest
from commerce_stripe_payments.testing import FakeStripe
from stripe_shop import API, PAY, Shop
from stripe_signing import SETTINGS
from webtest import TestApp

from commerce_core.testing import assert_stock_adds_up

pytestmark = pytest.mark.commerce(
    plugins=["stripe"], settings={**SETTINGS, "stripe.return_url": "https://shop.example/orders/{number}"}
)
METHODS = f"{PAY}/payment-methods"


@pytest.fixture
def ada(sign_in: Any) -> TestApp:
    """A customer who is signed in."""
    client: TestApp = sign_in("customer").client
    return client


def session(shop: Shop, order: Any, *, status: Any = 200) -> Any:
    client: TestApp = order["client"]
    return client.post_json(f"{PAY}/checkout-sessions", {"order_id": order["id"]}, status=status).json


def save(shop: Shop, client: TestApp, method: str = "pm_card_visa") -> str:
    """Save a card, as Stripe's client does it; its id."""
    secret = client.post_json(f"{PAY}/setup-intents", {}).json["client_secret"]
    fake: FakeStripe = shop.fake
    intent = secret.split("_secret_")[0]
    made = fake.client().v1.setup_intents.confirm(intent, {"payment_method": method})
    if made.status == "requires_action":
        fake.authenticate(intent)
    shop.tell()
    return str(client.get(METHODS).json["data"][0]["id"])


def test_an_order_is_paid_on_stripes_page(shop: Shop) -> None:
    order = shop.order()
    started = session(shop, order)
    assert (started["status"], session(shop, order)["url"]) == ("open", started["url"])
    [attempt] = shop.attempts(order)
    shop.fake.finish_checkout(str(attempt.session_id), "pm_card_visa")
    shop.tell(copies=2, shuffle_seed=5)
    assert shop.states(order) == ("processing", "paid")
    assert shop.mails() == ["order-placed", "order-paid"]
    back = shop.guest().get(f"{PAY}/return?session_id={attempt.session_id}").json
    assert back["status"] == "succeeded"
    assert_stock_adds_up(shop.engine)


def test_p15_of_an_order_that_lapses_the_session_is_expired(shop: Shop) -> None:
    order = shop.order()
    session(shop, order)
    shop.clock.tick(hours=1)
    shop.work()
    [attempt] = shop.attempts(order)
    assert shop.fake.client().v1.checkout.sessions.retrieve(attempt.session_id).status == "expired"
    assert (shop.states(order)[0], attempt.state) == ("cancelled", "canceled")
    shop.tell()
    assert shop.states(order)[0] == "cancelled"


def test_p16_an_intent_after_a_session_ends_the_session(shop: Shop) -> None:
    order = shop.order()
    session(shop, order)
    shop.pay(order)
    shop.tell()
    first, second = shop.attempts(order)
    assert (first.kind, first.state, second.kind, second.state) == ("checkout", "canceled", "intent", "succeeded")
    assert shop.fake.client().v1.checkout.sessions.retrieve(first.session_id).status == "expired"


def test_a_card_is_saved_used_made_the_default_and_removed(shop: Shop, ada: TestApp) -> None:
    first = save(shop, ada)
    shop.clock.tick(minutes=1)
    second = save(shop, ada, "pm_card_mastercard")
    shown = ada.get(METHODS).json["data"]
    assert {(row["id"], row["brand"], row["is_default"]) for row in shown} == {
        (first, "visa", True),
        (second, "mastercard", False),
    }
    assert [row["is_default"] for row in ada.put_json(f"{METHODS}/{second}/default", {}).json["data"]].count(True) == 1
    order = shop.order(ada)
    shop.intent(order, payment_method=second)
    shop.fake.client().v1.payment_intents.confirm(shop.intent_id(order))
    shop.tell()
    assert shop.states(order) == ("processing", "paid")
    ada.delete(f"{METHODS}/{second}", status=204)
    shop.tell()
    assert [(row["id"], row["is_default"]) for row in ada.get(METHODS).json["data"]] == [(first, True)]
    assert shop.fake.client().v1.payment_methods.retrieve(second).customer is None
    shop.intent(shop.order(ada), payment_method=second, status=422)


def test_what_others_have_saved_is_not_there(shop: Shop, ada: TestApp, sign_in: Any) -> None:
    saved = save(shop, ada)
    other: TestApp = sign_in("customer").client
    assert other.get(METHODS).json["data"] == []
    other.delete(f"{METHODS}/{saved}", status=404)
    other.put_json(f"{METHODS}/{saved}/default", {}, status=404)
    shop.intent(shop.order(other), payment_method=saved, status=422)
    theirs = shop.order(ada)
    for path in ("intents", "checkout-sessions"):
        other.post_json(f"{PAY}/{path}", {"order_id": theirs["id"]}, status=404)
        shop.guest().post_json(f"{PAY}/{path}", {"order_id": theirs["id"]}, status=404)
    shop.guest().get(METHODS, status=401)
    shop.intent(shop.order(), save=True, status=401)


def test_s10_a_card_that_the_bank_renews_or_stripe_detaches_is_kept_in_step(shop: Shop, ada: TestApp) -> None:
    saved = save(shop, ada)
    shop.fake.renew_card(saved, 2_040, "1881")
    shop.tell()
    [row] = ada.get(METHODS).json["data"]
    assert (row["exp_year"], row["last4"], row["is_default"]) == (2_040, "1881", True)
    shop.fake.client().v1.payment_methods.detach(saved)
    shop.tell(copies=2)
    assert ada.get(METHODS).json["data"] == []


def test_two_requests_at_once_make_one_customer(shop: Shop, ada: TestApp) -> None:
    shop.fake.go_wrong("POST /v1/customers", "cut", "after")
    ada.post_json(f"{PAY}/setup-intents", {}, status=503)
    ada.post_json(f"{PAY}/setup-intents", {})
    assert len(shop.fake.client().v1.customers.list().data) == 1


def test_staff_collect_from_a_saved_card(shop: Shop, ada: TestApp) -> None:
    save(shop, ada)
    order = shop.order(ada)
    charge = f"{API}/admin/stripe/orders/{order['id']}/charge"
    assert shop.staff.post_json(charge, {}, status=202).json["state"] == "creating"
    shop.work()
    assert shop.states(order) == ("processing", "paid")
    shop.tell()
    assert shop.mails().count("order-paid") == 1
    guests = shop.order()
    problem = shop.staff.post_json(f"{API}/admin/stripe/orders/{guests['id']}/charge", {}, status=409).json
    assert problem["type"] == "/problems/stripe/no-saved-method"


def test_who_wants_to_pay_another_way_gets_another_intent(shop: Shop, ada: TestApp) -> None:
    saved = save(shop, ada)
    order = shop.order(ada)
    shop.intent(order)
    shop.intent(order, payment_method=saved)
    shop.intent(order, payment_method=saved)
    shop.intent(order)
    shop.staff.post_json(f"{API}/admin/stripe/orders/{order['id']}/charge", {}, status=202)
    shop.work()
    assert [attempt.state for attempt in shop.attempts(order)] == ["canceled", "canceled", "succeeded"]
    intents = shop.fake.client().v1.payment_intents.list().data
    assert sorted(intent.status for intent in intents) == ["canceled", "canceled", "succeeded"]
    assert shop.states(order) == ("processing", "paid")


def test_p9_a_customer_who_is_not_there_is_asked_by_mail(shop: Shop, ada: TestApp) -> None:
    save(shop, ada, "pm_card_authenticationRequired")
    order = shop.order(ada)
    shop.staff.post_json(f"{API}/admin/stripe/orders/{order['id']}/charge", {}, status=202)
    shop.work()
    shop.tell(copies=2)
    assert shop.states(order) == ("pending", "pending")
    assert [mail for mail in shop.mails() if mail.startswith("stripe-")] == ["stripe-confirm-payment"]
    started = shop.intent(order)
    assert started["client_secret"]
    shop.fake.confirm(shop.intent_id(order), "pm_card_authenticationRequired")
    shop.fake.authenticate(shop.intent_id(order))
    shop.tell()
    assert shop.states(order) == ("processing", "paid")
