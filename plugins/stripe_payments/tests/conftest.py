from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from commerce_stripe_payments.models import StripeEvent
from commerce_stripe_payments.testing import FakeStripe
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from stripe_signing import Sender

from commerce_core.testing import StoppedClock


@pytest.fixture
def sender(application: Any) -> Sender:
    return Sender(application)


@pytest.fixture
def events(engine: Engine) -> Callable[[], Sequence[StripeEvent]]:
    """`events()`: what has been filed, oldest first."""

    def read() -> Sequence[StripeEvent]:
        with Session(engine) as session:
            return session.scalars(select(StripeEvent).order_by(StripeEvent.id)).all()

    return read


@pytest.fixture
def fake(clock: StoppedClock) -> Iterator[FakeStripe]:
    """A Stripe that goes by the test's clock, and sends webhooks only when it is told to."""
    with FakeStripe(now=clock.now, sends_webhooks=False) as stripe:
        yield stripe
