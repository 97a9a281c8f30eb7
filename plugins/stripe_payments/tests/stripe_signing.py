"""Making webhooks as Stripe signs them."""

from __future__ import annotations

import itertools
import json
from typing import Any

import stripe
from webtest import TestApp

SECRET = "whsec_first"
SECOND_SECRET = "whsec_second"
THIN_SECRET = "whsec_thin"
PATH = "/webhooks/stripe"
SETTINGS = {
    "stripe.secret_key": "sk_test_of_the_tests",
    "stripe.publishable_key": "pk_test_of_the_tests",
    "stripe.webhook_secrets": f"{SECRET}, {SECOND_SECRET}",
    "stripe.thin_webhook_secrets": THIN_SECRET,
    # Nobody is there.
    "stripe.api_base": "http://127.0.0.1:9",
    "stripe.max_network_retries": "0",
    # A machine that is busy must not look like a Stripe that is away.
    "stripe.connect_timeout_seconds": "30",
    "stripe.read_timeout_seconds": "60",
}
_numbers = itertools.count(1)


def event(type: str = "payment_intent.succeeded", object: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """An event as Stripe writes it."""
    return {
        "id": f"evt_{next(_numbers)}",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": 1_790_000_000,
        "livemode": False,
        "type": type,
        "data": {"object": object or {"id": "pi_1", "object": "payment_intent"}},
        **more,
    }


def thin_event(type: str, related: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A thin event as Stripe writes it."""
    return {
        "id": f"evt_thin_{next(_numbers)}",
        "object": "v2.core.event",
        "created": "2026-11-26T12:00:00.000Z",
        "livemode": False,
        "type": type,
        "context": None,
        "related_object": related,
        **more,
    }


def signature(body: bytes, secret: str, at: float) -> str:
    """The header Stripe-Signature."""
    return str(stripe.WebhookSignature.generate_signature_header(body.decode(), secret, int(at)))


class Sender:
    """Posts signed events to the shop."""

    def __init__(self, application: Any) -> None:
        self.app = TestApp(application)
        self._clock = application.registry.clock

    @property
    def now(self) -> float:
        return float(self._clock.now().timestamp())

    def send(self, told: Any, *, secret: str = SECRET, path: str = PATH, status: int = 200) -> Any:
        """Sign and post an event, or a body."""
        body = told if isinstance(told, bytes) else json.dumps(told).encode()
        return self.post(body, signature(body, secret, self.now), path=path, status=status)

    def post(self, body: bytes, header: str | None, *, path: str = PATH, status: int = 200) -> Any:
        headers = {} if header is None else {"Stripe-Signature": header}
        return self.app.post(path, body, headers=headers, content_type="application/json", status=status)
