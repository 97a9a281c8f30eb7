"""What staff may do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from commerce_core.testing import SignedIn
from commerce_core.testing.contract import buy

pytestmark = pytest.mark.commerce(plugins=["${name}"])
ENTRIES = "/api/v1/${name}/entries"


def test_staff_credit_an_order_once(application: Any, make_variant: Callable[..., UUID], staff: Any) -> None:
    entry = {"order_id": buy(application, make_variant())["id"], "points": 7}
    assert staff.post_json(ENTRIES, entry, status=201).json == entry
    again = staff.post_json(ENTRIES, entry, status=409).json
    assert again["type"] == "/problems/${name}/already-credited"
    staff.post_json(ENTRIES, {**entry, "order_id": str(uuid4())}, status=404)
    staff.post_json(ENTRIES, {**entry, "points": 0}, status=422)


def test_customers_may_not(sign_in: Callable[..., SignedIn]) -> None:
    sign_in("customer").client.post_json(ENTRIES, {"order_id": str(uuid4()), "points": 7}, status=403)
