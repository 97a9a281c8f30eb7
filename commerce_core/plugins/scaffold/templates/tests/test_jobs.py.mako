"""Jobs do what they are for, when a worker runs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from commerce_core.database import transaction
from commerce_core.testing import StoppedClock
from commerce_core.testing.contract import buy
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from commerce_${name} import service

pytestmark = pytest.mark.commerce(
    plugins=["${name}"],
    settings={"${name}.keep_days": "30"},
)


def test_old_entries_are_deleted_day_by_day(
    application: Any,
    engine: Engine,
    db: Session,
    clock: StoppedClock,
    make_variant: Callable[..., UUID],
    run_jobs: Callable[[], int],
) -> None:
    order_id = UUID(buy(application, make_variant())["id"])
    with transaction(engine) as session:
        service.credit(session, order_id, 7, now=clock.now())
    clock.tick(days=29)
    run_jobs()
    assert service.total(db) == 7
    db.rollback()
    clock.tick(days=2)
    run_jobs()
    assert service.total(db) == 0
