"""What orders show of us."""

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


def test_orders_show_their_points(
    application: Any, engine: Engine, clock: StoppedClock, make_variant: Callable[..., UUID], staff: Any
) -> None:
    order = buy(application, make_variant())
    assert order["extensions"] == {"${name}": {"points": None}}
    with transaction(engine) as session:
        service.credit(session, UUID(order["id"]), 7, now=clock.now())
    shown = staff.get(f"/api/v1/admin/orders/{order['id']}").json
    assert shown["extensions"] == {"${name}": {"points": 7}}
