"""Holds over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text
from webtest import TestApp

from commerce_core.testing import SignedIn, StoppedClock, assert_stock_adds_up, concurrently

MakeVariant = Callable[..., UUID]


def hold(client: TestApp, variant_id: UUID | str, quantity: Any = 1, **options: Any) -> Any:
    return client.post_json(
        "/api/v1/holds", {"variant_id": str(variant_id), "quantity": quantity}, status="*", **options
    )


def test_a_hold_takes_units_off_sale_until_it_expires(
    client: TestApp, make_variant: MakeVariant, clock: StoppedClock
) -> None:
    variant_id = make_variant(stock=3)
    answer = hold(client, variant_id, 2)
    assert answer.status_int == 201
    assert answer.json["state"] == "active"
    refused = hold(client, variant_id, 2)
    assert refused.status_int == 409
    assert (refused.json["type"], refused.json["available"]) == ("/problems/out-of-stock", 1)
    clock.tick(seconds=120)
    assert hold(client, variant_id, 3).status_int == 201  # reclaimed there and then, no sweeper ran


def test_thirty_parallel_holds_of_ten_on_a_hundred_leave_nothing(
    client: TestApp, application: Any, make_variant: MakeVariant, engine: Engine
) -> None:
    variant_id = make_variant(stock=100)
    answers: list[Any] = concurrently([lambda: hold(TestApp(application), variant_id, 10)] * 30)
    assert sorted(answer.status_int for answer in answers) == [201] * 10 + [409] * 20
    refused = [answer.json for answer in answers if answer.status_int == 409]
    assert {problem["type"] for problem in refused} == {"/problems/out-of-stock"}
    assert all(0 <= problem["available"] < 10 for problem in refused)
    assert hold(client, variant_id).json["available"] == 0
    assert_stock_adds_up(engine)


@pytest.mark.parametrize(
    "quantity", [0, -1, 10_001, 2**31, 2**63, 2**70, 1.0, 1.5, "1", "", True, None, [1], {"n": 1}], ids=repr
)
def test_a_quantity_that_is_no_positive_whole_number_is_refused(
    client: TestApp, make_variant: MakeVariant, quantity: Any, engine: Engine
) -> None:
    answer = hold(client, make_variant(stock=100_000), quantity)
    assert answer.status_int in (400, 422)
    if answer.status_int == 422:
        assert [error["field"] for error in answer.json["errors"]] == ["quantity"]
    assert_stock_adds_up(engine)


@pytest.mark.parametrize("variant_id", ["", "1", "not-a-uuid", "00000000-0000-0000-0000-00000000000g", "\x00"])
def test_a_malformed_variant_id_is_bad_input(client: TestApp, variant_id: str) -> None:
    assert hold(client, variant_id).status_int == 422


def test_an_unknown_draft_or_archived_variant_is_not_found(client: TestApp, make_variant: MakeVariant) -> None:
    for variant_id in (uuid4(), make_variant(status="draft"), make_variant(status="archived")):
        assert hold(client, variant_id).status_int == 404


def test_every_field_at_fault_is_named_at_once(client: TestApp) -> None:
    answer = client.post_json("/api/v1/holds", {"variant_id": "x", "quantity": 0, "colour": "red"}, status=422)
    assert {error["field"] for error in answer.json["errors"]} == {"variant_id", "quantity", "colour"}


def test_an_idempotency_key_gives_the_same_hold_again(
    client: TestApp, make_variant: MakeVariant, engine: Engine
) -> None:
    variant_id = make_variant(stock=5)
    key = {"Idempotency-Key": "checkout-1-of-this-guest"}
    first, again = hold(client, variant_id, 2, headers=key), hold(client, variant_id, 2, headers=key)
    assert first.body == again.body
    assert again.headers["Idempotent-Replayed"] == "true"
    assert hold(client, variant_id, 3, headers=key).json["type"] == "/problems/idempotency-key-reused"
    assert hold(client, variant_id, 3).status_int == 201  # only two were taken
    assert_stock_adds_up(engine)


def test_an_idempotency_key_of_a_refused_hold_may_be_used_again(
    client: TestApp, make_variant: MakeVariant, clock: StoppedClock
) -> None:
    variant_id = make_variant(stock=1)
    key = {"Idempotency-Key": "checkout-1-of-this-guest"}
    hold(client, variant_id)
    assert hold(client, variant_id, headers=key).status_int == 409
    clock.tick(minutes=3)
    assert hold(client, variant_id, headers=key).status_int == 201


def test_twins_with_one_key_take_stock_once(
    application: Any, make_variant: MakeVariant, engine: Engine, client: TestApp
) -> None:
    variant_id = make_variant(stock=10)
    answers: list[Any] = concurrently(
        [lambda: hold(TestApp(application), variant_id, headers={"Idempotency-Key": "a-key-that-is-long-enough"})] * 12
    )
    assert {answer.status_int for answer in answers} == {201}
    assert len({answer.json["id"] for answer in answers}) == 1
    assert hold(client, variant_id, 9).status_int == 201
    assert_stock_adds_up(engine)


def test_a_released_hold_gives_its_units_back_once(client: TestApp, make_variant: MakeVariant, engine: Engine) -> None:
    variant_id = make_variant(stock=1)
    address = f"/api/v1/holds/{hold(client, variant_id).json['id']}"
    client.delete(address, status=204)
    client.delete(address, status=204)
    assert client.get(address).json["state"] == "released"
    assert hold(client, variant_id).status_int == 201
    assert hold(client, variant_id).status_int == 409
    assert_stock_adds_up(engine)


def test_a_hold_may_be_extended_only_while_it_lasts_and_only_so_often(
    client: TestApp, make_variant: MakeVariant, clock: StoppedClock
) -> None:
    hold_id = hold(client, make_variant()).json["id"]
    for _ in range(3):
        clock.tick(seconds=119)
        assert client.post_json(f"/api/v1/holds/{hold_id}/extend", {}).json["state"] == "active"
    problem = client.post_json(f"/api/v1/holds/{hold_id}/extend", {}, status=409).json
    assert problem["type"] == "/problems/too-many-extensions"
    clock.tick(seconds=120)
    assert client.get(f"/api/v1/holds/{hold_id}").json["state"] == "expired"
    problem = client.post_json(f"/api/v1/holds/{hold_id}/extend", {}, status=409).json
    assert (problem["type"], problem["state"]) == ("/problems/hold-not-active", "expired")
    assert client.delete(f"/api/v1/holds/{hold_id}", status=409).json["state"] == "expired"


def test_a_hold_belongs_to_whoever_placed_it(
    client: TestApp, staff: TestApp, sign_in: Callable[..., SignedIn], make_variant: MakeVariant
) -> None:
    variant_id = make_variant()
    customer, stranger = sign_in().client, sign_in().client
    mine = hold(customer, variant_id).json["id"]
    guest_token = {"X-Cart-Token": "a-token-of-a-guest-0001"}
    guests = hold(client, variant_id, headers=guest_token).json["id"]
    for other in (stranger, client):
        other.get(f"/api/v1/holds/{mine}", status=404)
        other.delete(f"/api/v1/holds/{mine}", status=404)
    client.get(f"/api/v1/holds/{guests}", status=404)
    assert client.get(f"/api/v1/holds/{guests}", headers=guest_token).json["id"] == guests
    assert [h["id"] for h in customer.get("/api/v1/holds").json["data"]] == [mine]
    assert [h["id"] for h in client.get("/api/v1/holds", headers=guest_token).json["data"]] == [guests]
    assert client.get("/api/v1/holds").json["data"] == []
    assert {h["id"] for h in staff.get("/api/v1/holds").json["data"]} == {mine, guests}


def test_holds_are_listed_by_cursor(staff: TestApp, client: TestApp, make_variant: MakeVariant) -> None:
    variant_id = make_variant(stock=5)
    placed = {hold(client, variant_id).json["id"] for _ in range(5)}
    seen: list[str] = []
    address = "/api/v1/holds?limit=2&state=active"
    while address:
        page = staff.get(address).json
        seen += [h["id"] for h in page["data"]]
        address = page["links"]["next"]
    assert len(seen) == 5
    assert set(seen) == placed


@pytest.mark.commerce(settings={"stock.hot_mode": "false"})
def test_default_mode_keeps_the_same_promises(
    application: Any, make_variant: MakeVariant, engine: Engine, client: TestApp
) -> None:
    variant_id = make_variant(stock=25)
    answers: list[Any] = concurrently([lambda: hold(TestApp(application), variant_id, 2)] * 20)
    assert sorted(answer.status_int for answer in answers) == [201] * 12 + [409] * 8
    assert hold(client, variant_id, 1).status_int == 201
    assert_stock_adds_up(engine)


@pytest.mark.commerce(settings={"stock.sold_out_memory_ms": "60000"})
def test_sold_out_is_forgotten_when_units_come_back(client: TestApp, staff: TestApp, make_variant: MakeVariant) -> None:
    variant_id = make_variant(stock=1)
    first = hold(client, variant_id).json["id"]
    assert hold(client, variant_id).json["available"] == 0
    client.delete(f"/api/v1/holds/{first}")
    assert hold(client, variant_id).status_int == 201
    assert hold(client, variant_id).status_int == 409
    staff.post_json(f"/api/v1/admin/stock/{variant_id}/receive", {"quantity": 1})
    assert hold(client, variant_id).status_int == 201


def test_untracked_variants_are_always_there_and_backorders_go_below_zero(
    client: TestApp, make_variant: MakeVariant, engine: Engine
) -> None:
    assert hold(client, make_variant(stock=0, track_stock=False), 1_000).status_int == 201
    backorder = make_variant(stock=1, allow_backorder=True)
    assert hold(client, backorder, 5).status_int == 201
    assert_stock_adds_up(engine)


def test_a_bad_token_is_refused_even_where_none_is_needed(client: TestApp, make_variant: MakeVariant) -> None:
    answer = hold(client, make_variant(), headers={"Authorization": "Bearer nonsense"})
    assert answer.status_int == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_more_backorders_than_can_be_counted_are_refused(
    client: TestApp, make_variant: MakeVariant, engine: Engine
) -> None:
    variant_id = make_variant(stock=0, allow_backorder=True)
    with engine.begin() as connection:
        connection.execute(text("UPDATE stock_level SET reserved = 2147483647"))
    assert hold(client, variant_id).json["type"] == "/problems/out-of-stock"


def test_what_a_header_says_of_the_address_does_not_open_anothers_answer(
    client: TestApp, make_variant: MakeVariant
) -> None:
    """The socket's address counts, and a header of any length does no harm."""
    variant_id = make_variant(stock=5)
    key = {"Idempotency-Key": "k" * 255}
    mine = hold(client, variant_id, headers=key, extra_environ={"REMOTE_ADDR": "203.0.113.7"})
    forged = hold(
        client,
        variant_id,
        headers=key | {"X-Forwarded-For": "203.0.113.7"},
        extra_environ={"REMOTE_ADDR": "198.51.100.1"},
    )
    assert (mine.status_int, forged.status_int) == (201, 201)
    assert mine.json["id"] != forged.json["id"]
    assert hold(client, variant_id, headers=key | {"X-Forwarded-For": uuid4().hex * 250}).status_int == 201


def test_more_lapsed_holds_than_one_statement_gives_back_are_given_back(
    client: TestApp, make_variant: MakeVariant, engine: Engine, clock: StoppedClock
) -> None:
    variant_id = make_variant(stock=2_500)
    with engine.begin() as connection:
        connection.execute(
            text(
                "WITH held AS (INSERT INTO hold (id, variant_id, quantity, reserved, created_at, expires_at)"
                " SELECT gen_random_uuid(), :id, 1, 1, :now, :now FROM generate_series(1, 2500) RETURNING id),"
                " moved AS (INSERT INTO stock_movement (variant_id, version, kind, on_hand_delta, reserved_delta,"
                " on_hand_after, reserved_after, hold_id) SELECT :id, 1 + n, 'hold', 0, 1, 2500, n, id"
                " FROM (SELECT id, row_number() OVER () AS n FROM held) AS numbered)"
                " UPDATE stock_level SET reserved = 2500, version = 2501 WHERE variant_id = :id"
            ),
            {"id": variant_id, "now": clock.now()},
        )
    assert hold(client, variant_id, 2_500).status_int == 201
    assert_stock_adds_up(engine)


def test_a_permission_to_read_everything_does_not_allow_to_change_it(
    client: TestApp, sign_in: Callable[..., SignedIn], make_variant: MakeVariant
) -> None:
    owner = sign_in().client
    address = f"/api/v1/holds/{hold(owner, make_variant()).json['id']}"
    reader = sign_in("staff", abilities=["hold:create", "hold:read-all"]).client
    reader.get(address, status=200)
    reader.delete(address, status=404)
    sign_in("staff").client.delete(address, status=204)
