"""Paying in our way, through the shop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

pytestmark = pytest.mark.commerce(
    plugins=["${name}"],
    settings={"${name}.webhook_secret": "a-secret"},
)


def test_an_order_can_be_paid_with_it(client: Any, make_variant: Callable[..., UUID]) -> None:
    hold = client.post_json("/api/v1/holds", {"variant_id": str(make_variant()), "quantity": 1}).json
    wanted = {"hold_id": hold["id"], "payment": {"provider": "${name}"}}
    order = client.post_json("/api/v1/orders", wanted, status=201).json
    assert order["payment_status"] == "pending"
