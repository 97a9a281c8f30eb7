from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from commerce_stripe_payments.models import StripeEvent
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from stripe_signing import Sender


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
