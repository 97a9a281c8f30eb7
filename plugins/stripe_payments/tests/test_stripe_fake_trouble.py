"""The fake goes wrong the way Stripe does: idempotency keys, faults, webhooks that are late, twice or lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
import stripe
from commerce_stripe_payments.testing import FakeStripe

from commerce_core.testing import StoppedClock

INTENT: Any = {"amount": 1999, "currency": "eur"}
CREATE = "POST /v1/payment_intents"


@pytest.fixture
def client(fake: FakeStripe) -> stripe.StripeClient:
    return fake.client()


@pytest.fixture
def hasty(fake: FakeStripe) -> stripe.StripeClient:
    """A client that does not wait for long, and tries three times or more."""
    return fake.client(timeout=0.3, retries=5)


@pytest.fixture
def stubborn(fake: FakeStripe) -> stripe.StripeClient:
    """A client that waits, and tries three times."""
    return fake.client(retries=2)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripe._http_client.HTTPClient, "INITIAL_DELAY", 0.001)
    monkeypatch.setattr(stripe._http_client.HTTPClient, "MAX_DELAY", 0.001)


def intents(fake: FakeStripe) -> int:
    return sum(1 for _ in fake.world.every("payment_intent"))


def test_a_key_answers_the_same_again_for_a_day(
    fake: FakeStripe, client: stripe.StripeClient, clock: StoppedClock
) -> None:
    first = client.v1.payment_intents.create(INTENT, {"idempotency_key": "one"})
    fake.confirm(first.id)
    again = client.v1.payment_intents.create(INTENT, {"idempotency_key": "one"})
    # The answer as it was, not the intent as it is.
    assert (again.id, again.status) == (first.id, "requires_payment_method")
    assert again.last_response is not None
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    clock.tick(hours=24)
    assert client.v1.payment_intents.create(INTENT, {"idempotency_key": "one"}).id != first.id


def test_a_key_is_of_one_request_only(client: stripe.StripeClient) -> None:
    client.v1.payment_intents.create(INTENT, {"idempotency_key": "one"})
    with pytest.raises(stripe.IdempotencyError):
        client.v1.payment_intents.create({**INTENT, "amount": 2000}, {"idempotency_key": "one"})
    with pytest.raises(stripe.IdempotencyError):
        client.v1.customers.create({}, {"idempotency_key": "one"})
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_intents.create(INTENT, {"idempotency_key": "x" * 256})


def test_a_refusal_is_remembered_and_wrong_parameters_are_not(client: stripe.StripeClient) -> None:
    declined: Any = {**INTENT, "confirm": True, "payment_method": "pm_card_chargeDeclined"}
    ids = set()
    for _ in range(2):
        with pytest.raises(stripe.CardError) as refused:
            client.v1.payment_intents.create(declined, {"idempotency_key": "declined"})
        assert refused.value.error is not None
        ids.add(refused.value.error.payment_intent.id)
    assert len(ids) == 1
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_intents.create({**INTENT, "amount": 1}, {"idempotency_key": "small"})
    assert client.v1.payment_intents.create(INTENT, {"idempotency_key": "small"}).id


def test_a_key_that_is_in_use_is_a_conflict(fake: FakeStripe, client: stripe.StripeClient) -> None:
    pause = fake.go_wrong(CREATE, "pause")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.v1.payment_intents.create, INTENT, {"idempotency_key": "one"})
        assert pause.reached.wait(120)
        with pytest.raises(stripe.APIError) as refused:
            client.v1.payment_intents.create(INTENT, {"idempotency_key": "one"})
        pause.release()
        made = first.result(120).id
    assert refused.value.http_status == 409
    assert refused.value.error is not None
    assert refused.value.error.code == "idempotency_key_in_use"
    assert client.v1.payment_intents.create(INTENT, {"idempotency_key": "one"}).id == made


def test_work_whose_answer_is_cut_off_is_done_once(fake: FakeStripe, stubborn: stripe.StripeClient) -> None:
    fake.go_wrong(CREATE, "cut", "after")
    intent = stubborn.v1.payment_intents.create(INTENT)
    assert intent.last_response is not None
    assert intent.last_response.headers["Idempotent-Replayed"] == "true"
    assert (intents(fake), len(fake.requests)) == (1, 2)


def test_a_refusal_can_be_lost_on_its_way_too(fake: FakeStripe, stubborn: stripe.StripeClient) -> None:
    fake.go_wrong(CREATE, "cut", "after")
    with pytest.raises(stripe.CardError) as refused:
        stubborn.v1.payment_intents.create({**INTENT, "confirm": True, "payment_method": "pm_card_chargeDeclined"})
    assert refused.value.headers is not None
    assert refused.value.headers["Idempotent-Replayed"] == "true"
    assert intents(fake) == 1


def test_work_whose_answer_never_comes_is_done_once(fake: FakeStripe, hasty: stripe.StripeClient) -> None:
    hang = fake.go_wrong(CREATE, "hang", "after")
    assert hasty.v1.payment_intents.create(INTENT).id
    assert hang.reached.is_set()
    assert intents(fake) == 1


def test_a_request_that_is_cut_off_before_the_work_changes_nothing(
    fake: FakeStripe, stubborn: stripe.StripeClient
) -> None:
    fake.go_wrong(CREATE, "cut", times=3)
    with pytest.raises(stripe.APIConnectionError):
        stubborn.v1.payment_intents.create(INTENT)
    assert (intents(fake), len(fake.requests)) == (0, 3)
    fake.go_wrong(CREATE, "hang")
    with pytest.raises(stripe.APIConnectionError):
        fake.client(timeout=0.1).v1.payment_intents.create(INTENT)
    assert intents(fake) == 0


@pytest.mark.parametrize(
    ("status", "error", "tries"),
    [(500, stripe.APIError, 3), (502, stripe.APIError, 3), (429, stripe.RateLimitError, 1)],
)
def test_an_error_before_the_work_is_answered_as_often_as_it_is_asked_for(
    fake: FakeStripe, stubborn: stripe.StripeClient, status: int, error: type[Exception], tries: int
) -> None:
    fake.go_wrong(CREATE, status=status, times=3, is_html=status == 502)
    with pytest.raises(error):
        stubborn.v1.payment_intents.create(INTENT)
    assert (intents(fake), len(fake.requests)) == (0, tries)
    fake.recover()
    assert stubborn.v1.payment_intents.create(INTENT).id


def test_an_error_after_the_work_is_what_the_key_remembers(fake: FakeStripe, stubborn: stripe.StripeClient) -> None:
    fake.go_wrong(CREATE, when="after", skip=1)
    assert stubborn.v1.payment_intents.create(INTENT).id
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            stubborn.v1.payment_intents.create(INTENT, {"idempotency_key": "broken"})
    assert intents(fake) == 2


class Shop:
    """Takes webhooks, as a function: `answers` says with what, 200 after that."""

    def __init__(self, secret: str = "whsec_shop") -> None:
        self.secret = secret
        self.answers: list[int] = []
        self.calls: list[tuple[bytes, Mapping[str, str]]] = []
        self.lock = threading.Lock()

    def __call__(self, body: bytes, headers: Mapping[str, str]) -> int:
        with self.lock:
            self.calls.append((body, headers))
            return self.answers.pop(0) if self.answers else 200

    def types(self) -> list[str]:
        return [json.loads(body)["type"] for body, _ in self.calls]


@pytest.fixture
def shop(fake: FakeStripe) -> Shop:
    made = Shop()
    fake.send_to(made, made.secret)
    return made


@pytest.fixture
def paid(fake: FakeStripe, shop: Shop, client: stripe.StripeClient) -> Callable[[], str]:
    """`paid()`: the id of an intent that has been paid."""

    def pay() -> str:
        return client.v1.payment_intents.create({**INTENT, "confirm": True, "payment_method": "pm_card_visa"}).id

    return pay


def test_webhooks_are_signed_by_every_secret_of_their_endpoint(
    fake: FakeStripe, shop: Shop, paid: Callable[[], str], clock: StoppedClock
) -> None:
    rolling = Shop()
    fake.send_to(rolling, ("whsec_old", "whsec_new"), enabled_events=("charge.*",))
    paid()
    fake.deliver()
    for taker, secrets in ((shop, ["whsec_shop"]), (rolling, ["whsec_old", "whsec_new"])):
        body, headers = taker.calls[0]
        for secret in secrets:
            stripe.WebhookSignature.verify_header(body, headers["Stripe-Signature"], secret)
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.WebhookSignature.verify_header(body, headers["Stripe-Signature"], "whsec_other")
    assert rolling.types() == ["charge.succeeded"]


def test_a_test_says_what_arrives_how_often_and_in_which_order(
    fake: FakeStripe, shop: Shop, paid: Callable[[], str]
) -> None:
    paid()
    in_order = ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]
    fake.deliver(is_lost=True)
    assert shop.calls == []
    assert [delivery.event["type"] for delivery in fake.outbox.pending()] == in_order
    shop.answers = [500, 500]
    fake.deliver("payment_intent.*")
    assert len(fake.outbox.pending()) == 3
    fake.deliver("charge.*", copies=20, in_parallel=True)
    assert shop.types().count("charge.succeeded") == 20
    fake.deliver()
    assert fake.outbox.pending() == []
    shop.calls.clear()
    fake.deliver(again=True, shuffle_seed=1)
    assert sorted(shop.types()) == sorted(in_order)
    assert shop.types() != in_order


def test_events_that_nobody_took_are_listed_as_such(
    fake: FakeStripe, shop: Shop, paid: Callable[[], str], client: stripe.StripeClient, clock: StoppedClock
) -> None:
    paid()
    fake.deliver("charge.*")
    missed = client.v1.events.list({"delivery_success": False, "types": ["payment_intent.*"]})
    assert [event.type for event in missed.data] == ["payment_intent.succeeded", "payment_intent.created"]
    assert client.v1.events.retrieve(missed.data[0].id).pending_webhooks == 1
    clock.tick(days=31)
    assert client.v1.events.list().data == []


def test_events_have_the_shape_of_their_endpoint(fake: FakeStripe, client: stripe.StripeClient) -> None:
    old, new = Shop(), Shop()
    fake.send_to(old, "whsec_old", api_version="2022-08-01")
    fake.send_to(new, "whsec_new")
    intent = client.v1.payment_intents.create({**INTENT, "confirm": True, "payment_method": "pm_card_visa"})
    client.v1.refunds.create({"payment_intent": intent.id})
    fake.deliver()

    def told(shop: Shop, type: str) -> Any:
        return next(json.loads(body) for body, _ in shop.calls if json.loads(body)["type"] == type)

    assert told(old, "payment_intent.succeeded")["api_version"] == "2022-08-01"
    before = told(old, "payment_intent.succeeded")["data"]["object"]
    after = told(new, "payment_intent.succeeded")["data"]["object"]
    assert before["charges"]["data"][0]["id"] == after["latest_charge"]
    assert ("latest_charge" in before, "charges" in after, before["invoice"]) == (False, False, None)
    assert told(old, "charge.refunded")["data"]["object"]["refunds"]["data"][0]["amount"] == 1999
    assert "refunds" not in told(new, "charge.refunded")["data"]["object"]


def test_thin_events_name_their_object_and_their_twin(
    fake: FakeStripe, client: stripe.StripeClient, clock: StoppedClock
) -> None:
    shop = Shop("whsec_thin")
    fake.send_to(shop, shop.secret, enabled_events=("payment_intent.succeeded",), is_thin=True)
    intent = client.v1.payment_intents.create({**INTENT, "confirm": True, "payment_method": "pm_card_visa"})
    fake.deliver()
    body, headers = shop.calls[0]
    told: Any = client.parse_event_notification(body, headers["Stripe-Signature"], shop.secret)
    assert type(told).__name__ == "V1PaymentIntentSucceededEventNotification"
    assert told.fetch_related_object().id == intent.id
    assert told.fetch_event().snapshot_event == fake.world.events[-1]["id"]


class Listener:
    """A shop that really listens."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.changed = threading.Condition()

    def __call__(self, body: bytes, headers: Mapping[str, str]) -> int:
        with self.changed:
            self.taken.append(json.loads(body)["type"])
            self.changed.notify_all()
            return 200

    def wait_for(self, count: int) -> list[str]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.taken) >= count, 120)
            return list(self.taken)


@pytest.fixture
def busy() -> Iterator[FakeStripe]:
    """A Stripe that sends by itself."""
    with FakeStripe() as stripe:
        yield stripe


def test_by_itself_it_sends_in_order_and_tries_again_what_was_lost(busy: FakeStripe) -> None:
    shop = Listener()
    busy.plan(drop=1, retry_seconds=(0.01, 0.01))
    busy.send_to(shop, "whsec_x")
    busy.client().v1.payment_intents.create({**INTENT, "confirm": True, "payment_method": "pm_card_visa"})
    assert shop.wait_for(3) == ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]


def test_by_itself_it_sends_twice_and_in_any_order_if_it_is_told_to(busy: FakeStripe) -> None:
    shop = Listener()
    broken = [ValueError("the shop is on fire")]

    def receive(body: bytes, headers: Mapping[str, str]) -> int:
        if broken:
            raise broken.pop()
        return shop(body, headers)

    busy.plan(copies=2, shuffle_seed=1, delay_seconds=0.01, retry_seconds=(0.01,))
    busy.send_to(receive, "whsec_x")
    busy.client().v1.payment_intents.create({**INTENT, "confirm": True, "payment_method": "pm_card_visa"})
    taken = shop.wait_for(5)
    assert {"payment_intent.created", "charge.succeeded", "payment_intent.succeeded"} == set(taken)


def test_everything_can_be_done_over_http_too(busy: FakeStripe) -> None:
    shop = Listener()
    busy.send_to(shop, "whsec_x")
    intent = busy.client().v1.payment_intents.create(INTENT)

    def post(operation: str, **arguments: Any) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            return session.post(f"{busy.url}/_fake/{operation}", json=arguments)

    assert post("confirm", intent=intent.id, payment_method="pm_card_threeDSecure2Required").json()["status"] == (
        "requires_action"
    )
    assert post("authenticate", intent=intent.id).json()["status"] == "succeeded"
    assert post("authenticate", intent="pi_unknown").status_code == 404
    assert post("authenticate", wrong=1).status_code == 400
    assert post("nonsense").status_code == 404
    post("go_wrong", what="GET /v1/account", status=503)
    with pytest.raises(stripe.APIError):
        busy.client().v1.accounts.retrieve_current()
    assert shop.wait_for(4)[-1] == "payment_intent.succeeded"


def test_an_endpoint_is_made_over_the_api_with_a_secret_of_its_own(
    fake: FakeStripe, client: stripe.StripeClient
) -> None:
    made = client.v1.webhook_endpoints.create(
        {"url": "http://127.0.0.1:9/nobody", "enabled_events": ["*"], "api_version": "2026-10-28.endive"}
    )
    assert made.secret
    assert made.secret.startswith("whsec_")
    client.v1.payment_intents.create(INTENT)
    assert [delivery.status for delivery in fake.deliver()] == [0]
    client.v1.webhook_endpoints.update(made.id, {"disabled": True})
    client.v1.payment_intents.create(INTENT)
    assert len(fake.outbox.pending()) == 1
    client.v1.webhook_endpoints.delete(made.id)
    assert client.v1.webhook_endpoints.list().data == []
