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

from commerce_core.application import close, make_application
from commerce_core.cache.entry import EVERYTHING
from commerce_core.events import attach
from commerce_core.plugins.calls import attach as attach_plugins
from commerce_core.settings import CoreSettings
from commerce_core.testing import StoppedClock


@pytest.fixture(scope="session")
def _applications() -> Iterator[list[tuple[CoreSettings, Any]]]:
    """Shops that one test after the other uses: to make one takes longer than most tests do."""
    made: list[tuple[CoreSettings, Any]] = []
    yield made
    for _, application in made:
        close(application.registry)


@pytest.fixture
def application(
    settings: CoreSettings, clock: StoppedClock, engine: Engine, _applications: list[tuple[CoreSettings, Any]]
) -> Iterator[Any]:
    """The WSGI application, on the test's clock; whose Stripe nobody has met yet."""
    app = next((app for known, app in _applications if known == settings), None)
    if app is None:
        app = make_application(settings, clock=clock)
        _applications.append((settings, app))
    registry = app.registry
    registry.stripe.forget()
    attach(engine, registry.bus)
    attach_plugins(engine, registry.plugins)
    yield app
    attach(engine, None)
    attach_plugins(engine, None)
    registry.cache.drop([EVERYTHING])


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
