"""Categories and brands over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from webtest import TestApp

from commerce_core.catalog.schemas import BrandList, CategoryList, CategoryOut

pytestmark = pytest.mark.usefixtures("shop")


def outline(category: dict[str, Any]) -> Any:
    return {category["slug"]: [outline(child) for child in category["children"]]}


def test_categories_are_a_tree_in_order(client: TestApp) -> None:
    answer = client.get("/api/v1/categories").json
    assert [outline(category) for category in answer["data"]] == [
        {"garden": []},
        {"clothing": [{"shirts": [{"tees": []}]}]},
    ]
    assert CategoryList.model_validate(answer).model_dump(mode="json") == answer


def test_a_category_shows_what_is_below_it(client: TestApp) -> None:
    answer = client.get("/api/v1/categories/shirts").json
    assert outline(answer) == {"shirts": [{"tees": []}]}
    assert CategoryOut.model_validate(answer).model_dump(mode="json") == answer


def test_products_of_a_category_include_those_below_it(client: TestApp) -> None:
    answer = client.get("/api/v1/categories/clothing/products?sort=price_desc&brand=acme").json
    assert [product["slug"] for product in answer["data"]] == ["coat", "tee"]
    assert answer["links"]["first"].startswith("/api/v1/categories/clothing/products?")


@pytest.mark.parametrize("path", ["unknown", "unknown/products", "%00", "%00/products"])
def test_an_unknown_category_is_not_found(client: TestApp, path: str) -> None:
    client.get(f"/api/v1/categories/{path}", status=404)


def test_an_unknown_brand_in_a_known_category_matches_nothing(client: TestApp) -> None:
    assert client.get("/api/v1/categories/clothing/products?brand=unknown").json["meta"]["total"] == 0


def test_the_category_of_the_path_cannot_be_contradicted(client: TestApp) -> None:
    answer = client.get("/api/v1/categories/clothing/products?category=garden", status=422)
    assert answer.json["errors"][0]["field"] == "category"


def test_brands_are_listed_by_name(client: TestApp) -> None:
    answer = client.get("/api/v1/brands").json
    assert [brand["slug"] for brand in answer["data"]] == ["acme", "bolt"]
    assert BrandList.model_validate(answer).model_dump(mode="json") == answer
