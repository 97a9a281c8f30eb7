"""Bodies that are broken, too large, or not what was asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from uuid import UUID, uuid4

import pytest
from support.problems import assert_problem
from webob import Response
from webtest import TestApp

HOLDS = "/api/v1/holds"
LIMIT = 1_048_576


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{'quantity': 1}",
        b'{"quantity": 1,}',
        b'{"quantity": NaN}',
        b'{"quantity": Infinity}',
        b'{"quantity": 1} {}',
        b"\xff\xfe",
        b'{"reason": "\xff"}',
        b'{"reason": "\\ud800"}',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_not_json_is_malformed(send: Callable[..., Response], body: bytes) -> None:
    assert_problem(send("POST", HOLDS, body), 400, "malformed-request")


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "application/xml"]
)
def test_a_body_must_say_that_it_is_json(send: Callable[..., Response], content_type: str | None) -> None:
    assert_problem(send("POST", HOLDS, b"{}", CONTENT_TYPE=content_type), 415, "unsupported-media-type")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", "application/a+json"])
def test_json_may_be_called_json_in_several_ways(send: Callable[..., Response], content_type: str) -> None:
    assert_problem(send("POST", HOLDS, b"{}", CONTENT_TYPE=content_type), 422, "invalid-input")


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"null", b"1", b"true"])
def test_a_body_that_is_no_object_is_invalid(send: Callable[..., Response], body: bytes) -> None:
    problem = assert_problem(send("POST", HOLDS, body), 422, "invalid-input")
    assert [(error["field"], error["message"]) for error in problem["errors"]] == [
        ("body", "Input should be an object")
    ]


@pytest.mark.parametrize(
    ("path", "body", "field", "message"),
    [
        (
            "/auth/password-reset",
            {"email": "ada"},
            "email",
            "must be an e-mail address, such as ada@example.com",
        ),
        ("/cart/coupons", {"code": "A/B"}, "code", "must be 1 to 64 letters, digits and . _ ~ -"),
        (
            "/orders",
            {"cart": True, "shipping_address": {"name": "A", "line1": "1", "city": "B", "country": "Germany"}},
            "shipping_address.country",
            "must be two capital letters (ISO 3166-1), such as DE",
        ),
        (
            "/orders",
            {"cart": True, "customer": {"email": "ada@example.com", "name": " "}},
            "customer.name",
            "String should have at least 1 character",
        ),
    ],
    ids=["an address", "a code", "a country", "an empty text"],
)
def test_who_sends_a_wrong_text_is_told_in_words_what_it_should_be(
    send: Callable[..., Response], path: str, body: dict[str, object], field: str, message: str
) -> None:
    problem = assert_problem(send("POST", "/api/v1" + path, json.dumps(body).encode()), 422, "invalid-input")
    assert [(error["field"], error["message"]) for error in problem["errors"]] == [(field, message)]


def test_every_field_at_fault_is_named(send: Callable[..., Response]) -> None:
    problem = assert_problem(send("POST", HOLDS, b'{"quantity": "1", "extra": 1}'), 422, "invalid-input")
    assert {error["field"]: error["code"] for error in problem["errors"]} == {
        "variant_id": "missing",
        "quantity": "int_type",
        "extra": "extra_forbidden",
    }


@pytest.mark.parametrize("quantity", ["1", 1.0, 1.5, True, None, [1], 0, -1, 2**31, 2**63, 10**30])
def test_a_number_is_a_number(send: Callable[..., Response], quantity: object) -> None:
    body = json.dumps({"variant_id": str(uuid4()), "quantity": quantity}).encode()
    problem = assert_problem(send("POST", HOLDS, body), 422, "invalid-input")
    assert [error["field"] for error in problem["errors"]] == ["quantity"]


def test_of_a_repeated_key_the_last_counts(send: Callable[..., Response], make_variant: Callable[..., UUID]) -> None:
    body = f'{{"variant_id": "{make_variant()}", "quantity": 9, "quantity": 2}}'
    response = send("POST", HOLDS, body.encode())
    assert response.status_code == 201
    assert response.json["quantity"] == 2


@pytest.mark.parametrize(
    ("attributes", "field"),
    [({"size": {"eu": 43}}, "attributes.size"), ({"size": ["43", {"eu": 43}]}, "attributes.size.1")],
    ids=["a value", "one of a list"],
)
def test_a_field_that_may_be_one_of_several_things_is_named_as_it_was_sent(
    staff: TestApp, attributes: dict[str, object], field: str
) -> None:
    """Not by the alternatives that were tried: pydantic says attributes.size.bool, attributes.size.int and so on."""
    body = {"slug": "boots", "name": "Boots", "attributes": attributes}
    problem = assert_problem(staff.post_json("/api/v1/admin/products", body, status=422), 422, "invalid-input")
    assert field in {error["field"] for error in problem["errors"]} <= {"attributes.size", field}
    token = {"device_name": "till", "abilities": ["stock:raed!"]}
    problem = assert_problem(staff.post_json("/api/v1/auth/tokens", token, status=422), 422, "invalid-input")
    assert problem["detail"] == "Please correct: abilities.0."


@pytest.mark.parametrize("field", ["reason"])
def test_the_nul_character_is_refused(staff: TestApp, make_variant: Callable[..., UUID], field: str) -> None:
    path = f"/api/v1/admin/stock/{make_variant()}/receive"
    response = staff.post_json(path, {"quantity": 1, field: "a\x00b"}, status=422)
    assert response.json["errors"][0]["field"] == field


@pytest.mark.parametrize("address", ["a\x00@example.com", "a b@example.com", "ada", "", "@", f"{'a' * 250}@b.co"])
def test_an_email_address_must_look_like_one(client: TestApp, address: str) -> None:
    order = {"hold_id": str(uuid4()), "customer": {"email": address, "name": "Ada"}}
    response = client.post_json("/api/v1/orders", order, status=422)
    assert [error["field"] for error in response.json["errors"]] == ["customer.email"]


def test_a_body_of_ten_megabytes_is_refused_unread(send: Callable[..., Response]) -> None:
    class Unread(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise AssertionError("the body was read")

    response = send("POST", HOLDS, CONTENT_LENGTH=str(10_000_000), **{"wsgi.input": Unread()})
    assert_problem(response, 413, "body-too-large")


def test_a_chunked_body_is_read_no_further_than_the_limit(send: Callable[..., Response]) -> None:
    body = BytesIO(b" " * 10_000_000)
    response = send("POST", HOLDS, CONTENT_LENGTH=None, HTTP_TRANSFER_ENCODING="chunked", **{"wsgi.input": body})
    assert_problem(response, 413, "body-too-large")
    assert body.tell() <= LIMIT + 1


def test_a_chunked_body_is_as_good_as_any(send: Callable[..., Response], make_variant: Callable[..., UUID]) -> None:
    body = BytesIO(f'{{"variant_id": "{make_variant()}", "quantity": 2}}'.encode())
    response = send("POST", HOLDS, CONTENT_LENGTH=None, HTTP_TRANSFER_ENCODING="chunked", **{"wsgi.input": body})
    assert response.status_code == 201


@pytest.mark.parametrize("length", ["-1", "1e3", "ten", "٣", "100"])
def test_a_length_that_is_not_the_bodys_is_malformed(send: Callable[..., Response], length: str) -> None:
    assert_problem(send("POST", HOLDS, b"{}", CONTENT_LENGTH=length), 400, "malformed-request")


@pytest.mark.parametrize("path", ["/extend", ""])
def test_a_body_that_nobody_asked_for_is_not_read_as_json(
    send: Callable[..., Response], client: TestApp, make_variant: Callable[..., UUID], path: str
) -> None:
    hold = client.post_json(HOLDS, {"variant_id": str(make_variant()), "quantity": 1}).json
    response = send("POST" if path else "DELETE", f"{HOLDS}/{hold['id']}{path}", b"\xff")
    assert response.status_code in (200, 204)
