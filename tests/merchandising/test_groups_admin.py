"""Staff keep categories and brands: a tree without circles, and nothing lost when one goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine
from support.problems import assert_problem
from webtest import TestApp

from commerce_core.events import ProductChanged
from commerce_core.testing import concurrently

from .conftest import ADMIN

Add = Callable[..., Any]


def patch(staff: TestApp, path: str, status: Any = 200, **fields: Any) -> Any:
    return staff.patch_json(f"{ADMIN}/{path}", fields, headers={"If-Match": "*"}, status=status)


def delete(staff: TestApp, path: str, status: Any = 204, etag: str = "*") -> Any:
    return staff.delete(f"{ADMIN}/{path}", headers={"If-Match": etag}, status=status)


def test_a_category_is_made_moved_and_renamed(staff: TestApp, client: TestApp, add: Add) -> None:
    top, other = (add("categories", slug=slug, name=slug.title()) for slug in ("clothing", "sale"))
    shirts = add("categories", slug="shirts", name="Shirts", parent_id=top["id"])
    moved = patch(staff, f"categories/{shirts['id']}", parent_id=other["id"], name="All shirts").json
    assert (moved["parent_id"], moved["version"]) == (other["id"], 2)
    assert client.get("/api/v1/categories/sale").json["children"][0]["name"] == "All shirts"
    assert patch(staff, f"categories/{shirts['id']}", parent_id=None).json["parent_id"] is None
    assert_problem(patch(staff, f"categories/{shirts['id']}", slug="sale", status=409), 409, "slug-taken")
    assert len(staff.get(f"{ADMIN}/categories").json["data"]) == 3


def test_a_category_is_never_below_itself(staff: TestApp, add: Add) -> None:
    top = add("categories", slug="a", name="A")
    below = add("categories", slug="b", name="B", parent_id=top["id"])
    for parent in (top, below):
        refused = patch(staff, f"categories/{top['id']}", parent_id=parent["id"], status=409)
        assert_problem(refused, 409, "category-loop")


def test_two_moves_at_once_close_no_circle(staff: TestApp, add: Add, engine: Engine) -> None:
    for attempt in range(10):
        a, b = (add("categories", slug=f"{slug}{attempt}", name=slug) for slug in "ab")
        answers = concurrently(
            [
                lambda one=one, other=other: patch(staff, f"categories/{one}", parent_id=other, status="*")
                for one, other in ((a["id"], b["id"]), (b["id"], a["id"]))
            ]
        )
        assert sorted(answer.status_code for answer in answers) == [200, 409]


def test_the_tree_is_ten_deep(staff: TestApp, add: Add) -> None:
    parent_id = None
    for depth in range(10):
        parent_id = add("categories", slug=f"d{depth}", name="D", parent_id=parent_id)["id"]
    refused = staff.post_json(f"{ADMIN}/categories", {"slug": "deep", "name": "D", "parent_id": parent_id}, status="*")
    assert_problem(refused, 409, "category-tree-too-deep")


def test_what_is_not_empty_is_deleted_only_when_it_is_said_where_things_go(
    staff: TestApp, add: Add, engine: Engine
) -> None:
    old, new = (add("categories", slug=slug, name=slug) for slug in ("old", "new"))
    child = add("categories", slug="child", name="Child", parent_id=old["id"])
    product = add("products", slug="tee", name="Tee", category_id=old["id"])
    problem = assert_problem(delete(staff, f"categories/{old['id']}", status=409), 409, "not-empty")
    assert (problem["products"], problem["categories"]) == (1, 1)
    assert problem["detail"] == "1 product and 1 category are in it."
    unknown = delete(staff, f"categories/{old['id']}?reassign_to={product['id']}", status=422)
    assert_problem(unknown, 422, "invalid-input")
    loop = delete(staff, f"categories/{old['id']}?reassign_to={child['id']}", status=409)
    assert_problem(loop, 409, "category-loop")
    delete(staff, f"categories/{old['id']}?reassign_to={new['id']}")
    assert staff.get(f"{ADMIN}/products/{product['id']}").json["category_id"] == new["id"]
    assert staff.get(f"{ADMIN}/products/{product['id']}").json["version"] == 2
    assert staff.get(f"{ADMIN}/categories/{child['id']}").json["parent_id"] == new["id"]
    staff.get(f"{ADMIN}/categories/{old['id']}", status=404)


def test_a_deleted_product_keeps_no_category_alive(staff: TestApp, add: Add) -> None:
    category, brand = add("categories", slug="old", name="Old"), add("brands", slug="acme", name="Acme")
    product = add("products", slug="tee", name="Tee", category_id=category["id"], brand_id=brand["id"])
    delete(staff, f"products/{product['id']}")
    delete(staff, f"categories/{category['id']}")
    delete(staff, f"brands/{brand['id']}")


def test_a_product_is_never_in_a_category_that_is_gone(staff: TestApp, add: Add) -> None:
    for attempt in range(8):
        category = add("categories", slug=f"c{attempt}", name="C")
        body = {"slug": f"p{attempt}", "name": "P", "category_id": category["id"]}
        made, gone = concurrently(
            [
                lambda body=body: staff.post_json(f"{ADMIN}/products", body, status="*"),
                lambda category=category: delete(staff, f"categories/{category['id']}", status="*"),
            ]
        )
        assert (made.status_code, gone.status_code) in {(201, 409), (422, 204)}


def test_nobody_inherits_who_is_deleted_at_the_same_time(staff: TestApp, add: Add) -> None:
    for attempt in range(8):
        brand, heir = (add("brands", slug=f"{slug}-{attempt}", name="B") for slug in ("brand", "heir"))
        add("products", slug=f"p{attempt}", name="P", brand_id=brand["id"])
        paths = (f"brands/{brand['id']}?reassign_to={heir['id']}", f"brands/{heir['id']}")
        answers = concurrently([lambda path=path: delete(staff, path, status="*").status_code for path in paths])
        assert answers in ([204, 409], [422, 204])


def test_brands(application: Any, staff: TestApp, client: TestApp, add: Add) -> None:
    told: list[ProductChanged] = []
    application.registry.bus.subscribe(ProductChanged, told.append)
    acme, bolt = add("brands", slug="acme", name="Acme"), add("brands", slug="bolt", name="Bolt")
    assert patch(staff, f"brands/{acme['id']}", name="ACME").json["name"] == "ACME"
    assert_problem(patch(staff, f"brands/{acme['id']}", slug="bolt", status=409), 409, "slug-taken")
    product = add("products", slug="tee", name="Tee", brand_id=acme["id"])
    assert_problem(delete(staff, f"brands/{acme['id']}", status=409), 409, "not-empty")
    assert_problem(delete(staff, f"brands/{acme['id']}", status=412, etag='"1"'), 412, "precondition-failed")
    delete(staff, f"brands/{acme['id']}?reassign_to={bolt['id']}")
    assert staff.get(f"{ADMIN}/products/{product['id']}").json["brand_id"] == bolt["id"]
    assert [brand["slug"] for brand in client.get("/api/v1/brands").json["data"]] == ["bolt"]
    assert [event.what for event in told] == [
        "brand.create",
        "brand.create",
        "brand.update",
        "product.create",
        "brand.delete",
    ]
    assert str(told[-1].brand_id) == acme["id"]
