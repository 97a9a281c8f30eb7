"""What things cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

pytestmark = pytest.mark.commerce(
    plugins=["${name}"],
    settings={"${name}.bulk_from": "3", "${name}.bulk_percent": "20"},
)


@pytest.mark.parametrize(("quantity", "discount"), [(1, 0), (2, 0), (3, 600), (10, 2_000)])
def test_many_of_one_thing_cost_less(
    client: Any, make_variant: Callable[..., UUID], quantity: int, discount: int
) -> None:
    variant_id = str(make_variant(price_amount=1_000))
    cart = client.post_json("/api/v1/cart/lines", {"variant_id": variant_id, "quantity": quantity}).json
    assert cart["totals"]["discount_total"]["amount"] == discount
