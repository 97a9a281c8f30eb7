"""Points count once for each order, and are forgotten in the end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from commerce_core.database import transaction
from commerce_core.testing import StoppedClock
from commerce_core.testing.contract import buy
from sqlalchemy import Engine

from commerce_${name} import service

pytestmark = pytest.mark.commerce(plugins=["${name}"])


def test_an_order_earns_its_points_once(
    application: Any, engine: Engine, clock: StoppedClock, make_variant: Callable[..., UUID]
) -> None:
    order_id = UUID(buy(application, make_variant())["id"])
    for is_new in (True, False):
        with transaction(engine) as session:
            assert service.credit(session, order_id, 7, now=clock.now()) == is_new
    with transaction(engine) as session:
        assert service.points_of(session, [order_id]) == {order_id: 7}
        assert service.total(session) == 7


def test_what_is_old_is_forgotten(
    application: Any, engine: Engine, clock: StoppedClock, make_variant: Callable[..., UUID]
) -> None:
    order_id = UUID(buy(application, make_variant())["id"])
    with transaction(engine) as session:
        service.credit(session, order_id, 7, now=clock.now())
        assert service.forget(session, before=clock.now()) == 0
        assert service.forget(session, before=clock.now() + timedelta(seconds=1)) == 1
        assert service.total(session) == 0
