"""A shop without keys: a whole payment on a fake Stripe, which is said plainly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
import requests
from commerce_stripe_payments.connection import DemoAway
from commerce_stripe_payments.demo import Demo
from commerce_stripe_payments.doctor import examine
from sqlalchemy import Engine
from stripe_shop import API, PAY
from webtest import TestApp

from commerce_core.application import close, make_application
from commerce_core.events import attach
from commerce_core.plugins.calls import attach as attach_plugins
from commerce_core.plugins.mistakes import BrokenPlugins
from commerce_core.settings import CoreSettings
from commerce_core.testing import StoppedClock, make_settings

pytestmark = pytest.mark.commerce(plugins=["stripe"], settings={})


@pytest.fixture
def application(settings: CoreSettings, clock: StoppedClock, engine: Engine) -> Iterator[Any]:
    app = make_application(settings, clock=clock)
    attach(engine, app.registry.bus)
    attach_plugins(engine, app.registry.plugins)
    yield app
    attach(engine, None)
    attach_plugins(engine, None)
    close(app.registry)


def test_a_whole_payment_without_an_account(
    application: Any, make_variant: Callable[..., UUID], run_jobs: Callable[[], int]
) -> None:
    guest = TestApp(application)
    config = guest.get(f"{PAY}/config").json
    assert config["demo"] is True
    hold = guest.post_json(f"{API}/holds", {"variant_id": str(make_variant()), "quantity": 1}).json
    body = {"hold_id": hold["id"], "payment": {"provider": "stripe"}}
    order = guest.post_json(f"{API}/orders", body).json
    started = guest.post_json(f"{PAY}/intents", {"order_id": order["id"]}).json
    intent = started["client_secret"].split("_secret_")[0]
    with requests.post(f"{config['demo_address']}/_fake/confirm", json={"intent": intent}, timeout=120) as paid:
        assert paid.json()["status"] == "succeeded"
    _until_told(application)
    run_jobs()
    assert guest.get(f"{API}/orders/{order['id']}").json["payment_status"] == "paid"
    said = [finding.text for finding in examine(application.registry.stripe)]
    assert said[0].startswith("demo: there are no keys")


def test_who_sends_thin_events_where_none_are_taken_is_told_so_as_documented(client: TestApp) -> None:
    answer = client.post("/webhooks/stripe/thin", b"{}", status=404)
    assert "stripe.thin_webhook_secrets" in answer.json["detail"]
    documented = client.get(f"{API}/openapi.json").json["paths"]["/webhooks/stripe/thin"]["post"]["responses"]
    assert "404" in documented


def test_one_process_has_the_fake_and_the_others_find_it(application: Any) -> None:
    stripe = application.registry.stripe
    address = stripe.demo_address()
    other = Demo(application.registry)
    other.start()
    assert stripe.demo_address() == address, "there is one already"
    stripe.demo.stop()
    other.start()
    assert stripe.demo_address() != address
    assert stripe.client.v1.accounts.retrieve_current().id
    other.stop()


def test_without_a_fake_it_is_said_that_it_is_away(application: Any, engine: Engine) -> None:
    application.registry.stripe.demo.stop()
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE stripe_site SET demo_address = NULL")
    with pytest.raises(DemoAway):
        application.registry.stripe.client  # noqa: B018 (it is asked where to call)
    assert TestApp(application).get(f"{PAY}/config").json["demo_address"] is None


def test_in_production_there_is_no_demo(database_url: str) -> None:
    given = {
        "commerce.plugins": "stripe",
        "commerce.environment": "production",
        "mail.transport": "smtp",
        "mail.host": "localhost",
        "mail.sender": "shop@shop.test",
        "payments.manual_webhook_secret": "0123456789abcdef-0123456789abcdef",
    }
    with pytest.raises(BrokenPlugins, match=r"stripe\.secret_key"):
        make_application(make_settings(database_url, given))


def _until_told(application: Any) -> None:
    """Webhooks are sent by themselves: wait until all of them have arrived."""
    outbox = application.registry.stripe.demo._fake.outbox
    with outbox._changed:
        pass
    while outbox.pending():
        with outbox._changed:
            outbox._changed.wait(0.05)
