"""`registry.stripe`: the shop's side of Stripe in a process. Its client, its secrets, its table of handlers."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import stripe
from prometheus_client import Counter
from pydantic import SecretStr
from sqlalchemy import Engine, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from commerce_core.database import transaction
from commerce_stripe_payments.client import DEMO_PUBLISHABLE_KEY, make_client
from commerce_stripe_payments.models import StripeSite
from commerce_stripe_payments.settings import Settings

if TYPE_CHECKING:
    from commerce_stripe_payments.demo import Demo
    from commerce_stripe_payments.webhooks.handlers import EventHandler


class DemoAway(Exception):
    """The fake Stripe of the demo is not running: it lives in the web server."""


@dataclass(frozen=True, slots=True)
class Meters:
    """What is counted; see webhooks/metrics.py."""

    received: Counter
    refused: Counter
    signed_by: Counter
    used: Counter


class Connection:
    """Made at startup, without touching the network. `attach` gives it the shop's database."""

    handlers: dict[str, EventHandler]
    meters: Meters
    # The fake, in the process that has it.
    demo: Demo | None = None

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._registry: Any = None
        self._client: tuple[str | None, stripe.StripeClient] | None = None
        self._site: UUID | None = None
        self._address: str | None = None
        # The fake is in the same process as the door that it knocks at.
        self._demo_secret = SecretStr(f"whsec_{secrets.token_hex(16)}")

    def attach(self, registry: Any) -> None:
        """The shop that it is for."""
        self._registry = registry

    @property
    def engine(self) -> Engine:
        """The shop's database."""
        engine: Engine = self._registry.engine
        return engine

    def now(self) -> datetime:
        """The time, by the shop's clock."""
        now: datetime = self._registry.clock.now()
        return now

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction of its own, whose events are told to the shop's subscribers."""
        with transaction(self.engine) as session:
            session.info["bus"] = self._registry.bus
            yield session

    @property
    def payment_seconds(self) -> int:
        """How long an order may stay unpaid."""
        seconds: int = self._registry.settings_object.orders.payment_seconds
        return seconds

    @property
    def client(self) -> stripe.StripeClient:
        """The client of this process. In a demo, of wherever the fake listens now. Raises DemoAway."""
        address = self._address
        if address is None and self.settings.is_demo and self.settings.api_base is None:
            address = self.demo_address()
        if self._client is None or self._client[0] != address:
            self._client = (address, make_client(self.settings, api_base=address))
        return self._client[1]

    def call_at(self, address: str) -> None:
        """Call Stripe somewhere else from now on: for tests."""
        self._client = None
        self._address = address

    def forget(self) -> None:
        """Be as new: for tests, whose database is emptied."""
        self._client = self._site = self._address = None

    @property
    def site(self) -> UUID:
        """The shop's name in the metadata of what it makes at Stripe. Made once, with the first."""
        if self._site is None:
            with transaction(self.engine) as session:
                from commerce_core.database import uuid7

                session.execute(insert(StripeSite).values(id=1, site=uuid7()).on_conflict_do_nothing())
                self._site = session.scalars(select(StripeSite.site)).one()
        return self._site

    @property
    def key_prefix(self) -> str:
        """What idempotency keys begin with: those of two shops of one account, or of two modes, never meet."""
        return f"{self.settings.mode}:{self.site.hex}"

    @property
    def publishable_key(self) -> str:
        """What the client in the browser is given."""
        return self.settings.publishable_key or DEMO_PUBLISHABLE_KEY

    @property
    def webhook_secrets(self) -> tuple[SecretStr, ...]:
        """What webhooks are signed with: one of these."""
        if self.settings.is_demo and not self.settings.webhook_secrets:
            return (self._demo_secret,)
        return self.settings.webhook_secrets

    @property
    def thin_webhook_secrets(self) -> tuple[SecretStr, ...]:
        """The same for thin events; none where there are none."""
        return self.settings.thin_webhook_secrets

    def demo_address(self) -> str:
        """Where the fake of the demo listens. Raises DemoAway."""
        with self.engine.connect() as connection:
            address: str | None = connection.scalar(select(StripeSite.demo_address))
        if address is None:
            raise DemoAway("the demo's fake Stripe is not running; it starts with the web server")
        return address


def say(error: BaseException) -> str:
    """What an error of the SDK says, in one line, without what it was sent or answered: that may hold secrets."""
    if isinstance(error, stripe.StripeError):
        code = error.code or (error.error.code if error.error is not None else None)
        parts = [type(error).__name__, str(error.http_status or ""), code or "", error.request_id or ""]
        return " ".join(part for part in parts if part)
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:300]}"
