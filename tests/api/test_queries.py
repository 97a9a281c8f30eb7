"""Addresses and queries that are broken, unknown or out of range."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from support.problems import assert_problem
from webob import Response
from webtest import TestApp

from commerce_core.api.schemas import encode_cursor

PRODUCTS = "/api/v1/products"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("unknown=1", "unknown"),
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=1.5", "page"),
        ("page=", "page"),
        ("page=9999999999999999999999", "page"),
        ("page=1&page=2", "page"),
        ("per_page=0", "per_page"),
        ("per_page=101", "per_page"),
        ("sort=price", "sort"),
        ("sort=name&sort=newest", "sort"),
        ("min_price=-1", "min_price"),
        ("max_price=99999999999999999999", "max_price"),
        ("in_stock=perhaps", "in_stock"),
        ("brand=", "brand"),
        ("brand=a%00b", "brand"),
        ("attributes=red", "attributes"),
        ("brand[color]=red", "brand"),
        ("PAGE=1", "PAGE"),
    ],
)
def test_a_parameter_at_fault_is_named(send: Callable[..., Response], query: str, field: str) -> None:
    problem = assert_problem(send("GET", f"{PRODUCTS}?{query}"), 422, "invalid-input")
    assert [error["field"] for error in problem["errors"]] == [field]


def test_every_parameter_at_fault_is_named(send: Callable[..., Response]) -> None:
    problem = assert_problem(send("GET", f"{PRODUCTS}?page=0&per_page=101&colour=red"), 422, "invalid-input")
    assert {error["field"] for error in problem["errors"]} == {"page", "per_page", "colour"}


def test_a_list_without_parameters_refuses_them_too(send: Callable[..., Response]) -> None:
    assert_problem(send("GET", "/api/v1/brands?page=1"), 422, "invalid-input")


def test_parameters_that_do_not_go_together_are_a_fault_of_the_query(send: Callable[..., Response]) -> None:
    problem = assert_problem(send("GET", "/api/v1/cart/quote?region=CA"), 422, "invalid-input")
    assert [error["field"] for error in problem["errors"]] == ["query"]


def test_two_hundred_parameters_are_too_many(send: Callable[..., Response]) -> None:
    query = "&".join(f"attributes[a{number}]=1" for number in range(200))
    assert_problem(send("GET", f"{PRODUCTS}?{query}"), 400, "malformed-request")


@pytest.mark.parametrize("cursor", ["garbage", "%00", "=", "é", "A" * 64, "A" * 65, "AAAA", "../../etc"])
def test_a_cursor_that_is_none_of_ours_is_invalid(send: Callable[..., Response], cursor: str) -> None:
    problem = assert_problem(send("GET", f"/api/v1/holds?cursor={cursor}"), 422, "invalid-input")
    assert [error["field"] for error in problem["errors"]] == ["cursor"]


def test_a_cursor_to_nothing_leads_to_an_empty_list(send: Callable[..., Response]) -> None:
    response = send("GET", f"/api/v1/holds?cursor={encode_cursor(uuid4())}")
    assert response.json["data"] == []
    assert response.json["links"]["next"] is None


def test_a_cursor_of_one_list_is_harmless_in_another(staff: TestApp, make_variant: Callable[..., UUID]) -> None:
    path = f"/api/v1/admin/stock/{make_variant()}/movements"
    staff.get(f"{path}?cursor={encode_cursor(UUID(int=2**128 - 1))}", status=200)


@pytest.mark.parametrize("address", [f"{PRODUCTS}/%ff", f"{PRODUCTS}?brand=%ff", "/%ff", "/api/v1/holds/%c3%28"])
def test_an_address_that_is_not_utf8_is_malformed(send: Callable[..., Response], address: str) -> None:
    assert_problem(send("GET", address), 400, "malformed-request")


@pytest.mark.parametrize(
    "address",
    [
        "/api/v1",
        "/api/v1/nothing",
        "/api/v2/products",
        f"{PRODUCTS}/",
        f"{PRODUCTS}/a%00b",
        f"{PRODUCTS}/{'x' * 5_000}",
        "/api/v1/holds/not-a-uuid",
        "/api/v1/holds/01932c07-209c-7e3a-b6f4-5d2a8c9e1f70",
        "/api/v1/orders/K7QX2-M9T4R",
        "/api/v1/orders/%00",
        "/problems/unheard-of",
    ],
)
def test_where_there_is_nothing_the_answer_is_404(send: Callable[..., Response], address: str) -> None:
    assert_problem(send("GET", address), 404, "not-found")
