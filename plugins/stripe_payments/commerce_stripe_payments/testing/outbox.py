"""Webhooks: events on their way to those who want to hear of them.

By itself it sends each event once, in the order in which things happened. `plan` lets it misbehave the way the internet
does; with `is_automatic` off nothing is sent but by `deliver`, so that a test says what arrives, how often and when.
"""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
import json
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

import requests
import structlog

from commerce_stripe_payments.testing.failures import Thing
from commerce_stripe_payments.testing.shapes import render
from commerce_stripe_payments.testing.world import World

_log = structlog.get_logger("commerce.stripe")

Receiver = str | Callable[[bytes, Mapping[str, str]], int]
"""Where events go: an address, or a function of body and headers that returns the status."""


@dataclass
class Endpoint:
    """Who wants to hear of what.

    Each of the `secrets` signs: there are several while one is rolled. `is_thin`: notifications of version 2.
    """

    id: str
    receiver: Receiver
    secrets: tuple[str, ...]
    api_version: str
    enabled_events: tuple[str, ...] = ("*",)
    is_thin: bool = False
    is_enabled: bool = True

    def wants(self, type: str) -> bool:
        return self.is_enabled and any(fnmatch.fnmatchcase(type, wanted) for wanted in self.enabled_events)


@dataclass
class Delivery:
    """An event for an endpoint. `status` is its last answer, 0 if there was none."""

    event: Thing
    endpoint: Endpoint
    tries: int = 0
    status: int | None = None
    due: float = 0.0

    @property
    def is_delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@dataclass
class Plan:
    """How the outbox sends by itself.

    Each event waits `delay_seconds`, and goes out `copies` times at once. What waits is shuffled by `shuffle_seed`. The
    first `drop` tries of each delivery are lost on the way. What is not answered with 2xx is tried again after each of
    `retry_seconds`.
    """

    delay_seconds: float = 0.0
    copies: int = 1
    shuffle_seed: int | None = None
    drop: int = 0
    retry_seconds: tuple[float, ...] = (0.5, 2.0, 10.0)


@dataclass
class Outbox:
    """Deliveries in the order in which they came up. Ends with `close`."""

    world: World
    is_automatic: bool = True
    plan: Plan = field(default_factory=Plan)
    timeout_seconds: float = 20.0

    def __post_init__(self) -> None:
        self.endpoints: list[Endpoint] = []
        self.deliveries: list[Delivery] = []
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread: threading.Thread | None = None
        self.world.outbox = self
        self.world.listeners.append(self._queue)

    def pending(self, type: str = "*") -> list[Delivery]:
        """What has not been delivered, oldest first. `type` may be a pattern: `charge.*`."""
        with self._changed:
            return [
                delivery
                for delivery in self.deliveries
                if not delivery.is_delivered and fnmatch.fnmatchcase(delivery.event["type"], type)
            ]

    def deliver(
        self,
        type: str = "*",
        *,
        copies: int = 1,
        in_parallel: bool = False,
        shuffle_seed: int | None = None,
        is_lost: bool = False,
        again: bool = False,
    ) -> list[Delivery]:
        """Send what is pending, and return it with the answers.

        `copies` of each, `in_parallel` all at the same time. `is_lost`: each is tried, and never arrives. `again`: also
        what has been delivered already.
        """
        with self._changed:
            wanted = [
                delivery
                for delivery in self.deliveries
                if (again or not delivery.is_delivered) and fnmatch.fnmatchcase(delivery.event["type"], type)
            ]
        sent = [delivery for delivery in wanted for _ in range(copies)]
        if shuffle_seed is not None:
            random.Random(shuffle_seed).shuffle(sent)
        if in_parallel:
            with ThreadPoolExecutor(max_workers=max(len(sent), 1)) as pool:
                list(pool.map(lambda delivery: self._send(delivery, is_lost), sent))
        else:
            for delivery in sent:
                self._send(delivery, is_lost)
        return wanted

    def message(self, delivery: Delivery, *, at: int | None = None) -> tuple[bytes, dict[str, str]]:
        """Body and headers of an event as its endpoint gets it, signed at a time (now)."""
        endpoint = delivery.endpoint
        with self.world.lock:
            event = delivery.event
            shown = _thin(event) if endpoint.is_thin else render_event(self.world, event, endpoint.api_version)
            body = json.dumps(shown, indent=2).encode()
            signed_at = self.world.now if at is None else at
        return body, {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "Stripe-Signature": signature(body, endpoint.secrets, signed_at),
        }

    def start(self) -> None:
        """Send by itself from now on, if `is_automatic`."""
        self._thread = threading.Thread(target=self._run, name="fake-stripe-webhooks")
        self._thread.start()

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _queue(self, event: Thing) -> None:
        with self._changed:
            for endpoint in self.endpoints:
                if endpoint.wants(event["type"]):
                    event["pending_webhooks"] += 1
                    due = time.monotonic() + self.plan.delay_seconds
                    self.deliveries.append(Delivery(event, endpoint, due=due))
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._is_closed:
                    return
                now = time.monotonic()
                waiting = [delivery for delivery in self.deliveries if self._may_try(delivery)]
                due = [delivery for delivery in waiting if delivery.due <= now] if self.is_automatic else []
                if not due:
                    soonest = min((delivery.due for delivery in waiting), default=None)
                    self._changed.wait(None if soonest is None or not self.is_automatic else soonest - now)
                    continue
            if self.plan.shuffle_seed is not None:
                random.Random(self.plan.shuffle_seed).shuffle(due)
            for delivery in due:
                self._send_as_planned(delivery)

    def _may_try(self, delivery: Delivery) -> bool:
        return not delivery.is_delivered and delivery.tries <= len(self.plan.retry_seconds)

    def _send_as_planned(self, delivery: Delivery) -> None:
        plan = self.plan
        tries = delivery.tries
        is_lost = tries < plan.drop
        with ThreadPoolExecutor(max_workers=max(plan.copies, 1)) as pool:
            list(pool.map(lambda _: self._try(delivery, is_lost), range(plan.copies)))
        delivery.tries = tries + 1
        if tries < len(plan.retry_seconds):
            delivery.due = time.monotonic() + plan.retry_seconds[tries]

    def _try(self, delivery: Delivery, is_lost: bool) -> None:
        """Send by itself: whoever fails to take it does not keep the others from it."""
        try:
            self._send(delivery, is_lost)
        except Exception as error:
            _log.warning("webhook not taken", type=delivery.event["type"], error=type(error).__name__)
            self._send(delivery, is_lost=True)

    def _send(self, delivery: Delivery, is_lost: bool) -> None:
        status = 0 if is_lost else self._status_of(delivery)
        with self._changed:
            delivery.tries += 1
            if not delivery.is_delivered:
                delivery.status = status
                if delivery.is_delivered:
                    delivery.event["pending_webhooks"] -= 1

    def _status_of(self, delivery: Delivery) -> int:
        body, headers = self.message(delivery)
        receiver = delivery.endpoint.receiver
        if not isinstance(receiver, str):
            return receiver(body, headers)
        with requests.Session() as session:
            session.trust_env = False
            try:
                with session.post(
                    receiver, data=body, headers=headers, timeout=self.timeout_seconds, allow_redirects=False
                ) as answer:
                    return answer.status_code
            except requests.RequestException:
                return 0


def signature(body: bytes, secrets: Sequence[str], at: int) -> str:
    """The header `Stripe-Signature`: one `v1` for each secret, and the `v0` of test mode that nobody should trust."""
    signed = str(at).encode() + b"." + body
    made = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={at}", *(f"v1={one}" for one in made), f"v0={hashlib.sha256(signed).hexdigest()}"])


def render_event(world: World, event: Thing, version: str) -> Thing:
    """The event in the shape of a version, which it names."""
    shown: Thing = render(world, event, version)
    shown["api_version"] = version
    return shown


def thin_id(event: Thing) -> str:
    """The id of the notification that tells of the same thing as the event."""
    return str(event["id"]).replace("evt_", "evt_test_", 1)


def _thin(event: Thing) -> Thing:
    thing = event["data"]["object"]
    created = datetime.fromtimestamp(event["created"], UTC).isoformat().replace("+00:00", ".000Z")
    return {
        "id": thin_id(event),
        "object": "v2.core.event",
        "type": f"v1.{event['type']}",
        "livemode": event["livemode"],
        "created": created,
        "context": event.get("context"),
        "related_object": {
            "id": thing.get("id"),
            "type": thing["object"],
            "url": f"/v1/{thing['object'].replace('.', '/')}s/{thing.get('id')}",
        },
    }
