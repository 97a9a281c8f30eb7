"""What anybody may ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from commerce_core.database import transaction
from commerce_core.testing import StoppedClock
from commerce_core.testing.contract import buy
from sqlalchemy import Engine

from commerce_${name} import service

pytestmark = pytest.mark.commerce(plugins=["${name}"])


def test_the_total_is_told(
    application: Any, client: Any, engine: Engine, clock: StoppedClock, make_variant: Callable[..., UUID]
) -> None:
    assert client.get("/api/v1/${name}/total").json == {"points": 0}
    order = buy(application, make_variant())
    with transaction(engine) as session:
        service.credit(session, UUID(order["id"]), 7, now=clock.now())
    assert client.get("/api/v1/${name}/total").json == {"points": 7}
