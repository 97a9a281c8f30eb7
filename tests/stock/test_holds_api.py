"""Holds over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine
from webtest import TestApp

from commerce_core.testing import StoppedClock, assert_stock_adds_up, concurrently


def hold(client: TestApp, variant_id: UUID, quantity: Any = 1, **options: Any) -> Any:
    return client.post_json(
        "/api/v1/holds", {"variant_id": str(variant_id), "quantity": quantity}, status="*", **options
    )


def test_thirty_parallel_holds_of_ten_on_a_hundred_leave_nothing(
    client: TestApp, application: Any, make_variant: Callable[..., UUID], engine: Engine
) -> None:
    variant_id = make_variant(stock=100)
    answers = concurrently([lambda: hold(TestApp(application), variant_id, 10)] * 30)
    statuses = sorted(answer.status_int for answer in answers)  # type: ignore[union-attr]
    assert statuses == [201] * 10 + [409] * 20
    refused = [answer.json for answer in answers if answer.status_int == 409]  # type: ignore[union-attr]
    assert {problem["type"] for problem in refused} == {"/problems/out-of-stock"}
    assert all(0 <= problem["available"] < 10 for problem in refused)
    assert hold(client, variant_id).json["available"] == 0
    assert_stock_adds_up(engine)
