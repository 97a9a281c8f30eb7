from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

import pytest
from commerce_stripe_payments.models import StripeEvent
from commerce_stripe_payments.testing import FakeStripe
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from stripe_shop import Shop
from stripe_signing import Sender
from webtest import TestApp

from commerce_core.testing import StoppedClock


@pytest.fixture
def shares_application() -> bool:
    return True


@pytest.fixture
def application(application: Any) -> Any:
    """The WSGI application, whose Stripe nobody has met yet."""
    application.registry.stripe.forget()
    return application


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


@pytest.fixture
def shop(
    application: Any,
    fake: FakeStripe,
    sender: Sender,
    staff: TestApp,
    make_variant: Callable[..., UUID],
    run_jobs: Callable[[], int],
    engine: Engine,
) -> Shop:
    """A shop whose Stripe is the fake."""
    return Shop(application, fake, sender, staff, make_variant, run_jobs, engine)
