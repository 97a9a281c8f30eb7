"""CORS: pages of origins that are named may use the API, whatever it answers; others may not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pyramid.interfaces import IRoutesMapper
from support.problems import assert_problem
from webob import Response

from commerce_core.settings import SettingsError, parse_settings
from commerce_core.testing import count_sql

SHOP = "https://shop.example"
BRANDS = "/api/v1/brands"
HOLDS = "/api/v1/holds"
allowed = pytest.mark.commerce(settings={"api.allowed_origins": f"{SHOP}, http://localhost:3000"})


@pytest.fixture
def preflight(send: Callable[..., Response]) -> Callable[..., Response]:
    def preflight(path: str, origin: str = SHOP, method: str = "POST") -> Response:
        return send("OPTIONS", path, HTTP_ORIGIN=origin, HTTP_ACCESS_CONTROL_REQUEST_METHOD=method)

    return preflight


def listed(response: Response, header: str) -> set[str]:
    return {word.strip() for word in response.headers[header].split(",")}


@allowed
def test_a_preflight_is_told_what_the_address_takes(preflight: Callable[..., Response], application: Any) -> None:
    with count_sql(application.registry.engine) as statements:
        answer = preflight(HOLDS)
    assert (answer.status_code, answer.body, statements) == (204, b"", [])
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    assert listed(answer, "Access-Control-Allow-Methods") == {"GET", "POST"}
    assert listed(answer, "Access-Control-Allow-Headers") == {
        "Accept-Language",
        "Authorization",
        "Content-Type",
        "Idempotency-Key",
        "If-Match",
        "If-None-Match",
        "X-Cart-Token",
        "X-Channel",
        "X-Request-ID",
    }
    assert answer.headers["Access-Control-Max-Age"] == "7200"
    assert "Origin" in listed(answer, "Vary")
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert answer.headers["X-Request-ID"]


@allowed
def test_every_address_answers_preflights(preflight: Callable[..., Response], application: Any) -> None:
    patterns = {route.name: route.pattern for route in application.registry.getUtility(IRoutesMapper).get_routes()}
    for endpoint in application.registry.endpoints:
        path = patterns[endpoint.route_name].replace("{id}", "x").replace("{slug}", "x")
        answer = preflight(path, method=endpoint.method)
        assert answer.status_code == 204, path
        assert endpoint.method in listed(answer, "Access-Control-Allow-Methods"), path


@allowed
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", BRANDS, 200),
        ("GET", "/api/v1/nothing", 404),
        ("DELETE", BRANDS, 405),
        ("POST", HOLDS, 400),
        ("GET", "/api/v1/admin/stock/low", 401),
        ("GET", "/api/v1/products?nonsense=1", 422),
        ("GET", "/api/v1/%ff", 400),
    ],
)
def test_a_page_may_read_whatever_is_answered(
    send: Callable[..., Response], method: str, path: str, status: int
) -> None:
    answer = send(method, path, HTTP_ORIGIN=SHOP)
    assert answer.status_code == status
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    assert "Origin" in listed(answer, "Vary")
    assert listed(answer, "Access-Control-Expose-Headers") == {
        "ETag",
        "Idempotent-Replayed",
        "Location",
        "RateLimit-Limit",
        "RateLimit-Remaining",
        "RateLimit-Reset",
        "Retry-After",
        "X-Request-ID",
    }


@allowed
def test_an_unexpected_error_may_be_read_too(send: Callable[..., Response], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commerce_core.catalog.queries.list_brands", lambda *_: 1 / 0)
    answer = send("GET", BRANDS, HTTP_ORIGIN=SHOP)
    assert_problem(answer, 500, "internal-error")
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP


@pytest.mark.commerce(settings={"api.allowed_origins": SHOP, "limits.default": "1/minute"})
def test_a_refusal_may_be_read_and_preflights_are_not_counted(
    send: Callable[..., Response], preflight: Callable[..., Response]
) -> None:
    assert [preflight(BRANDS).status_code for _ in range(10)] == [204] * 10
    assert send("GET", BRANDS, HTTP_ORIGIN=SHOP).status_code == 200
    refused = send("GET", BRANDS, HTTP_ORIGIN=SHOP)
    assert refused.status_code == 429
    assert refused.headers["Access-Control-Allow-Origin"] == SHOP


@allowed
@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "https://shop.example.evil.example",
        "http://shop.example",
        "null",
        "",
        "*",
        "https://SHOP.example",
    ],
)
def test_other_pages_may_not(send: Callable[..., Response], preflight: Callable[..., Response], origin: str) -> None:
    for answer in (preflight(HOLDS, origin), send("GET", BRANDS, HTTP_ORIGIN=origin)):
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Origin" in listed(answer, "Vary")


@allowed
def test_what_a_cache_keeps_is_kept_for_each_origin_and_language(send: Callable[..., Response]) -> None:
    assert listed(send("GET", BRANDS), "Vary") == {"Accept-Language", "Authorization", "Origin"}


@pytest.mark.commerce(settings={"api.allowed_origins": "*"})
def test_all_pages_may_where_a_star_says_so(send: Callable[..., Response], preflight: Callable[..., Response]) -> None:
    assert preflight(HOLDS, "null").headers["Access-Control-Allow-Origin"] == "*"
    answer = send("GET", BRANDS)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert listed(answer, "Vary") == {"Accept-Language", "Authorization"}


def test_nobody_may_by_default(send: Callable[..., Response], preflight: Callable[..., Response]) -> None:
    assert_problem(preflight(HOLDS), 405, "method-not-allowed")
    assert not [name for name in send("GET", BRANDS, HTTP_ORIGIN=SHOP).headers if name.startswith("Access-Control")]


@allowed
def test_what_is_no_preflight_is_no_method(send: Callable[..., Response], preflight: Callable[..., Response]) -> None:
    assert_problem(send("OPTIONS", HOLDS, HTTP_ORIGIN=SHOP), 405, "method-not-allowed")
    assert_problem(preflight("/api/v1/nothing"), 404, "not-found")
    assert_problem(preflight("/api/v1/%ff"), 400, "malformed-request")


@pytest.mark.parametrize(
    "origin", ["shop.example", "https://shop.example/", "https://Shop.example", "null", "https://*.example"]
)
def test_what_is_no_origin_stops_the_process(origin: str) -> None:
    with pytest.raises(SettingsError, match=r"api\.allowed_origins.*is no origin"):
        parse_settings({"sqlalchemy.url": "postgresql://db/shop", "api.allowed_origins": origin}, environ={})
