"""Tokens: seen, made, ended; never worth more than the one that made them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, text
from support.people import EMAIL, Person, another_device, post
from support.problems import assert_problem
from support.processes import wait_until, waiting_for_a_lock
from webtest import TestApp

from commerce_core.testing import SignedIn, StoppedClock, concurrently, count_sql

TOKENS = "/api/v1/auth/tokens"


def iso(clock: StoppedClock, **delta: float) -> str:
    return (clock.now() + timedelta(**delta)).isoformat()


def with_token(application: Any, answer: Any) -> TestApp:
    client = TestApp(application)
    client.authorization = ("Bearer", answer.json["token"])
    return client


def test_logout_ends_this_token_and_logout_all_every_one(application: Any, make_person: Callable[..., Person]) -> None:
    first = make_person().client
    second, third = another_device(application), another_device(application)
    post(first, "logout", 204)
    first.get("/api/v1/auth/me", status=401)
    assert post(second, "logout-all").json == {"signed_out": 2}
    for client in (second, third):
        client.get("/api/v1/auth/me", status=401)


def test_tokens_are_listed_and_ended_one_by_one(application: Any, make_person: Callable[..., Person]) -> None:
    first = make_person().client
    second = another_device(application)
    listed = first.get(TOKENS).json["data"]
    assert [token["current"] for token in listed] == [False, True]
    assert all("token" not in token for token in listed)
    first.delete(f"{TOKENS}/{listed[0]['id']}", status=204)
    second.get("/api/v1/auth/me", status=401)
    assert_problem(first.delete(f"{TOKENS}/{listed[0]['id']}", status=404), 404, "not-found")


def test_tokens_of_others_are_neither_seen_nor_ended(make_person: Callable[..., Person]) -> None:
    ada, eve = make_person(), make_person("eve@example.com")
    (token,) = ada.client.get(TOKENS).json["data"]
    eve.client.delete(f"{TOKENS}/{token['id']}", status=404)
    ada.client.get("/api/v1/auth/me")


def test_a_token_may_be_made_that_allows_less(application: Any, sign_in: Callable[..., SignedIn]) -> None:
    staff = sign_in("staff").client
    answer = staff.post_json(TOKENS, {"device_name": "till", "abilities": ["stock:read"]}, status=201)
    assert answer.json["abilities"] == ["stock:read"]
    till = with_token(application, answer)
    till.get("/api/v1/admin/stock/low")
    till.get("/api/v1/auth/me", status=403)


def test_a_token_cannot_make_one_that_allows_more(application: Any, sign_in: Callable[..., SignedIn]) -> None:
    customer = sign_in().client
    problem = assert_problem(
        customer.post_json(TOKENS, {"device_name": "x", "abilities": ["user:manage"]}, status=403), 403, "forbidden"
    )
    assert "user:manage" in problem["detail"]
    narrow = sign_in("admin", abilities=["account:self", "stock:read"]).client
    narrow.post_json(TOKENS, {"device_name": "x", "abilities": ["stock:write"]}, status=403)
    # Without abilities it is as narrow as its maker, not as wide as the user.
    assert narrow.post_json(TOKENS, {"device_name": "x"}, status=201).json["abilities"] == [
        "account:self",
        "stock:read",
    ]


def test_a_narrow_token_cannot_buy_itself_time(
    application: Any, sign_in: Callable[..., SignedIn], clock: StoppedClock
) -> None:
    narrow = sign_in("staff", abilities=["account:self"], expires_at=clock.now() + timedelta(days=1)).client
    body = {"device_name": "x", "expires_at": iso(clock, days=2)}
    assert_problem(narrow.post_json(TOKENS, body, status=422), 422, "invalid-input")
    narrow.post_json(TOKENS, {"device_name": "x"}, status=201)
    clock.tick(days=1)
    narrow.get(TOKENS, status=401)


def test_a_token_expires_when_its_maker_says_so(
    application: Any, sign_in: Callable[..., SignedIn], clock: StoppedClock
) -> None:
    staff = sign_in("staff").client
    for refused in (iso(clock), "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00"):
        staff.post_json(TOKENS, {"device_name": "x", "expires_at": refused}, status=422)
    answer = staff.post_json(TOKENS, {"device_name": "x", "expires_at": iso(clock, hours=1)}, status=201)
    client = with_token(application, answer)
    client.get("/api/v1/auth/me")
    clock.tick(hours=1)
    client.get("/api/v1/auth/me", status=401)


def test_the_use_of_a_token_is_noted_every_few_minutes(
    application: Any, make_person: Callable[..., Person], clock: StoppedClock
) -> None:
    client = make_person().client

    def writes() -> int:
        with count_sql(application.registry.engine) as statements:
            client.get("/api/v1/auth/me")
        return sum(statement.startswith("UPDATE") for statement in statements)

    assert writes() == 0
    clock.tick(minutes=6)
    assert [writes(), writes()] == [1, 0]
    clock.tick(minutes=6)
    assert writes() == 1
    assert client.get(TOKENS).json["data"][0]["last_used_at"] is not None


def test_noting_the_use_keeps_no_request_waiting(
    engine: Engine, make_person: Callable[..., Person], clock: StoppedClock
) -> None:
    client = make_person().client
    clock.tick(minutes=6)
    with engine.begin() as connection:
        connection.execute(text("SELECT 1 FROM api_token FOR UPDATE"))
        client.get("/api/v1/auth/me")
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT last_used_at FROM api_token")) is None


def test_a_deactivated_user_is_refused_at_once(make_person: Callable[..., Person], engine: Engine) -> None:
    client = make_person().client
    with engine.begin() as connection:
        connection.execute(text("UPDATE users SET is_active = false WHERE email = :email"), {"email": EMAIL})
    client.get("/api/v1/auth/me", status=401)


def test_no_token_made_at_the_same_time_survives_a_logout_of_all(
    application: Any, make_person: Callable[..., Person], engine: Engine
) -> None:
    thief, owner = make_person().client, another_device(application)

    def make() -> int:
        return thief.post_json(TOKENS, {"device_name": "x"}, status="*").status_code

    def end_all() -> int:
        return post(owner, "logout-all").status_code

    for _ in range(10):
        assert set(concurrently([make, make, end_all, make])) <= {200, 201, 401}
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM api_token WHERE revoked_at IS NULL")) == 0
        thief, owner = another_device(application), another_device(application)


def test_who_has_just_left_gets_no_name_again(
    application: Any, make_person: Callable[..., Person], engine: Engine
) -> None:
    """The profile is changed by a request that was let in before the account was deleted."""
    client = make_person().client
    with engine.connect() as blocker:
        transaction = blocker.begin()
        blocker.execute(text("UPDATE users SET is_active = false, deleted_at = now(), password_hash = NULL"))
        results: list[int] = []

        def rename() -> None:
            results.append(client.patch_json("/api/v1/auth/me", {"name": "Ada again"}, status="*").status_code)

        thread = threading.Thread(target=rename)
        thread.start()
        wait_until(lambda: waiting_for_a_lock(engine))
        transaction.commit()
        thread.join()
    assert results == [401]
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT name FROM users")) == "Ada"
