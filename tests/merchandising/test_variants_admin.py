"""Staff keep variants: one default, stock policies, and taking them off sale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine
from support.problems import assert_problem
from webtest import TestApp

from commerce_core.testing import assert_stock_adds_up, concurrently

from .conftest import ADMIN

Add = Callable[..., Any]


def path_of(variant: Any) -> str:
    return f"{ADMIN}/products/{variant['product_id']}/variants/{variant['id']}"


def patch(staff: TestApp, variant: Any, status: Any = 200, etag: str = "*", **fields: Any) -> Any:
    return staff.patch_json(path_of(variant), fields, headers={"If-Match": etag}, status=status)


def delete(staff: TestApp, variant: Any, status: Any = 204) -> Any:
    return staff.delete(path_of(variant), headers={"If-Match": "*"}, status=status)


def defaults(staff: TestApp, tee: Any) -> list[str]:
    variants = staff.get(f"{ADMIN}/products/{tee['id']}/variants").json["data"]
    return [variant["sku"] for variant in variants if variant["is_default"]]


def test_the_first_variant_is_the_default_and_another_may_become_it(staff: TestApp, tee: Any, add_variant: Add) -> None:
    first = add_variant("A", is_default=False)
    second = add_variant("B", price_amount=900)
    assert (first["is_default"], second["is_default"]) == (True, False)
    answer = patch(staff, second, is_default=True)
    assert answer.json["is_default"] is True
    assert defaults(staff, tee) == ["B"]
    assert staff.get("/api/v1/products/tee").json["price"]["amount"] == 900
    # It is not the default any more, so it is not what was read of it.
    assert_problem(patch(staff, first, status=412, etag='"1"', name="Old"), 412, "precondition-failed")
    add_variant("C", is_default=True)
    assert defaults(staff, tee) == ["C"]
    assert_problem(patch(staff, second, status=422, is_default=False), 422, "invalid-input")


def test_the_next_one_takes_the_place_of_a_deleted_default(
    staff: TestApp, client: TestApp, tee: Any, add_variant: Add, engine: Engine
) -> None:
    variants = [add_variant(sku, price_amount=price) for sku, price in (("A", 100), ("B", 200), ("C", 300))]
    delete(staff, variants[0])
    assert defaults(staff, tee) == ["B"]
    shown = client.get("/api/v1/products/tee").json
    assert (shown["price"]["amount"], shown["variant_count"]) == (200, 2)
    delete(staff, variants[1])
    delete(staff, variants[2])
    client.get("/api/v1/products/tee", status=404)
    assert add_variant("D")["is_default"] is True
    delete(staff, variants[2], status=404)
    assert staff.get(path_of(variants[2])).json["deleted_at"] is not None


def test_there_is_one_default_however_many_variants_are_made_at_once(
    staff: TestApp, tee: Any, add_variant: Add
) -> None:
    made = concurrently([lambda n=n: add_variant(f"SKU-{n}", is_default=True) for n in range(6)])
    assert all(isinstance(variant, dict) for variant in made)
    assert len(defaults(staff, tee)) == 1
    concurrently([lambda variant=variant: patch(staff, variant, is_default=True) for variant in made])
    assert len(defaults(staff, tee)) == 1
    concurrently([lambda variant=variant: delete(staff, variant) for variant in made[:5]])
    assert len(defaults(staff, tee)) == 1


def test_a_sku_is_taken_once(staff: TestApp, tee: Any, add_variant: Add) -> None:
    fields = {"sku": "A", "currency": "USD", "price_amount": 1}
    path = f"{ADMIN}/products/{tee['id']}/variants"
    answers = concurrently([lambda: staff.post_json(path, fields, status="*") for _ in range(4)])
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    other = add_variant("B")
    assert_problem(patch(staff, other, status=409, sku="A"), 409, "sku-taken")


def test_a_variant_on_hold_may_be_taken_off_sale_and_nothing_is_lost(
    staff: TestApp, client: TestApp, tee: Any, add_variant: Add, engine: Engine
) -> None:
    kept, taken = add_variant("A"), add_variant("B")
    for variant in (kept, taken):
        staff.post_json(f"{ADMIN}/stock/{variant['id']}/receive", {"quantity": 5})
    hold = client.post_json("/api/v1/holds", {"variant_id": taken["id"], "quantity": 2}).json
    delete(staff, taken)
    assert client.post_json("/api/v1/holds", {"variant_id": taken["id"], "quantity": 1}, status=404)
    order = client.post_json("/api/v1/orders", {"hold_id": hold["id"]}, status=201).json
    assert order["lines"][0]["sku"] == "B"
    assert_stock_adds_up(engine)
    # What nobody can buy does not keep a product in stock.
    delete(staff, kept)
    assert_stock_adds_up(engine)


def test_a_deleted_variant_is_counted_out_once_while_its_stock_moves(
    staff: TestApp, client: TestApp, add_variant: Add, engine: Engine
) -> None:
    variants = [add_variant(f"SKU-{n}") for n in range(6)]
    for variant in variants:
        staff.post_json(f"{ADMIN}/stock/{variant['id']}/receive", {"quantity": 1})
    calls: list[Callable[[], Any]] = []
    for variant in variants:
        body = {"variant_id": variant["id"], "quantity": 1}
        calls.append(lambda body=body: client.post_json("/api/v1/holds", body, status="*"))
        calls.append(lambda variant=variant: delete(staff, variant))
    assert [answer for answer in concurrently(calls) if isinstance(answer, BaseException)] == []
    assert_stock_adds_up(engine)


def test_how_stock_is_kept(staff: TestApp, client: TestApp, add_variant: Add, engine: Engine) -> None:
    variant = add_variant("A", allow_backorder=True)
    assert variant["track_stock"] is True
    client.post_json("/api/v1/holds", {"variant_id": variant["id"], "quantity": 3}, status=201)
    refused = patch(staff, variant, status=409, allow_backorder=False, name="Renamed")
    assert_problem(refused, 409, "stock-conflict")
    assert staff.get(path_of(variant)).json == variant
    staff.post_json(f"{ADMIN}/stock/{variant['id']}/receive", {"quantity": 3})
    changed = patch(staff, variant, allow_backorder=False, low_stock_threshold=1)
    assert (changed.json["allow_backorder"], changed.json["low_stock_threshold"], changed.json["version"]) == (
        False,
        1,
        2,
    )
    client.post_json("/api/v1/holds", {"variant_id": variant["id"], "quantity": 1}, status=409)
    patch(staff, variant, track_stock=False)
    client.post_json("/api/v1/holds", {"variant_id": variant["id"], "quantity": 1}, status=201)
    assert_stock_adds_up(engine)


@pytest.mark.parametrize(
    "fields",
    [
        {"currency": "USX"},
        {"currency": "usd"},
        {"currency": "EUR"},
        {"price_amount": -1},
        {"price_amount": 10**12 + 1},
        {"price_amount": 9.99},
        {"price_amount": "1"},
        {"price_amount": True},
        {"price_amount": None},
        {"cost_amount": -1},
        {"compare_at_amount": 10**12 + 1},
        {"sku": ""},
        {"sku": "A\nB"},
        {"weight_grams": -1},
        {"low_stock_threshold": 2**31},
        {"unknown": 1},
    ],
)
def test_rubbish_is_refused(staff: TestApp, add_variant: Add, fields: Any) -> None:
    variant = add_variant("A")
    assert_problem(patch(staff, variant, status="*", **fields), 422, "invalid-input")


def test_a_price_may_change_with_its_currency(staff: TestApp, add_variant: Add) -> None:
    changed = patch(staff, add_variant("A"), currency="JPY", price_amount=2_000, compare_at_amount=None).json
    assert (changed["currency"], changed["price_amount"]) == ("JPY", 2_000)
    assert staff.get("/api/v1/products/tee").json["price"]["formatted"] == "¥2,000"
