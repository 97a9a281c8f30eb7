"""The whole story over HTTP, in the processes of production, against a Stripe that loses, repeats and delays webhooks.

Cart, order, intent, a card that is declined, 3-D Secure, paid, a part given back, a dispute. Afterwards everything adds
up, and the logs (W15) hold no secret, no signature, no card and no webhook's body.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from commerce_stripe_payments.testing import FakeStripe
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session
from stripe_signing import SECRET, SETTINGS

from commerce_core.accounts.tokens import issue_token
from commerce_core.accounts.users import create_user
from commerce_core.database import transaction
from commerce_core.testing import assert_stock_adds_up
from tests.support.processes import Shop, running_shop, wait_until

pytestmark = pytest.mark.commerce(plugins=["stripe"], settings=SETTINGS)
CARD = "4000000000003220"


@pytest.fixture
def stripe_server() -> Iterator[FakeStripe]:
    """By the real clock; every second delivery is lost at first, each comes twice, late, and in another order."""
    with FakeStripe() as fake:
        fake.plan(copies=2, drop=1, delay_seconds=0.2, shuffle_seed=4, retry_seconds=(0.1, 0.5, 2.0))
        yield fake


@pytest.fixture
def processes(tmp_path: Path, database_url: str, engine: Engine, stripe_server: FakeStripe) -> Iterator[Shop]:
    settings = {
        **SETTINGS,
        "commerce.plugins": "stripe",
        "stripe.api_base": stripe_server.url,
        "stripe.max_network_retries": "2",
        "log.level": "debug",
        "log.requests": "true",
    }
    with running_shop(tmp_path, database_url, settings, servers=1) as running:
        stripe_server.send_to(f"http://127.0.0.1:{running.ports[0]}/webhooks/stripe", SECRET)
        yield running


class Client:
    """A browser, or somebody of the staff, at the shop."""

    def __init__(self, port: int, **headers: str) -> None:
        self.base = f"http://127.0.0.1:{port}/api/v1"
        self.headers = {"Content-Type": "application/json", **headers}

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data=data, headers=self.headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except HTTPError as problem:
            with problem:
                return problem.code, json.loads(problem.read())

    def get(self, path: str) -> Any:
        return self.ask("GET", path)[1]

    def post(self, path: str, body: Any = None) -> Any:
        return self.ask("POST", path, {} if body is None else body)[1]


def test_the_whole_story_and_what_the_logs_tell_of_it(
    processes: Shop, stripe_server: FakeStripe, engine: Engine, make_variant: Any
) -> None:
    fake = stripe_server
    variant = make_variant(stock=5, price_amount=2_500)
    with transaction(engine) as session:
        token = issue_token(session, create_user(session, "boss@example.com", "Boss", "admin"), "test")
    guest = Client(processes.ports[0], **{"X-Cart-Token": "a-guest-of-the-story-1"})
    staff = Client(processes.ports[0], Authorization=f"Bearer {token}")

    def paid(order: Any) -> str:
        return str(guest.get(f"/orders/{order['id']}")["payment_status"])

    # Cart, order, intent.
    guest.post("/cart/lines", {"variant_id": str(variant), "quantity": 2})
    customer = {"email": "ada@example.com", "name": "Ada Lovelace"}
    order = guest.post("/orders", {"cart": True, "customer": customer, "payment": {"provider": "stripe"}})
    assert order["total"]["amount"] == 5_000
    started = guest.post("/payments/stripe/intents", {"order_id": order["id"]})
    secret = started["client_secret"]
    intent = secret.split("_secret_")[0]

    # A card that is declined, then one whose bank wants to see its customer.
    fake.confirm(intent, "pm_card_visa_chargeDeclined")
    wait_until(lambda: paid(order) == "failed")
    assert guest.post("/payments/stripe/intents", {"order_id": order["id"]})["status"] is not None
    wait_until(lambda: _state(engine, intent) == "canceled" or _latest(engine) != intent)
    latest = _latest(engine)
    fake.confirm(latest, "pm_card_threeDSecure2Required")
    again = guest.post("/payments/stripe/intents", {"order_id": order["id"]})
    assert again["status"] == "requires_action"
    fake.authenticate(latest)
    wait_until(lambda: paid(order) == "paid")

    # A part goes back: one of two, which is on the shelf again.
    line = order["lines"][0]["id"]
    staff.post(
        f"/admin/orders/{order['id']}/refunds", {"lines": [{"line_id": line, "quantity": 1}], "reason": "too large"}
    )
    wait_until(lambda: paid(order) == "partially_refunded")
    assert staff.get(f"/admin/stock/{variant}")["on_hand"] == 4

    # The bank takes the rest back: nothing is shipped.
    dispute = fake.dispute(latest)
    wait_until(lambda: staff.get(f"/admin/orders/{order['id']}")["extensions"]["stripe"]["dispute"] is not None)
    status, problem = staff.ask("POST", f"/admin/orders/{order['id']}/fulfillments", {})
    assert (status, problem["type"]) == (409, "/problems/stripe/order-disputed")
    fake.end_dispute(dispute["id"], "won")
    wait_until(lambda: staff.ask("POST", f"/admin/orders/{order['id']}/fulfillments", {})[0] == 201)

    # Everybody has been told everything, and it adds up.
    wait_until(lambda: not fake.outbox.pending())
    wait_until(lambda: _unused(engine) == 0)
    assert_stock_adds_up(engine)
    shown = staff.get(f"/admin/orders/{order['id']}")
    assert (shown["status"], shown["payment_status"]) == ("completed", "partially_refunded")
    client = fake.client()
    assert [refund.amount for refund in client.v1.refunds.list({"payment_intent": latest}).data] == [2_500]
    assert len([found for found in client.v1.payment_intents.list().data if found.status == "succeeded"]) == 1

    output = processes.output
    assert output.count("request") > 10, "there is something to look through"
    for name, kept_quiet in {
        "the secret key": SETTINGS["stripe.secret_key"],
        "the webhook's secret": SECRET,
        "the client secret": secret,
        "any client secret": "_secret_",
        "a signature's header": "Stripe-Signature",
        "a signature": "v1=",
        "a card": CARD,
        "the end of a card": "last4",
        "a body": "latest_charge",
        "a body's metadata": "commerce_attempt",
        "what was sent": "automatic_payment_methods",
        "a staff token": token,
    }.items():
        assert kept_quiet not in output, f"the logs tell {name}"


def _latest(engine: Engine) -> str:
    with engine.connect() as connection:
        found = connection.execute(text("SELECT intent_id FROM stripe_attempt ORDER BY id DESC LIMIT 1")).scalar()
    return str(found)


def _state(engine: Engine, intent: str) -> str:
    with engine.connect() as connection:
        query = text("SELECT state FROM stripe_attempt WHERE intent_id = :intent")
        return str(connection.execute(query, {"intent": intent}).scalar())


def _unused(engine: Engine) -> int:
    with Session(engine) as session:
        return int(
            session.scalar(text("SELECT count(*) FROM stripe_event WHERE state NOT IN ('processed', 'ignored')"))
        )
