"""Idempotency keys: a repeat gets the same answer, and has no second effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from support.problems import assert_problem
from webtest import TestApp

from commerce_core.testing import SignedIn, assert_stock_adds_up, concurrently

ORDERS = "/api/v1/orders"
Holder = Callable[[], str]


@pytest.fixture
def hold(client: TestApp, make_variant: Callable[..., UUID]) -> Holder:
    """The id of a new hold that belongs to nobody."""
    variant_id = str(make_variant(stock=100))

    def place() -> str:
        return str(client.post_json("/api/v1/holds", {"variant_id": variant_id, "quantity": 1}).json["id"])

    return place


def order(client: TestApp, hold_id: str, key: str, **more: Any) -> Any:
    return client.post_json(ORDERS, {"hold_id": hold_id, **more}, headers={"Idempotency-Key": key}, status="*")


def rows(engine: Engine, table: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())  # noqa: S608


def test_a_repeat_gets_the_same_answer_and_says_so(client: TestApp, hold: Holder, engine: Engine) -> None:
    hold_id = hold()
    first, again = (order(client, hold_id, "a-key") for _ in range(2))
    assert first.status_code == again.status_code == 201
    assert first.body == again.body
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert rows(engine, "orders") == 1


def test_what_is_new_says_where_it_is_also_to_a_repeat(client: TestApp, make_variant: Callable[..., UUID]) -> None:
    body = {"variant_id": str(make_variant()), "quantity": 1}
    holds = [client.post_json("/api/v1/holds", body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    orders = [order(client, holds[0].json["id"], "l") for _ in range(2)]
    for made, again in (holds, orders):
        assert made.headers["Location"] == again.headers["Location"]
        assert client.get(made.headers["Location"].replace("http://localhost", "")).json["id"] == made.json["id"]


def test_a_hold_is_placed_once(client: TestApp, make_variant: Callable[..., UUID], engine: Engine) -> None:
    body = {"variant_id": str(make_variant()), "quantity": 1}
    first, again = (client.post_json("/api/v1/holds", body, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert first.body == again.body
    assert again.headers["Idempotent-Replayed"] == "true"
    assert rows(engine, "hold") == 1
    other = client.post_json("/api/v1/holds", {**body, "quantity": 2}, headers={"Idempotency-Key": "k"}, status="*")
    assert_problem(other, 422, "idempotency-key-reused")
    assert_stock_adds_up(engine)


def test_a_key_belongs_to_one_body(client: TestApp, hold: Holder, engine: Engine) -> None:
    hold_id = hold()
    order(client, hold_id, "a-key")
    assert_problem(order(client, hold_id, "a-key", note="another"), 422, "idempotency-key-reused")
    assert rows(engine, "orders") == 1


def test_a_key_belongs_to_one_address(client: TestApp, hold: Holder) -> None:
    placed = order(client, hold(), "a-key").json
    response = client.post(f"{ORDERS}/{placed['id']}/cancel", headers={"Idempotency-Key": "a-key"}, status="*")
    assert_problem(response, 422, "idempotency-key-reused")


@pytest.mark.parametrize("key", ["", " ", "two words", "é", "x" * 256, "tab\there"])
def test_what_is_no_key_is_refused(client: TestApp, hold: Holder, engine: Engine, key: str) -> None:
    problem = assert_problem(order(client, hold(), key), 422, "invalid-input")
    assert [error["field"] for error in problem["errors"]] == ["Idempotency-Key"]
    assert rows(engine, "orders") == 0


def test_a_request_that_failed_may_be_sent_again(client: TestApp, hold: Holder, engine: Engine) -> None:
    hold_id = hold()
    assert order(client, hold_id, "a-key", payment={"provider": "none"}).status_code == 404
    assert rows(engine, "idempotency_key") == 0
    assert order(client, hold_id, "a-key").status_code == 201


def test_a_key_counts_for_whoever_sent_it(
    client: TestApp, sign_in: Callable[..., SignedIn], hold: Holder, engine: Engine
) -> None:
    guest = {"X-Cart-Token": "a-guest-with-a-token", "Idempotency-Key": "a-key"}
    answers = [
        order(client, hold(), "a-key"),
        order(sign_in().client, hold(), "a-key"),
        order(sign_in().client, hold(), "a-key"),
        client.post_json(ORDERS, {"hold_id": hold()}, headers=guest),
    ]
    assert [answer.status_code for answer in answers] == [201] * 4
    assert rows(engine, "orders") == 4


def test_twins_have_one_effect(client: TestApp, application: Any, hold: Holder, engine: Engine) -> None:
    hold_id = hold()
    answers = concurrently([lambda: order(TestApp(application), hold_id, "a-key")] * 8)
    placed = set()
    for answer in answers:
        if answer.status_code == 409:
            assert_problem(answer, 409, "idempotency-key-in-use")
        else:
            assert answer.status_code == 201
            placed.add(answer.json["id"])
    assert len(placed) == 1
    assert rows(engine, "orders") == 1
    assert_stock_adds_up(engine)


def test_while_its_twin_is_under_way_a_request_is_put_off(
    sign_in: Callable[..., SignedIn], hold: Holder, engine: Engine
) -> None:
    buyer, hold_id = sign_in(), hold()
    with engine.begin() as twin:
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
        twin.execute(lock, {"name": f"idempotency:user:{buyer.user_id}:a-key"})
        assert_problem(order(buyer.client, hold_id, "a-key"), 409, "idempotency-key-in-use")
        assert order(buyer.client, hold_id, "another-key").status_code == 201
