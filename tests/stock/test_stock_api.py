"""The stock room over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine
from webtest import TestApp

from commerce_core.stock.sweep import sweep_holds
from commerce_core.testing import SignedIn, StoppedClock, assert_stock_adds_up

MakeVariant = Callable[..., UUID]
STOCK = "/api/v1/admin/stock"


def hold(client: TestApp, variant_id: UUID, quantity: int) -> str:
    answer = client.post_json("/api/v1/holds", {"variant_id": str(variant_id), "quantity": quantity})
    return str(answer.json["id"])


def test_every_operation_changes_the_level_and_writes_the_ledger(
    staff: TestApp, client: TestApp, make_variant: MakeVariant, engine: Engine
) -> None:
    variant_id = make_variant(stock=10)
    hold(client, variant_id, 4)
    assert staff.post_json(f"{STOCK}/{variant_id}/receive", {"quantity": 5}).json["available"] == 11
    assert staff.post_json(f"{STOCK}/{variant_id}/damage", {"quantity": 2, "reason": "wet"}).json["on_hand"] == 13
    assert staff.post_json(f"{STOCK}/{variant_id}/return", {"quantity": 1, "reason": "unopened"}).json["on_hand"] == 14
    assert staff.post_json(f"{STOCK}/{variant_id}/adjust", {"on_hand": 6, "reason": "counted"}).json["available"] == 2
    ledger = staff.get(f"{STOCK}/{variant_id}/movements").json["data"]
    assert [(line["version"], line["kind"], line["on_hand_delta"], line["reserved_delta"]) for line in ledger] == [
        (6, "adjust", -8, 0),
        (5, "return", 1, 0),
        (4, "damage", -2, 0),
        (3, "receive", 5, 0),
        (2, "hold", 0, 4),
        (1, "receive", 10, 0),
    ]
    assert ledger[0]["reason"] == "counted"
    assert ledger[0]["actor"].startswith("user:")
    assert_stock_adds_up(engine)


def test_what_is_reserved_cannot_be_counted_or_written_off(
    staff: TestApp, client: TestApp, make_variant: MakeVariant, engine: Engine
) -> None:
    variant_id = make_variant(stock=5)
    hold(client, variant_id, 4)
    for operation, body in (("adjust", {"on_hand": 3, "reason": "x"}), ("damage", {"quantity": 2, "reason": "x"})):
        problem = staff.post_json(f"{STOCK}/{variant_id}/{operation}", body, status=409).json
        assert problem["type"] == "/problems/stock-conflict"
    assert staff.get(f"{STOCK}/{variant_id}").json["on_hand"] == 5
    assert_stock_adds_up(engine)


def test_low_and_out_of_stock_are_listed(staff: TestApp, make_variant: MakeVariant) -> None:
    plenty, low, out = make_variant(stock=50), make_variant(stock=5), make_variant(stock=0)
    make_variant(stock=0, track_stock=False)
    assert [level["variant_id"] for level in staff.get(f"{STOCK}/low").json["data"]] == [str(low)]
    assert [level["variant_id"] for level in staff.get(f"{STOCK}/out").json["data"]] == [str(out)]
    assert staff.get(f"{STOCK}/{plenty}").json["low_stock_threshold"] == 5


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("receive", {"quantity": 0}),
        ("receive", {"quantity": 1.5}),
        ("damage", {"quantity": 1}),
        ("adjust", {"on_hand": -1, "reason": "x"}),
        ("adjust", {"on_hand": 1, "reason": " "}),
        ("return", {"quantity": 1, "reason": "a\x00b"}),
    ],
)
def test_bad_input_is_refused(staff: TestApp, make_variant: MakeVariant, operation: str, body: dict[str, Any]) -> None:
    staff.post_json(f"{STOCK}/{make_variant()}/{operation}", body, status=422)


def test_stock_beyond_what_fits_is_a_conflict_not_a_crash(staff: TestApp, make_variant: MakeVariant) -> None:
    variant_id = make_variant()
    for _ in range(2):
        staff.post_json(f"{STOCK}/{variant_id}/receive", {"quantity": 1_000_000_000})
    problem = staff.post_json(f"{STOCK}/{variant_id}/receive", {"quantity": 1_000_000_000}, status=409).json
    assert problem["type"] == "/problems/stock-conflict"


def test_an_unknown_variant_is_not_found(staff: TestApp) -> None:
    for operation, body in (("receive", {"quantity": 1}), ("adjust", {"on_hand": 1, "reason": "x"})):
        staff.post_json(f"{STOCK}/{uuid4()}/{operation}", body, status=404)
    staff.get(f"{STOCK}/{uuid4()}", status=404)
    staff.get(f"{STOCK}/{uuid4()}/movements", status=404)
    staff.get(f"{STOCK}/nonsense", status=404)


def test_the_stock_room_is_for_staff(
    client: TestApp, sign_in: Callable[..., SignedIn], make_variant: MakeVariant
) -> None:
    variant_id = make_variant()
    for address in (f"{STOCK}/low", f"{STOCK}/out", f"{STOCK}/{variant_id}", f"{STOCK}/{variant_id}/movements"):
        client.get(address, status=401)
        sign_in().client.get(address, status=403)
        sign_in("staff", abilities=["hold:create"]).client.get(address, status=403)
        sign_in("staff", abilities=["stock:read"]).client.get(address, status=200)


def test_a_sweep_gives_lapsed_holds_back_once(
    staff: TestApp, client: TestApp, make_variant: MakeVariant, engine: Engine, clock: StoppedClock
) -> None:
    first, second = make_variant(stock=10), make_variant(stock=10)
    for variant_id in (first, first, second):
        hold(client, variant_id, 3)
    clock.tick(seconds=60)
    hold(client, second, 1)
    clock.tick(seconds=60)
    assert sweep_holds(engine, now=clock.now()) == 3
    assert sweep_holds(engine, now=clock.now()) == 0
    assert staff.get(f"{STOCK}/{first}").json["reserved"] == 0
    assert staff.get(f"{STOCK}/{second}").json["reserved"] == 1
    assert_stock_adds_up(engine)
