"""The fake lets time pass: trials, renewals, dunning, changes; and checkout sessions."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
import stripe
from commerce_stripe_payments.testing import FakeStripe

from commerce_core.testing import StoppedClock


@pytest.fixture
def client(fake: FakeStripe) -> stripe.StripeClient:
    return fake.client()


class Subscriber:
    """A customer with a test clock, and what is done to the one subscription."""

    def __init__(self, fake: FakeStripe, card: str | None = "pm_card_visa") -> None:
        self.fake, self.client = fake, fake.client()
        self.v1 = self.client.v1
        begun = int(datetime(2027, 1, 31, tzinfo=UTC).timestamp())
        self.clock = self.v1.test_helpers.test_clocks.create({"frozen_time": begun}).id
        self.customer = self.v1.customers.create({"test_clock": self.clock, "email": "ada@example.com"}).id
        if card is not None:
            self.use(card)
        self.basic = self.price(1000)
        self.id = ""

    def price(self, amount: int, interval: Any = "month") -> str:
        return self.v1.prices.create(
            {
                "currency": "eur",
                "unit_amount": amount,
                "recurring": {"interval": interval},
                "product_data": {"name": f"Plan of {amount}"},
            }
        ).id

    def use(self, card: str) -> str:
        method = self.v1.payment_methods.attach(card, {"customer": self.customer})
        self.v1.customers.update(self.customer, {"invoice_settings": {"default_payment_method": method.id}})
        return method.id

    def subscribe(self, **params: Any) -> stripe.Subscription:
        given: Any = {"customer": self.customer, "items": [{"price": self.basic}], **params}
        made = self.v1.subscriptions.create(given)
        self.id = made.id
        return made

    def pass_time(self, **delta: float) -> list[str]:
        """What happens meanwhile, without the events of payments."""
        before = len(self.fake.world.events)
        self.fake.advance(self.clock, **delta)
        happened = self.fake.event_types()[before:]
        return [type for type in happened if type.startswith(("customer.", "invoice.paid", "invoice.payment_"))]

    def now(self) -> stripe.Subscription:
        return self.v1.subscriptions.retrieve(self.id)

    def invoice(self) -> stripe.Invoice:
        return self.v1.invoices.retrieve(str(self.now().latest_invoice))


@pytest.fixture
def ada(fake: FakeStripe) -> Subscriber:
    return Subscriber(fake)


def test_a_trial_is_announced_ends_and_is_billed(ada: Subscriber) -> None:
    made = ada.subscribe(trial_period_days=10)
    assert made.status == "trialing"
    assert (ada.invoice().amount_due, ada.invoice().status) == (0, "paid")
    assert ada.pass_time(days=7) == ["customer.subscription.trial_will_end"]
    assert ada.pass_time(days=4) == ["customer.subscription.updated", "invoice.paid", "invoice.payment_succeeded"]
    assert (ada.now().status, ada.invoice().amount_paid) == ("active", 1000)


def test_months_end_on_their_last_day_and_come_back_to_the_anchor(ada: Subscriber) -> None:
    ada.subscribe()
    ends = []
    for _ in range(3):
        ends.append(datetime.fromtimestamp(ada.now()["items"].data[0].current_period_end, UTC).date().isoformat())
        ada.pass_time(days=31)
    assert ends == ["2027-02-28", "2027-03-31", "2027-04-30"]


def test_a_renewal_that_fails_is_tried_again_and_given_up_after_the_fourth_time(ada: Subscriber) -> None:
    ada.subscribe()
    ada.use("pm_card_chargeCustomerFail")
    assert ada.pass_time(days=28, hours=2) == [
        "customer.subscription.updated",
        "invoice.payment_failed",
        "customer.subscription.updated",
    ]
    assert (ada.now().status, ada.invoice().attempt_count) == ("past_due", 1)
    ada.pass_time(days=3)
    with pytest.raises(stripe.CardError):
        ada.v1.invoices.pay(ada.invoice().id)
    assert ada.invoice().next_payment_attempt is not None
    ada.pass_time(days=5)
    assert ada.invoice().attempt_count == 4
    assert ada.pass_time(days=7) == ["invoice.payment_failed", "customer.subscription.deleted"]
    assert (ada.now().status, ada.invoice().next_payment_attempt) == ("canceled", None)


def test_a_new_card_mends_what_is_past_due(ada: Subscriber, fake: FakeStripe) -> None:
    fake.dun([3, 5, 7], "unpaid")
    ada.subscribe()
    ada.use("pm_card_chargeCustomerFail")
    ada.pass_time(days=44)
    assert ada.now().status == "unpaid"
    ada.use("pm_card_visa")
    assert ada.v1.invoices.pay(ada.invoice().id).status == "paid"
    assert ada.now().status == "active"


def test_a_first_payment_may_need_its_customer(fake: FakeStripe) -> None:
    ada = Subscriber(fake, None)
    made = ada.subscribe(payment_behavior="default_incomplete", expand=["latest_invoice.confirmation_secret"])
    assert made.status == "incomplete"
    invoice: Any = made.latest_invoice
    intent = invoice.confirmation_secret.client_secret.partition("_secret_")[0]
    fake.confirm(intent, "pm_card_threeDSecure2Required")
    fake.authenticate(intent)
    assert ada.now().status == "active"
    other = Subscriber(fake, "pm_card_chargeCustomerFail")
    with pytest.raises(stripe.CardError):
        other.subscribe(payment_behavior="error_if_incomplete")
    other.subscribe()
    other.pass_time(hours=24)
    assert other.now().status == "incomplete_expired"


def test_a_renewal_may_need_its_customer(ada: Subscriber, fake: FakeStripe) -> None:
    ada.subscribe()
    ada.use("pm_card_authenticationRequired")
    assert ada.pass_time(days=28, hours=2)[-2:] == ["customer.subscription.updated", "invoice.payment_action_required"]
    secret: Any = ada.invoice().confirmation_secret
    fake.authenticate(secret.client_secret.partition("_secret_")[0])
    assert (ada.now().status, ada.invoice().status) == ("active", "paid")


def test_an_upgrade_is_prorated_at_once_later_or_not_at_all(ada: Subscriber) -> None:
    ada.subscribe()
    item = ada.now()["items"].data[0].id
    dear = ada.price(3000)
    ada.pass_time(days=14)
    preview = ada.v1.invoices.create_preview(
        {
            "subscription": ada.id,
            "subscription_details": {
                "items": [{"id": item, "price": dear}],
                "proration_behavior": "always_invoice",
            },
        }
    )
    assert (preview.total, ada.now()["items"].data[0].price.id) == (1000, ada.basic)

    def change(price: str, behavior: str) -> None:
        given: Any = {"items": [{"id": item, "price": price}], "proration_behavior": behavior}
        ada.v1.subscriptions.update(ada.id, given)

    change(dear, "always_invoice")
    assert [line.amount for line in ada.invoice().lines.data] == [-500, 1500]
    change(ada.basic, "create_prorations")
    ada.pass_time(days=15)
    assert ada.invoice().total == 1000 - 1500 + 500
    change(dear, "none")
    ada.pass_time(days=31)
    assert ada.invoice().total == 3000


def test_another_interval_begins_a_new_period(ada: Subscriber) -> None:
    ada.subscribe()
    ada.pass_time(days=14)
    item = ada.now()["items"].data[0].id
    ada.v1.subscriptions.update(ada.id, {"items": [{"id": item, "price": ada.price(10_000, "year")}]})
    assert [line.amount for line in ada.invoice().lines.data] == [-500, 10_000]
    period = ada.now()["items"].data[0]
    assert period.current_period_end - period.current_period_start == 365 * 86_400


def test_a_subscription_is_canceled_paused_and_resumed(ada: Subscriber) -> None:
    ada.subscribe(metadata={"plan": "basic"})
    assert ada.v1.subscriptions.update(ada.id, {"cancel_at_period_end": True}).cancel_at
    ada.v1.subscriptions.update(ada.id, {"cancel_at_period_end": False})
    assert ada.v1.subscriptions.pause(ada.id).status == "paused"
    assert ada.pass_time(days=40) == []
    assert ada.v1.subscriptions.resume(ada.id).status == "active"
    assert ada.invoice().billing_reason == "subscription_update"
    ada.v1.subscriptions.update(ada.id, {"cancel_at_period_end": True})
    assert ada.pass_time(days=32) == ["customer.subscription.deleted"]
    ada.subscribe()
    gone = ada.v1.subscriptions.cancel(ada.id)
    assert (gone.status, gone.ended_at is None) == ("canceled", False)
    ada.subscribe()
    ada.v1.subscriptions.update(ada.id, {"pause_collection": {"behavior": "void"}})
    ada.pass_time(days=32)
    assert (ada.now().status, ada.invoice().status) == ("active", "void")


@pytest.mark.parametrize(("behavior", "status"), [("cancel", "canceled"), ("pause", "paused")])
def test_a_trial_that_nobody_can_pay_ends_as_it_was_told_to(fake: FakeStripe, behavior: str, status: str) -> None:
    ada = Subscriber(fake, None)
    ada.subscribe(trial_period_days=5, trial_settings={"end_behavior": {"missing_payment_method": behavior}})
    ada.pass_time(days=6)
    assert ada.now().status == status


def test_old_endpoints_see_the_old_shapes(ada: Subscriber, fake: FakeStripe) -> None:
    told: dict[str, Any] = {}
    fake.send_to(
        lambda body, _: told.__setitem__(json.loads(body)["type"], json.loads(body)["data"]["object"]) or 200,  # type: ignore[func-returns-value]
        "whsec_old",
        api_version="2024-06-20",
    )
    ada.subscribe()
    fake.deliver()
    invoice, subscription = told["invoice.paid"], told["customer.subscription.updated"]
    new = ada.invoice()
    assert (invoice["subscription"], invoice["paid"], "parent" in invoice) == (ada.id, True, False)
    payments: Any = new.payments
    assert invoice["payment_intent"] == payments.data[0].payment.payment_intent
    assert invoice["lines"]["data"][0]["price"]["id"] == ada.basic
    assert subscription["current_period_end"] == ada.now()["items"].data[0].current_period_end
    assert "current_period_end" not in subscription["items"]["data"][0]
    assert told["payment_intent.succeeded"]["invoice"] == new.id
    old = fake.client(api_version="2024-06-20").v1.invoices.retrieve(new.id)
    assert old["subscription"] == ada.id


def test_without_a_test_clock_the_shops_clock_counts(
    fake: FakeStripe, client: stripe.StripeClient, clock: StoppedClock
) -> None:
    ada = Subscriber(fake)
    customer = client.v1.customers.create({})
    client.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    made = client.v1.subscriptions.create(
        {"customer": customer.id, "items": [{"price": ada.basic}], "trial_period_days": 5}
    )
    clock.tick(days=6)
    assert client.v1.subscriptions.retrieve(made.id).status == "past_due"


def test_the_objects_of_billing_have_the_fields_that_the_client_knows(ada: Subscriber, fake: FakeStripe) -> None:
    ada.subscribe()
    ada.v1.checkout.sessions.create({"mode": "setup", "success_url": "https://shop.example/"})
    known: dict[str, Any] = {
        "subscription": stripe.Subscription,
        "subscription_item": stripe.SubscriptionItem,
        "invoice": stripe.Invoice,
        "line_item": stripe.InvoiceLineItem,
        "invoice_payment": stripe.InvoicePayment,
        "product": stripe.Product,
        "price": stripe.Price,
        "checkout.session": stripe.checkout.Session,
        "test_helpers.test_clock": stripe.test_helpers.TestClock,
    }
    for kind, described in known.items():
        thing = next(iter(fake.world.every(kind)))
        fields = described.__annotations__
        shown = {name for name in thing if not name.startswith("_")}
        must = {name for name, type in fields.items() if "Optional" not in str(type)} - {"OBJECT_NAME"}
        assert shown - {"description"} <= set(fields) | {"description"}, kind
        assert must <= shown, kind


SESSION: Any = {
    "mode": "payment",
    "success_url": "https://shop.example/thanks?session={CHECKOUT_SESSION_ID}",
    "line_items": [
        {"price_data": {"currency": "eur", "unit_amount": 700, "product_data": {"name": "Tea"}}, "quantity": 2}
    ],
    "payment_intent_data": {"metadata": {"order": "7"}},
}


def test_a_checkout_session_is_finished_once(fake: FakeStripe, client: stripe.StripeClient) -> None:
    session = client.v1.checkout.sessions.create(SESSION)
    assert (session.amount_total, session.status, session.payment_intent) == (1400, "open", None)
    with requests.Session() as browser:
        browser.trust_env = False
        assert "pm_card_visa" in browser.get(str(session.url)).text
        refused = browser.post(str(session.url), data={"answer": "pm_card_chargeDeclinedExpiredCard"})
        assert "The bank has said no" in refused.text
        paid = browser.post(str(session.url), data={"answer": "pm_card_visa"}, allow_redirects=False)
    assert paid.headers["Location"] == f"https://shop.example/thanks?session={session.id}"
    session = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    intent = session.payment_intent
    assert isinstance(intent, stripe.PaymentIntent)
    assert (session.status, session.payment_status, intent.metadata["order"]) == ("complete", "paid", "7")
    assert fake.event_types()[-3:] == ["charge.succeeded", "payment_intent.succeeded", "checkout.session.completed"]
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.checkout.sessions.expire(session.id)


def test_a_checkout_session_that_is_left_expires(
    fake: FakeStripe, client: stripe.StripeClient, clock: StoppedClock
) -> None:
    left, waiting, slow = (client.v1.checkout.sessions.create(SESSION).id for _ in range(3))
    fake.finish_checkout(waiting, "pm_card_threeDSecure2Required")
    intent = str(client.v1.checkout.sessions.retrieve(waiting).payment_intent)
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_intents.cancel(intent)
    fake.authenticate(intent)
    done = fake.finish_checkout(slow, "pm_sepaDebit_success")
    assert (done["status"], done["payment_status"]) == ("complete", "unpaid")
    clock.tick(days=2)
    fake.settle(done["payment_intent"])
    sessions = client.v1.checkout.sessions
    assert [sessions.retrieve(id).status for id in (left, waiting, slow)] == ["expired", "complete", "complete"]
    assert sessions.retrieve(slow).payment_status == "paid"


def test_checkout_also_subscribes_and_saves_cards(fake: FakeStripe, client: stripe.StripeClient) -> None:
    ada = Subscriber(fake, None)
    given: Any = {"success_url": "https://shop.example/", "customer": ada.customer}
    session = client.v1.checkout.sessions.create(
        {**given, "mode": "subscription", "line_items": [{"price": ada.basic, "quantity": 1}]}
    )
    fake.finish_checkout(session.id)
    subscription = str(client.v1.checkout.sessions.retrieve(session.id).subscription)
    assert client.v1.subscriptions.retrieve(subscription).status == "active"
    setup = client.v1.checkout.sessions.create({**given, "mode": "setup"})
    assert fake.finish_checkout(setup.id)["payment_status"] == "no_payment_required"
    assert len(client.v1.payment_methods.list({"customer": ada.customer}).data) == 2
