"""The fake Stripe as a test, or a demo, holds it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any

import stripe

import commerce_stripe_payments.testing.api  # noqa: F401  (the endpoints)
from commerce_stripe_payments.settings import API_VERSION
from commerce_stripe_payments.testing.app import Application
from commerce_stripe_payments.testing.control import Control
from commerce_stripe_payments.testing.failures import Thing
from commerce_stripe_payments.testing.faults import Faults
from commerce_stripe_payments.testing.outbox import Outbox
from commerce_stripe_payments.testing.outside import Outside
from commerce_stripe_payments.testing.server import Server
from commerce_stripe_payments.testing.world import World


class FakeStripe(Outside):
    """A Stripe of one's own, which keeps everything in memory and does what it is told.

        with FakeStripe() as fake:
            client = fake.client()
            intent = client.v1.payment_intents.create({"amount": 1999, "currency": "eur"})
            fake.confirm(intent.id, "pm_card_threeDSecure2Required")
            fake.authenticate(intent.id)

    `now` tells the time (a clock that stands still, in tests). `api_version` is the account's. Webhooks are sent by
    themselves, or with `sends_webhooks` off by `deliver` alone. `port` 0 is a free one.
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime] | None = None,
        api_version: str = API_VERSION,
        livemode: bool = False,
        sends_webhooks: bool = True,
        port: int = 0,
    ) -> None:
        given: dict[str, Any] = {} if now is None else {"now": now}
        world = World(api_version=api_version, livemode=livemode, **given)
        super().__init__(world, Faults(), Outbox(world, is_automatic=sends_webhooks))
        self.application = Application(world, self.faults, Control(self))
        self.server = Server(self.application, port)
        world.url = self.server.url

    @property
    def url(self) -> str:
        """The SDK's base address."""
        return self.server.url

    @property
    def requests(self) -> list[Thing]:
        """All calls of the API so far, also those that failed: `method`, `path`, `body`, `request_id`."""
        return self.application.requests

    @property
    def secret_key(self) -> str:
        return f"sk_{'live' if self.world.livemode else 'test'}_fake"

    @property
    def publishable_key(self) -> str:
        return f"pk_{'live' if self.world.livemode else 'test'}_fake"

    def client(
        self, *, api_version: str | None = None, retries: int = 0, timeout: float = 20.0, key: str | None = None
    ) -> stripe.StripeClient:
        """The official client, of this Stripe."""
        stripe.enable_telemetry = False
        return stripe.StripeClient(
            key or self.secret_key,
            stripe_version=api_version or self.world.api_version,
            base_addresses={"api": self.url, "connect": self.url, "files": self.url, "meter_events": self.url},
            max_network_retries=retries,
            http_client=stripe.RequestsClient(timeout=timeout),
        )

    def event_types(self) -> list[str]:
        """What has happened so far, in that order."""
        with self.world.lock:
            return [event["type"] for event in self.world.events]

    def start(self) -> FakeStripe:
        self.server.start()
        self.outbox.start()
        return self

    def stop(self) -> None:
        self.faults.clear()
        self.outbox.close()
        self.server.stop()

    def __enter__(self) -> FakeStripe:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
