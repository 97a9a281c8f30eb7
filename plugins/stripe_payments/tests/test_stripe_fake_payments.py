"""The fake answers the official client the way Stripe does: payments, refunds, disputes, customers."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import stripe
from commerce_stripe_payments.testing import FakeStripe


@pytest.fixture
def client(fake: FakeStripe) -> stripe.StripeClient:
    return fake.client()


def paid(client: stripe.StripeClient, method: str = "pm_card_visa", **params: Any) -> stripe.PaymentIntent:
    given = {"amount": 1999, "currency": "eur", "payment_method": method, "confirm": True, **params}
    return client.v1.payment_intents.create(given)  # type: ignore[arg-type]


def test_a_payment_succeeds_and_shows_its_charge_and_fee(fake: FakeStripe, client: stripe.StripeClient) -> None:
    intent = client.v1.payment_intents.create({"amount": 1999, "currency": "EUR", "metadata": {"order": "7"}})
    assert (intent.status, intent.currency) == ("requires_payment_method", "eur")
    fake.confirm(intent.id, "pm_card_mastercard")
    intent = client.v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge.balance_transaction"]})
    assert (intent.status, intent.amount_received) == ("succeeded", 1999)
    charge = intent.latest_charge
    assert isinstance(charge, stripe.Charge)
    assert charge.metadata["order"] == "7"
    assert charge.payment_method_details
    assert charge.payment_method_details["card"]["brand"] == "mastercard"
    assert isinstance(charge.balance_transaction, stripe.BalanceTransaction)
    assert charge.balance_transaction.net == 1999 - charge.balance_transaction.fee
    assert fake.event_types() == ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]


@pytest.mark.parametrize(
    ("method", "code", "decline_code"),
    [
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", None),
    ],
)
def test_a_declined_card_leaves_an_intent_that_can_be_tried_again(
    client: stripe.StripeClient, method: str, code: str, decline_code: str | None
) -> None:
    with pytest.raises(stripe.CardError) as refused:
        paid(client, method)
    error = refused.value.error
    assert error is not None
    assert (refused.value.code, error.decline_code) == (code, decline_code)
    assert error.payment_intent.status == "requires_payment_method"
    again = client.v1.payment_intents.confirm(error.payment_intent.id, {"payment_method": "pm_card_visa"})
    assert again.status == "succeeded"
    assert again.last_payment_error is None


def test_a_bank_that_wants_to_see_its_customer_is_asked_in_the_browser(
    fake: FakeStripe, client: stripe.StripeClient
) -> None:
    intent = paid(client, "pm_card_threeDSecure2Required", return_url="https://shop.example/back?order=7")
    assert intent.status == "requires_action"
    assert intent.next_action
    page = intent.next_action["redirect_to_url"]["url"]
    assert "No money moves" in fake_browser(page).text
    back = fake_browser(page, answer="no").headers["Location"]
    assert back.startswith("https://shop.example/back?order=7&payment_intent=pi_")
    assert back.endswith("failed")
    fake.confirm(intent.id, "pm_card_threeDSecure2Required")
    asked = client.v1.payment_intents.retrieve(intent.id).next_action
    assert asked is not None
    assert asked.type == "use_stripe_sdk"
    assert fake.authenticate(intent.id)["status"] == "succeeded"
    with pytest.raises(stripe.CardError) as refused:
        paid(client, "pm_card_authenticationRequired", off_session=True)
    assert refused.value.code == "authentication_required"


def test_slow_money_is_processing_until_the_bank_says_how_it_ended(
    fake: FakeStripe, client: stripe.StripeClient
) -> None:
    good, bad = paid(client, "pm_sepaDebit_success"), paid(client, "pm_usBankAccount_insufficientFunds")
    assert (good.status, bad.status) == ("processing", "processing")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.cancel(good.id)
    assert refused.value.error
    assert refused.value.error.payment_intent.status == "processing"
    assert fake.settle(good.id)["status"] == "succeeded"
    assert fake.settle(bad.id)["last_payment_error"]["code"] == "insufficient_funds"
    assert fake.event_types()[-4:] == [
        "charge.succeeded",
        "payment_intent.succeeded",
        "charge.failed",
        "payment_intent.payment_failed",
    ]


def test_money_set_aside_is_captured_in_part_or_given_back(fake: FakeStripe, client: stripe.StripeClient) -> None:
    intent = paid(client, capture_method="manual")
    assert (intent.status, intent.amount_capturable) == ("requires_capture", 1999)
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_intents.capture(intent.id, {"amount_to_capture": 2000})
    intent = client.v1.payment_intents.capture(intent.id, {"amount_to_capture": 1500})
    assert (intent.status, intent.amount_received) == ("succeeded", 1500)
    other = paid(client, capture_method="manual")
    assert client.v1.payment_intents.cancel(other.id, {"cancellation_reason": "abandoned"}).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.cancel(intent.id)
    assert refused.value.code == "payment_intent_unexpected_state"
    assert refused.value.error
    assert refused.value.error.payment_intent.status == "succeeded"


def test_an_unknown_parameter_is_refused_as_its_version_says(fake: FakeStripe, client: stripe.StripeClient) -> None:
    params: Any = {"amount": 1999, "currency": "eur", "payment_method_types": ["card"]}
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.create(params)
    assert (refused.value.code, refused.value.param) == ("parameter_unknown", "payment_method_types")
    older = fake.client(api_version="2025-03-31.basil")
    assert older.v1.payment_intents.create(params).payment_method_types == ["card"]
    for amount, currency in ((30, "usd"), (1001, "ugx"), (1005, "kwd"), (100_000_000, "eur")):
        with pytest.raises(stripe.InvalidRequestError):
            client.v1.payment_intents.create({"amount": amount, "currency": currency})


def test_refunds_add_up_and_never_exceed_the_charge(fake: FakeStripe, client: stripe.StripeClient) -> None:
    intent = paid(client)
    for amount in (500, 500):
        assert client.v1.refunds.create({"payment_intent": intent.id, "amount": amount}).status == "succeeded"
    charges = [event["data"]["object"] for event in fake.world.events if event["type"] == "charge.refunded"]
    assert [charge["amount_refunded"] for charge in charges] == [500, 1000]
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.create({"payment_intent": intent.id, "amount": 1000})
    assert fake.refund(intent.id)["amount"] == 999
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"payment_intent": intent.id})
    assert refused.value.code == "charge_already_refunded"
    assert len(client.v1.refunds.list({"payment_intent": intent.id}).data) == 3


def test_a_refund_may_be_pending_and_may_fail_later(fake: FakeStripe, client: stripe.StripeClient) -> None:
    slow = client.v1.refunds.create({"payment_intent": paid(client, "pm_card_pendingRefund").id})
    assert (slow.status, slow.pending_reason) == ("pending", "processing")
    assert fake.end_refund(slow.id, "succeeded")["status"] == "succeeded"
    failing = client.v1.refunds.create({"payment_intent": paid(client, "pm_card_refundFail").id})
    assert failing.status == "succeeded"
    fake.end_refund(failing.id, "failed")
    assert fake.event_types()[-3:] == ["refund.updated", "charge.refund.updated", "refund.failed"]
    assert client.v1.charges.retrieve(str(failing.charge)).amount_refunded == 0


def test_disputes_take_the_money_and_may_give_it_back(fake: FakeStripe, client: stripe.StripeClient) -> None:
    paid(client, "pm_card_createDispute")
    dispute = client.v1.disputes.list().data[0]
    assert (dispute.status, dispute.is_charge_refundable) == ("needs_response", False)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"charge": str(dispute.charge)})
    assert refused.value.code == "charge_disputed"
    won = client.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "winning_evidence"}})
    assert won.status == "won"
    assert fake.event_types()[-3:] == [
        "charge.dispute.updated",
        "charge.dispute.closed",
        "charge.dispute.funds_reinstated",
    ]
    balance = client.v1.balance.retrieve().pending[0].amount
    fake.dispute(paid(client).id, amount=700)
    assert client.v1.balance.retrieve().pending[0].amount == balance + 1999 - (1999 * 14 // 1000 + 25) - 700 - 1500
    paid(client, "pm_card_createIssuerFraudRecord")
    assert client.v1.radar.early_fraud_warnings.list().data[0].actionable


def test_customers_keep_their_cards(fake: FakeStripe, client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create({"email": "ada@example.com", "metadata": {"user": "7"}})
    with pytest.raises(stripe.CardError):
        client.v1.payment_methods.attach("pm_card_visa_chargeDeclined", {"customer": customer.id})
    setup = client.v1.setup_intents.create({"customer": customer.id})
    setup = client.v1.setup_intents.confirm(setup.id, {"payment_method": "pm_card_authenticationRequiredOnSetup"})
    assert setup.status == "requires_action"
    assert fake.authenticate(setup.id)["status"] == "succeeded"
    card = client.v1.payment_methods.list({"customer": customer.id, "type": "card"}).data[0]
    client.v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": card.id}})
    # Set up once, it is enough off session.
    assert paid(client, card.id, customer=customer.id, off_session=True).status == "succeeded"
    fake.renew_card(card.id, 2040, "1111")
    client.v1.payment_methods.detach(card.id)
    again = client.v1.customers.retrieve(customer.id)
    assert again.invoice_settings
    assert again.invoice_settings.default_payment_method is None
    assert fake.event_types()[-3:] == [
        "payment_method.automatically_updated",
        "customer.updated",
        "payment_method.detached",
    ]
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_methods.attach(card.id, {"customer": customer.id})
    assert "may not be used again" in str(refused.value)


def test_a_browser_may_do_what_its_client_secret_allows(fake: FakeStripe, client: stripe.StripeClient) -> None:
    intent = client.v1.payment_intents.create({"amount": 1999, "currency": "eur"})
    browser = fake.client(key=fake.publishable_key)
    given: Any = {"client_secret": intent.client_secret, "payment_method": "pm_card_visa"}
    for refused in ({**given, "client_secret": "another"}, {"payment_method": "pm_card_visa"}):
        with pytest.raises(stripe.AuthenticationError):
            browser.v1.payment_intents.confirm(intent.id, refused)
    assert browser.v1.payment_intents.confirm(intent.id, given).status == "succeeded"
    with pytest.raises(stripe.AuthenticationError):
        browser.v1.payment_intents.list()


@pytest.mark.parametrize("key", ["sk_live_of_another_world", "nonsense"])
def test_a_key_of_another_mode_is_refused(fake: FakeStripe, key: str) -> None:
    with pytest.raises(stripe.AuthenticationError):
        fake.client(key=key).v1.accounts.retrieve_current()


def test_lists_come_in_pages_and_payments_are_found_by_metadata(client: stripe.StripeClient) -> None:
    made = [
        client.v1.payment_intents.create({"amount": 1000 + n, "currency": "eur", "metadata": {"n": str(n)}}).id
        for n in range(5)
    ]
    listed = client.v1.payment_intents.list({"limit": 2})
    assert listed.has_more
    assert [intent.id for intent in listed.auto_paging_iter()] == made[::-1]
    assert client.v1.payment_intents.search({"query": "metadata['n']:'3'"}).data[0].amount == 1003


def test_every_object_has_the_fields_that_the_client_knows(fake: FakeStripe, client: stripe.StripeClient) -> None:
    paid(client, "pm_card_createDispute")
    client.v1.refunds.create({"payment_intent": paid(client).id})
    client.v1.customers.create({})
    client.v1.setup_intents.create({})
    known: dict[str, Any] = {
        "payment_intent": stripe.PaymentIntent,
        "charge": stripe.Charge,
        "refund": stripe.Refund,
        "dispute": stripe.Dispute,
        "customer": stripe.Customer,
        "payment_method": stripe.PaymentMethod,
        "setup_intent": stripe.SetupIntent,
        "balance_transaction": stripe.BalanceTransaction,
    }
    seen = set()
    for thing in fake.world.objects.values():
        fields = known[thing["object"]].__annotations__
        shown = {name for name in thing if not name.startswith("_")}
        must = {name for name, kind in fields.items() if "Optional" not in str(kind)} - {"OBJECT_NAME", "transfer"}
        assert shown <= set(fields), thing["object"]
        assert must <= shown, thing["object"]
        seen.add(thing["object"])
    assert seen == set(known)


def fake_browser(page: str, **form: str) -> Any:
    """What a browser gets of a page, or of its form."""
    with requests.Session() as session:
        session.trust_env = False
        return session.post(page, data=form, allow_redirects=False) if form else session.get(page)
