"""The list of products over HTTP: filters, sorts, pages, and what a product looks like."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import Engine, text
from webtest import TestApp

from commerce_core.catalog.models import Product
from commerce_core.catalog.schemas import ListedProduct, ProductDetail, ProductPage
from commerce_core.database import transaction
from commerce_core.demo.bulk import load_bulk
from commerce_core.testing import count_sql

PRODUCTS = "/api/v1/products"


def get_page(client: TestApp, query: str = "", path: str = PRODUCTS) -> Any:
    return client.get(f"{path}?{query}" if query else path).json


def slugs(page: Any) -> list[str]:
    return [product["slug"] for product in page["data"]]


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "tee shirt coat rake hose"),
        ("category=clothing", "tee shirt coat"),
        ("category=shirts", "tee shirt"),
        ("category=tees", "tee"),
        ("category=unknown", ""),
        ("brand=acme", "tee coat"),
        ("brand=unknown", ""),
        ("category=clothing&brand=unknown", ""),
        ("category=clothing&brand=bolt", "shirt"),
        ("min_price=2500", "shirt coat rake hose"),
        ("max_price=2500", "tee rake hose"),
        ("min_price=2500&max_price=4000", "shirt rake hose"),
        ("min_price=4000&max_price=2500", ""),
        ("in_stock=true", "tee shirt rake hose"),
        ("in_stock=false", "coat"),
        ("featured=true", "shirt rake"),
        ("featured=false", "tee coat hose"),
        ("attributes[color]=red", "tee"),
        ("attributes[color]=blue", "tee shirt"),
        ("attributes[color]=red&attributes[color]=green", "tee shirt"),
        ("attributes[color]=blue&attributes[material]=linen", "shirt"),
        ("attributes[color]=%27%3B%20DROP%20TABLE%20product%3B--", ""),
        ("category=clothing&brand=acme&min_price=1000&max_price=2000&in_stock=true&attributes[size]=M", "tee"),
    ],
)
def test_filters_narrow_the_list(client: TestApp, query: str, expected: str) -> None:
    page = get_page(client, query)
    assert slugs(page) == expected.split()
    assert page["meta"]["total"] == len(expected.split())


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("newest", "tee shirt coat rake hose"),
        ("price_asc", "tee rake hose shirt coat"),
        ("price_desc", "coat shirt hose rake tee"),
        ("name", "coat hose rake shirt tee"),
        ("popular", "shirt rake tee hose coat"),
    ],
)
def test_sorts_put_the_list_in_order(client: TestApp, sort: str, expected: str) -> None:
    assert slugs(get_page(client, f"sort={sort}")) == expected.split()


@pytest.mark.usefixtures("shop")
def test_pages_cover_every_product_once(client: TestApp) -> None:
    pages = [get_page(client, f"per_page=2&sort=price_asc&page={number}") for number in (1, 2, 3)]
    assert [slug for page in pages for slug in slugs(page)] == ["tee", "rake", "hose", "shirt", "coat"]
    assert pages[1]["meta"] == {"page": 2, "per_page": 2, "total": 5, "last_page": 3}
    assert pages[0]["links"]["prev"] is None
    assert pages[2]["links"]["next"] is None
    assert slugs(client.get(pages[0]["links"]["next"]).json) == slugs(pages[1])


@pytest.mark.usefixtures("shop")
def test_links_keep_the_filters(client: TestApp) -> None:
    page = get_page(client, "attributes[color]=blue&attributes[color]=red&featured=false&per_page=1")
    assert slugs(client.get(page["links"]["last"]).json) == slugs(page) == ["tee"]


@pytest.mark.usefixtures("shop")
def test_a_page_beyond_the_last_is_empty_and_says_so(client: TestApp) -> None:
    page = get_page(client, "page=7&per_page=2")
    assert page["data"] == []
    assert (page["meta"]["total"], page["meta"]["last_page"]) == (5, 3)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page=0", "page"),
        ("page=1000000000", "page"),
        ("per_page=101", "per_page"),
        ("sort=cheapest", "sort"),
        ("min_price=-1", "min_price"),
        ("min_price=1.5", "min_price"),
        ("max_price=9223372036854775808", "max_price"),
        ("in_stock=perhaps", "in_stock"),
        ("include=everything", "include"),
        ("category=a%00b", "category"),
        ("attributes[color]=a%00b", "attributes.color.0"),
        ("attributes=red", "attributes"),
        ("colour=red", "colour"),
    ],
)
def test_a_wrong_parameter_is_named(client: TestApp, query: str, field: str) -> None:
    answer = client.get(f"{PRODUCTS}?{query}", status=422)
    assert [error["field"] for error in answer.json["errors"]] == [field]


def test_only_published_products_are_seen(
    client: TestApp, engine: Engine, make_product: Callable[..., Product]
) -> None:
    make_product("seen")
    hidden = [
        make_product("draft", status="draft"),
        make_product("archived", status="archived"),
        make_product("without-variants", variants=[]),
        make_product("deleted"),
        make_product("unpublished"),
    ]
    with transaction(engine) as session:
        session.execute(text("UPDATE product SET deleted_at = now() WHERE slug = 'deleted'"))
        session.execute(text("UPDATE product SET published_at = NULL WHERE slug = 'unpublished'"))
    for sort in ("newest", "price_asc", "price_desc", "name", "popular"):
        assert slugs(get_page(client, f"sort={sort}")) == ["seen"]
    for product in hidden:
        assert client.get(f"{PRODUCTS}/{product.slug}", status=404).json["type"] == "/problems/not-found"
        client.get(f"{PRODUCTS}/{product.id}", status=404)


@pytest.mark.usefixtures("shop")
def test_a_product_is_found_by_id_and_by_slug(client: TestApp) -> None:
    by_slug = client.get(f"{PRODUCTS}/tee").json
    assert client.get(f"{PRODUCTS}/{by_slug['id']}").json == by_slug
    assert [variant["sku"] for variant in by_slug["variants"]] == ["TEE-0", "TEE-1"]


@pytest.mark.parametrize(
    "unknown",
    ["nothing", "0199f3a0-0000-7000-8000-000000000000", "%00", "a%00b", "%F0%9F%8D%8B", "x" * 3_000],
    ids=["slug", "id", "NUL", "NUL inside", "emoji", "long"],
)
def test_an_unknown_product_is_not_found(client: TestApp, unknown: str) -> None:
    client.get(f"{PRODUCTS}/{unknown}", status=404)


@pytest.mark.usefixtures("shop")
def test_answers_have_exactly_the_documented_members(client: TestApp) -> None:
    page = get_page(client, "include=variants")
    assert_shape(page, ProductPage)
    assert_shape(page["data"][0], ListedProduct)
    assert_shape(client.get(f"{PRODUCTS}/tee").json, ProductDetail)


def assert_shape(answer: Any, schema: type[BaseModel]) -> None:
    """`answer` is what `schema` would have written, member for member."""
    assert schema.model_validate(answer).model_dump(mode="json") == answer


@pytest.mark.usefixtures("shop")
def test_a_product_sums_up_its_variants(client: TestApp) -> None:
    product = get_page(client, "category=tees")["data"][0]
    assert product["price"] == {"amount": 1500, "currency": "USD", "formatted": "$15.00"}
    assert product["price_range"]["max"]["amount"] == 1700
    assert product["variant_count"] == 2
    assert product["available"] == 4
    assert product["brand"]["slug"] == "acme"
    assert product["category"]["slug"] == "tees"
    assert "variants" not in product


def test_prices_are_written_in_the_clients_language(client: TestApp, make_product: Callable[..., Product]) -> None:
    make_product("tee", variants=[{"price_amount": 123_456, "currency": "EUR", "stock": 1}])
    answer = client.get(f"{PRODUCTS}/tee", headers={"Accept-Language": "de-DE"})
    assert answer.json["price"]["formatted"] == "1.234,56\xa0€"


def test_discount_is_rounded_down(client: TestApp, make_product: Callable[..., Product]) -> None:
    make_product("tee", variants=[{"price_amount": 6_667, "compare_at_amount": 10_000, "stock": 1}])
    product = client.get(f"{PRODUCTS}/tee").json
    assert product["discount_percentage"] == product["variants"][0]["discount_percentage"] == 33


@pytest.mark.parametrize(
    ("options", "stock"),
    [
        ({"stock": 9}, {"available": 9, "in_stock": True, "low": False, "version": 1}),
        ({"stock": 5}, {"available": 5, "in_stock": True, "low": True, "version": 1}),
        ({"stock": 0}, {"available": 0, "in_stock": False, "low": False, "version": 0}),
        ({"allow_backorder": True}, {"available": 0, "in_stock": True, "low": False, "version": 0}),
        ({"track_stock": False}, {"available": None, "in_stock": True, "low": False, "version": 0}),
    ],
)
def test_stock_of_a_variant(
    client: TestApp, make_product: Callable[..., Product], options: dict[str, Any], stock: dict[str, Any]
) -> None:
    make_product("tee", variants=[options])
    product = client.get(f"{PRODUCTS}/tee").json
    assert product["variants"][0]["stock"] == stock
    assert product["available"] == stock["available"]
    assert slugs(get_page(client, "in_stock=true")) == (["tee"] if stock["in_stock"] else [])


def test_a_held_unit_is_not_available(client: TestApp, make_product: Callable[..., Product]) -> None:
    make_product("tee", stock=1)
    variant = client.get(f"{PRODUCTS}/tee").json["variants"][0]
    client.post_json("/api/v1/holds", {"variant_id": variant["id"], "quantity": 1}, status=201)
    assert client.get(f"{PRODUCTS}/tee").json["available"] == 0
    assert slugs(get_page(client, "in_stock=true")) == []


@pytest.mark.usefixtures("shop")
def test_an_unchanged_page_is_not_sent_again(client: TestApp) -> None:
    etag = client.get(PRODUCTS).headers["ETag"]
    assert client.get(PRODUCTS, headers={"If-None-Match": etag}, status=304).body == b""


def test_the_number_of_statements_does_not_depend_on_the_page_size(
    application: Any, client: TestApp, make_product: Callable[..., Product]
) -> None:
    for number in range(12):
        make_product(f"tee-{number}", variants=[{"stock": 1}, {}, {}])

    def statements(query: str) -> int:
        with count_sql(application.registry.engine) as sent:
            get_page(client, query)
        return len(sent)

    assert statements("include=variants&per_page=1") == statements("include=variants&per_page=12") == 3
    assert statements("per_page=12") == 2
    assert statements("include=variants&category=x&brand=y&page=2") <= 4


@pytest.mark.commerce(settings={"cache.enabled": "false"})
def test_a_page_takes_at_most_four_statements_however_many_products_there_are(
    application: Any, client: TestApp, engine: Engine
) -> None:
    counts = []
    for size in (10, 100_000 if os.environ.get("COMMERCE_SOAK") else 2_000):
        load_bulk(engine, size, seed=1, now=application.registry.clock.now())
        product = get_page(client, "per_page=1")["data"][0]
        category, brand = product["category"]["slug"], product["brand"]["slug"]
        with count_sql(application.registry.engine) as sent:
            page = get_page(client, f"include=variants&per_page=24&category={category}&brand={brand}")
        assert page["data"]
        counts.append(len(sent))
    assert counts == [4, 4]
