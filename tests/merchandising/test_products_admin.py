"""Staff keep products: what may be said of them, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from support.problems import assert_problem
from webtest import TestApp

from commerce_core.audit.models import AuditEntry
from commerce_core.events import ProductChanged
from commerce_core.testing import concurrently

from .conftest import ADMIN

PRODUCTS = f"{ADMIN}/products"
Add = Callable[..., Any]


def patch(staff: TestApp, path: str, fields: Any, etag: str = "*", status: Any = 200) -> Any:
    return staff.patch_json(f"{ADMIN}/{path}", fields, headers={"If-Match": etag}, status=status)


def delete(staff: TestApp, path: str, etag: str = "*", status: Any = 204) -> Any:
    return staff.delete(f"{ADMIN}/{path}", headers={"If-Match": etag}, status=status)


def test_a_product_is_made_seen_changed_and_deleted(
    staff: TestApp, client: TestApp, add_variant: Add, tee: Any
) -> None:
    assert client.get("/api/v1/products/tee", status=404)
    add_variant("TEE-1")
    assert client.get("/api/v1/products/tee").json["price"]["amount"] == 1_500
    changed = patch(staff, f"products/{tee['id']}", {"name": "T-shirt", "attributes": {"color": ["red", "blue"]}}).json
    assert changed == {
        **tee,
        "name": "T-shirt",
        "attributes": {"color": ["red", "blue"]},
        "version": 2,
        "updated_at": changed["updated_at"],
    }
    assert [p["slug"] for p in client.get("/api/v1/products?attributes[color]=blue").json["data"]] == ["tee"]
    delete(staff, f"products/{tee['id']}")
    assert client.get("/api/v1/products/tee", status=404)
    gone = staff.get(f"{PRODUCTS}/{tee['id']}").json
    assert (gone["status"], gone["deleted_at"] is not None, gone["slug"]) == ("archived", True, "tee")
    assert patch(staff, f"products/{tee['id']}", {"name": "Back"}, status=404)


def test_a_new_product_says_where_it_is_and_at_which_version(staff: TestApp) -> None:
    answer = staff.post_json(PRODUCTS, {"slug": "tee", "name": "Tee"}, headers={"Idempotency-Key": "one"}, status=201)
    assert answer.headers["ETag"] == '"1"'
    assert staff.get(answer.headers["Location"].replace("http://localhost", "")).json == answer.json
    again = staff.post_json(PRODUCTS, {"slug": "tee", "name": "Tee"}, headers={"Idempotency-Key": "one"}, status=201)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (again.json, again.headers["ETag"]) == (answer.json, '"1"')


def test_whoever_changes_a_thing_must_say_what_he_has_seen(staff: TestApp, tee: Any) -> None:
    path = f"{PRODUCTS}/{tee['id']}"
    for method in (staff.patch_json, staff.delete_json):
        assert_problem(method(path, {}, status="*"), 428, "precondition-required")
    assert_problem(staff.post(f"{path}/publish", status="*"), 428, "precondition-required")
    first = patch(staff, f"products/{tee['id']}", {"name": "One"}, '"1"')
    assert first.headers["ETag"] == '"2"'
    late = patch(staff, f"products/{tee['id']}", {"name": "Two"}, '"1"', status=412)
    assert_problem(late, 412, "precondition-failed")
    assert late.headers["ETag"] == late.json["etag"] == '"2"'
    assert_problem(delete(staff, f"products/{tee['id']}", '"1"', status=412), 412, "precondition-failed")
    assert_problem(patch(staff, f"products/{tee['id']}", {}, 'W/"2"', status=412), 412, "precondition-failed")
    assert_problem(patch(staff, f"products/{tee['id']}", {}, "2", status=400), 400, "malformed-request")
    assert staff.get(path).json["name"] == "One"
    assert patch(staff, f"products/{tee['id']}", {"name": "Three"}, '"7", "2"').json["version"] == 3


def test_what_changes_nothing_is_no_new_version(staff: TestApp, tee: Any) -> None:
    assert patch(staff, f"products/{tee['id']}", {"name": "Tee"}).json == tee


def test_of_two_changes_at_once_one_wins(staff: TestApp, tee: Any) -> None:
    for version in range(1, 11):
        answers = concurrently(
            [
                lambda name=f"{letter}{version}", etag=f'"{version}"': patch(
                    staff, f"products/{tee['id']}", {"name": name}, etag, status="*"
                )
                for letter in "abc"
            ]
        )
        assert sorted(answer.status_code for answer in answers) == [200, 412, 412]


def test_null_empties_only_what_may_be_empty(staff: TestApp, add: Add) -> None:
    category = add("categories", slug="shirts", name="Shirts")
    product = add("products", slug="tee", name="Tee", category_id=category["id"])
    assert patch(staff, f"products/{product['id']}", {"category_id": None}).json["category_id"] is None
    refused = patch(staff, f"products/{product['id']}", {"name": None, "attributes": None}, status=422)
    assert [error["field"] for error in assert_problem(refused, 422, "invalid-input")["errors"]] == [
        "name",
        "attributes",
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"slug": "Tee"},
        {"slug": "a--b"},
        {"slug": "01932c07-209c-7e3a-b6f4-5d2a8c9e1f70"},
        {"slug": "x" * 121},
        {"name": ""},
        {"name": "\x00"},
        {"status": "sold"},
        {"category_id": "01932c07-209c-7e3a-b6f4-5d2a8c9e1f70"},
        {"brand_id": "01932c07-209c-7e3a-b6f4-5d2a8c9e1f70"},
        {"attributes": {"color": None}},
        {"attributes": {"color": {"deep": 1}}},
        {"attributes": {"color": ["red", 1]}},
        {"attributes": {"size": 2**53 + 1}},
        {"attributes": {"a": "\x00"}},
        {"attributes": {str(number): "x" * 500 for number in range(50)}},
        {"attributes": {str(number): 1 for number in range(51)}},
        {"images": [{"url": "javascript:alert(1)"}]},
        {"images": [{"url": "//evil.example/x.png"}]},
        {"images": [{"url": "/\\evil.example/x.png"}]},
        {"images": [{"url": "/a.png"}] * 21},
        {"tax_class": "Not A Class"},
        {"popularity": -1},
        {"published_at": "2026-01-01T00:00:00Z"},
    ],
)
def test_rubbish_is_refused(staff: TestApp, fields: Any) -> None:
    answer = staff.post_json(PRODUCTS, {"slug": "tee", "name": "Tee", **fields}, status="*")
    assert_problem(answer, 422, "invalid-input")


def test_a_slug_is_taken_once_even_when_many_come_at_once(staff: TestApp, add: Add) -> None:
    answers = concurrently(
        [lambda: staff.post_json(PRODUCTS, {"slug": "tee", "name": "Tee"}, status="*") for _ in range(8)]
    )
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 7]
    for answer in answers:
        if answer.status_code == 409:
            assert_problem(answer, 409, "slug-taken")
    other = add("products", slug="other", name="Other")
    assert_problem(patch(staff, f"products/{other['id']}", {"slug": "tee"}, status=409), 409, "slug-taken")


def test_publishing_and_unpublishing(staff: TestApp, client: TestApp, clock: Any, add_variant: Add, tee: Any) -> None:
    add_variant("TEE-1")
    published_at = tee["published_at"]
    path = f"{PRODUCTS}/{tee['id']}"
    clock.tick(hours=1)
    draft = staff.post(f"{path}/unpublish", headers={"If-Match": '"1"'}).json
    assert (draft["status"], draft["published_at"]) == ("draft", None)
    assert client.get("/api/v1/products/tee", status=404)
    active = staff.post(f"{path}/publish", headers={"If-Match": '"2"'}).json
    assert active["status"] == "active"
    assert active["published_at"] > published_at
    assert client.get("/api/v1/products/tee", status=200)


def test_the_list_is_filtered(staff: TestApp, add: Add) -> None:
    top = add("categories", slug="clothing", name="Clothing")
    below = add("categories", slug="shirts", name="Shirts", parent_id=top["id"])
    brand = add("brands", slug="acme", name="Acme")
    tee = add("products", slug="tee", name="Red Tee", category_id=below["id"], status="active")
    add("products", slug="hose", name="100% Hose", brand_id=brand["id"])
    add(f"products/{tee['id']}/variants", sku="AB_1", currency="USD", price_amount=1)
    gone = add("products", slug="gone", name="Gone")
    delete(staff, f"products/{gone['id']}")

    def slugs(query: str) -> list[str]:
        return [product["slug"] for product in staff.get(f"{PRODUCTS}?{query}").json["data"]]

    assert slugs("") == ["hose", "tee"]
    assert slugs("status=draft") == ["hose"]
    assert slugs("category=clothing") == ["tee"]
    assert slugs("brand=acme") == ["hose"]
    assert slugs("deleted=true") == ["gone"]
    assert slugs("q=red") == slugs("q=te") == slugs("q=AB_") == ["tee"]
    assert slugs("q=100%25") == ["hose"]
    assert slugs("q=%25") == slugs("q=A_") == []
    page = staff.get(f"{PRODUCTS}?limit=1").json
    assert slugs(f"limit=1&cursor={page['meta']['next_cursor']}") == ["tee"]


def test_every_change_is_told_and_filed(application: Any, staff: TestApp, engine: Engine, tee: Any) -> None:
    told: list[ProductChanged] = []
    application.registry.bus.subscribe(ProductChanged, told.append)
    patch(staff, f"products/{tee['id']}", {"name": "T-shirt"})
    patch(staff, f"products/{tee['id']}", {"name": "Late"}, '"1"', status=412)
    assert [(event.what, [str(id_) for id_ in event.product_ids]) for event in told] == [
        ("product.update", [tee["id"]])
    ]
    with Session(engine) as session:
        entries = session.scalars(
            select(AuditEntry).where(AuditEntry.subject == f"product:{tee['id']}").order_by(AuditEntry.id)
        ).all()
    assert [entry.action for entry in entries] == ["product.create", "product.update"]
    assert entries[1].before is not None
    assert entries[1].after is not None
    assert (entries[1].before["name"], entries[1].after["name"]) == ("Tee", "T-shirt")
    assert entries[1].before.keys() <= {"name", "version", "updated_at"}
