"""A shop in development that has no keys: a fake Stripe in the web server, so that a whole payment can be shown.

It keeps everything in memory, and forgets it when the web server ends. One of the web processes has it; the others, and
the workers, find its address in the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import structlog
from sqlalchemy import Connection as DatabaseConnection
from sqlalchemy import text, update
from sqlalchemy.exc import OperationalError

from commerce_core.database import transaction
from commerce_stripe_payments.models import StripeSite
from commerce_stripe_payments.webhooks import intake
from commerce_stripe_payments.webhooks.signatures import BadWebhook

_log = structlog.get_logger("commerce.stripe")
_LOCK = text("SELECT pg_try_advisory_lock(hashtext('stripe demo'))")
_UNLOCK = text("SELECT pg_advisory_unlock(hashtext('stripe demo'))")


class Demo:
    """The fake, and the lock that says who has it."""

    def __init__(self, registry: Any) -> None:
        self._registry = registry
        self._lock: DatabaseConnection | None = None
        self._fake: Any = None

    def start(self) -> None:
        """Start the fake, unless another process of this shop has one."""
        connection = self._registry.stripe
        lock = self._registry.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        if not lock.scalar(_LOCK):
            lock.close()
            return
        # Of no pool any more: it stays open for as long as this process lives.
        lock.detach()
        self._lock = lock
        from commerce_stripe_payments.testing import FakeStripe

        self._fake = FakeStripe().start()
        self._fake.send_to(self._receive, connection.webhook_secrets[0].get_secret_value())
        assert connection.site  # the row is there
        with transaction(self._registry.engine) as session:
            session.execute(update(StripeSite).values(demo_address=self._fake.url))
        _log.warning("demo: payments go to a fake Stripe, and no money moves", address=self._fake.url)

    def stop(self) -> None:
        """End it, and let another process have one."""
        if self._fake is not None:
            self._fake.stop()
            self._fake = None
        if self._lock is not None:
            with suppress(OperationalError):  # the database may have ended before us
                self._lock.execute(_UNLOCK)
            self._lock.close()
            self._lock = None

    def _receive(self, body: bytes, headers: Mapping[str, str]) -> int:
        """As the door for webhooks does it."""
        try:
            intake.take(self._registry, body, headers.get("Stripe-Signature"))
        except BadWebhook:
            return 400
        return 200
