"""Rules change what carts and orders cost, at once, and say so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from pricing_shop import ADMIN, API, MakeRule, Shopper, amounts, entries
from webtest import TestApp

pytestmark = pytest.mark.commerce(plugins=["pricing"])
MakeVariant = Callable[..., UUID]


def test_a_rule_counts_from_when_it_is_saved_and_the_order_keeps_the_trace(
    application: Any, staff: TestApp, make_rule: MakeRule, make_variant: MakeVariant
) -> None:
    shopper = Shopper(application)
    shopper.put(make_variant(price_amount=1_000), 3)
    assert amounts(shopper.quote(), "subtotal", "discount_total", "total") == [3_000, 0, 3_000]
    bulk = make_rule("percentage", {"percent": 15}, name="Bulk", conditions={"type": "quantity", "min": 3})
    quote = shopper.quote()
    assert amounts(quote, "subtotal", "discount_total", "total") == [3_000, 450, 2_550]
    [applied] = entries(quote, bulk)
    assert (applied["outcome"], applied["amount"], applied["label"]) == ("applied", -450, "Bulk")
    order = shopper.order(expected_total=2_550)
    assert amounts(order, "discount_total", "total") == [450, 2_550]
    [adjustment] = order["adjustments"]
    assert (adjustment["code"], adjustment["source"]) == (bulk["id"], "pricing")
    trace = staff.get(f"{ADMIN}/orders/{order['id']}/trace").json
    assert entries(trace, bulk) == [applied]


def test_prices_are_calculated_one_by_one(
    client: TestApp, make_rule: MakeRule, make_variant: MakeVariant, product_of: Callable[[UUID], UUID]
) -> None:
    bulk = make_rule("percentage", {"percent": "15"}, name="Bulk", conditions={"type": "quantity", "min": 3})
    variant_id = make_variant(price_amount=999)
    found = client.get(f"{API}/pricing/calculate?variant_id={variant_id}&quantity=3&explain=1").json
    assert amounts(found, "base_price", "final_price", "total_base", "total_final", "savings") == [
        999,
        849,
        2_997,
        2_547,  # 15 % of 29.97 is 4.4955, so 4.50
        450,
    ]
    assert (found["savings_percentage"], found["rejected_rules"]) == ("15.02", [])
    [applied] = found["applied_rules"]
    assert (applied["rule_id"], applied["type"], applied["discount"]["amount"]) == (bulk["id"], "percentage", 450)
    one = client.get(f"{API}/pricing/calculate?product_id={product_of(variant_id)}&explain=1").json
    assert (one["variant_id"], one["savings"]["amount"]) == (str(variant_id), 0)
    [rejected] = one["rejected_rules"]
    assert (rejected["rule_id"], rejected["reason"], rejected["wanted"], rejected["found"]) == (
        bulk["id"],
        "min-quantity",
        3,
        1,
    )
    client.get(f"{API}/pricing/calculate?quantity=3", status=422)
    client.get(f"{API}/pricing/calculate?variant_id={bulk['id']}", status=422)
