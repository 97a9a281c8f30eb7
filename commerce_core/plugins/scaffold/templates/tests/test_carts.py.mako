"""What may be in a cart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

pytestmark = pytest.mark.commerce(
    plugins=["${name}"],
    settings={"${name}.most_units": "5"},
)


def test_there_are_not_too_many_of_one_thing(client: Any, make_variant: Callable[..., UUID]) -> None:
    line = {"variant_id": str(make_variant(stock=10)), "quantity": 6}
    refused = client.post_json("/api/v1/cart/lines", line, status=409).json
    assert (refused["type"], refused["most"]) == ("/problems/${name}/too-many", 5)
    client.post_json("/api/v1/cart/lines", {**line, "quantity": 5}, status=201)
