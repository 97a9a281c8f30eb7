"""What happens in the shop has its effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from commerce_core.events import Event, OrderPaid
from commerce_core.testing.contract import SubscriberContract, buy
from sqlalchemy.orm import Session

from commerce_${name} import service


class TestCredit(SubscriberContract):
    plugin = "${name}"

    @pytest.fixture
    def an_event(self, application: Any, make_variant: Callable[..., UUID]) -> Event:
        order = buy(application, make_variant(price_amount=1_250))
        return OrderPaid(order_id=UUID(order["id"]), number=order["number"])

    def effects(self, session: Session) -> int:
        return service.total(session)


@pytest.mark.commerce(plugins=["${name}"])
def test_an_order_earns_points_when_it_is_paid(
    application: Any,
    db: Session,
    make_variant: Callable[..., UUID],
    staff: Any,
    run_jobs: Callable[[], int],
) -> None:
    order = buy(application, make_variant(price_amount=1_250))
    run_jobs()
    assert service.total(db) == 0
    staff.post_json(f"/api/v1/admin/orders/{order['id']}/mark-paid", {"reference": "till 1"})
    run_jobs()
    assert service.points_of(db, [UUID(order["id"])]) == {UUID(order["id"]): 12}
