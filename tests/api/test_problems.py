"""Whatever goes wrong is told as a problem, and nothing internal with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from support.problems import assert_problem
from webob import Response
from webtest import TestApp

from commerce_core.api.problems import all_problems


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/v1/holds", "GET, POST, HEAD"),
        ("DELETE", "/api/v1/products", "GET, HEAD"),
        ("PATCH", "/api/v1/holds/1", "DELETE, GET, HEAD"),
        ("GET", "/api/v1/payments/webhook", "POST"),
        ("TRACE", "/healthz", "GET, HEAD"),
        ("NONSENSE", "/api/v1/orders", "GET, POST, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(
    send: Callable[..., Response], method: str, path: str, allowed: str
) -> None:
    response = send(method, path)
    assert_problem(response, 405, "method-not-allowed")
    assert response.headers["Allow"] == allowed


def test_an_unexpected_error_leaks_nothing(send: Callable[..., Response], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("password=hunter2 in /srv/secret.py")

    monkeypatch.setattr("commerce_core.catalog.queries.list_brands", fail)
    response = send("GET", "/api/v1/brands")
    assert_problem(response, 500, "internal-error")
    for internal in ("hunter2", "RuntimeError", "Traceback", ".py"):
        assert internal not in response.text


def test_an_unexpected_database_error_leaks_no_sql(
    send: Callable[..., Response], application: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "commerce_core.catalog.queries.list_brands", lambda db: db.execute(text("SELECT secret FROM vault"))
    )
    response = send("GET", "/api/v1/brands")
    assert_problem(response, 500, "internal-error")
    for internal in ("vault", "SELECT", "psycopg"):
        assert internal not in response.text


@pytest.mark.commerce(settings={"sqlalchemy.lock_timeout_ms": "50"})
def test_a_row_that_stays_locked_is_503(
    client: TestApp, send: Callable[..., Response], engine: Engine, make_variant: Callable[..., UUID]
) -> None:
    hold = client.post_json("/api/v1/holds", {"variant_id": str(make_variant()), "quantity": 1}).json
    with engine.begin() as other:
        other.execute(text("SELECT FROM hold WHERE id = :id FOR UPDATE"), {"id": hold["id"]})
        response = send("POST", f"/api/v1/holds/{hold['id']}/extend")
    assert_problem(response, 503, "unavailable")
    assert int(response.headers["Retry-After"]) >= 1


@pytest.mark.commerce(
    settings={"sqlalchemy.pool_size": "1", "sqlalchemy.max_overflow": "0", "sqlalchemy.pool_timeout_seconds": "0.05"}
)
def test_a_database_without_a_free_connection_is_503(send: Callable[..., Response], application: Any) -> None:
    with application.registry.engine.connect():
        response = send("GET", "/api/v1/brands")
        assert_problem(response, 503, "unavailable")
        assert "Retry-After" in response.headers
        problem = assert_problem(send("GET", "/readyz"), 503, "not-ready")
        assert problem["checks"] == {"database": "unreachable", "migrations": "unknown"}
        assert send("GET", "/healthz").json == {"status": "ok"}
    assert send("GET", "/api/v1/brands").status_code == 200
    assert send("GET", "/readyz").json == {"status": "ready", "checks": {"database": "ok", "migrations": "ok"}}


def test_a_statement_that_takes_too_long_is_503(
    send: Callable[..., Response], application: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(db: Any) -> None:
        db.execute(text("SET LOCAL statement_timeout = 20"))
        db.execute(text("SELECT pg_sleep(5)"))

    monkeypatch.setattr("commerce_core.catalog.queries.list_brands", slow)
    assert_problem(send("GET", "/api/v1/brands"), 503, "unavailable")


@pytest.mark.parametrize("given", ["abc", "01932c07-209c:7e3a/b6f4=", "x" * 128])
def test_a_request_id_is_echoed(send: Callable[..., Response], given: str) -> None:
    assert send("GET", "/healthz", HTTP_X_REQUEST_ID=given).headers["X-Request-ID"] == given
    problem = send("GET", "/nothing", HTTP_X_REQUEST_ID=given).json
    assert problem["instance"] == f"urn:request:{given}"


@pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", "a\tb", "<script>", "é", 'a"b'])
def test_a_request_id_that_will_not_do_is_replaced(send: Callable[..., Response], given: str | None) -> None:
    made = [send("GET", "/healthz", HTTP_X_REQUEST_ID=given).headers["X-Request-ID"] for _ in range(2)]
    assert given not in made
    assert len(set(made)) == 2
    assert all(len(each) == 32 for each in made)


def test_every_problem_type_has_a_page(client: TestApp) -> None:
    index = client.get("/problems", headers={"Accept": "application/json"}).json["data"]
    assert {problem["type"] for problem in index} == {f"/problems/{kind.slug}" for kind in all_problems()}
    for problem in index:
        page = client.get(problem["type"], headers={"Accept": "text/html,*/*;q=0.8"})
        assert page.content_type == "text/html"
        assert f"<h1>{problem['title']}</h1>" in page.text.replace("&#39;", "'")
        described = client.get(problem["type"], headers={"Accept": "application/json"})
        assert described.content_type == "application/json"
        assert described.json["example"]["status"] == described.json["status"] == problem["status"]


@pytest.mark.parametrize("accept", ["", "*/*", "text/*", "image/png", "nonsense"])
def test_a_problem_page_is_html_for_whoever_does_not_ask_for_json(client: TestApp, accept: str) -> None:
    page = client.get("/problems/out-of-stock", headers={"Accept": accept})
    assert page.content_type == "text/html"
    assert "Accept" in page.headers["Vary"]


def test_members_that_every_problem_has_cannot_be_replaced() -> None:
    kind = next(iter(all_problems()))
    with pytest.raises(AssertionError):
        kind("text", status="cancelled")
