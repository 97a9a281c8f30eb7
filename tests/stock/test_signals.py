"""What is low, out and back is told once, by whoever looks, and by nobody who holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text, update
from sqlalchemy.orm import Session
from webtest import TestApp

from commerce_core.catalog.models import Variant
from commerce_core.database import transaction
from commerce_core.events import StockBack, StockLow, StockOut
from commerce_core.stock import signals
from commerce_core.stock.models import StockLevel
from commerce_core.stock.service import receive_stock
from commerce_core.stock.signals import announce_signals
from commerce_core.testing import StoppedClock, concurrently

GUEST = {"X-Cart-Token": "a-token-of-a-guest-0001"}
Look = Callable[[], list[tuple[str, int]]]


@pytest.fixture
def look(application: Any, run_jobs: Callable[[], int], clock: StoppedClock) -> Look:
    """What is told when a worker looks: topics, and how many units are left."""
    told: list[Any] = []
    for kind in (StockLow, StockOut, StockBack):
        application.registry.bus.subscribe(kind, told.append)

    def look() -> list[tuple[str, int]]:
        told.clear()
        clock.tick(seconds=10)
        run_jobs()
        return [(event.topic, event.available) for event in told]

    return look


def hold(client: TestApp, variant_id: UUID, quantity: int) -> str:
    answer = client.post_json("/api/v1/holds", {"variant_id": str(variant_id), "quantity": quantity}, headers=GUEST)
    return str(answer.json["id"])


def receive(engine: Engine, variant_id: UUID, quantity: int, clock: StoppedClock) -> None:
    with transaction(engine) as session:
        receive_stock(session, variant_id, quantity, now=clock.now(), actor="test")


def change(engine: Engine, **values: Any) -> None:
    with transaction(engine) as session:
        session.execute(update(StockLevel).values(**values))


def test_each_change_is_told_once(
    client: TestApp, make_variant: Callable[..., UUID], engine: Engine, clock: StoppedClock, look: Look
) -> None:
    variant_id = make_variant(stock=10)
    assert look() == []
    hold(client, variant_id, 5)
    assert look() == [("stock.low", 5)]
    last = hold(client, variant_id, 5)
    assert look() == [("stock.out", 0)]
    assert look() == []
    client.delete(f"/api/v1/holds/{last}", headers=GUEST)
    assert look() == [("stock.back", 5)]
    receive(engine, variant_id, 20, clock)
    assert look() == []
    hold(client, variant_id, 25)
    assert look() == [("stock.out", 0)]
    receive(engine, variant_id, 20, clock)
    assert look() == [("stock.back", 20)]


def test_what_came_and_went_between_two_looks_is_not_told(
    client: TestApp, make_variant: Callable[..., UUID], look: Look
) -> None:
    variant_id = make_variant(stock=10)
    client.delete(f"/api/v1/holds/{hold(client, variant_id, 10)}", headers=GUEST)
    assert look() == []


def test_what_was_never_in_stock_is_not_out(make_variant: Callable[..., UUID], look: Look) -> None:
    make_variant(stock=0)
    assert look() == []


def test_what_is_not_tracked_or_not_sold_any_more_tells_nothing(
    client: TestApp, make_variant: Callable[..., UUID], engine: Engine, clock: StoppedClock, look: Look
) -> None:
    variant_id = make_variant(stock=1)
    hold(client, variant_id, 1)
    change(engine, policy="ignore")
    assert look() == []
    change(engine, policy="track")
    with transaction(engine) as session:
        session.execute(update(Variant).values(deleted_at=clock.now()))
    assert look() == []


def test_a_threshold_that_is_raised_makes_low(make_variant: Callable[..., UUID], engine: Engine, look: Look) -> None:
    make_variant(stock=10)
    assert look() == []
    change(engine, low_stock_threshold=10)
    assert look() == [("stock.low", 10)]
    change(engine, low_stock_threshold=0)
    assert look() == []


def test_all_that_changed_is_told_however_much_it_is(
    make_variant: Callable[..., UUID], monkeypatch: pytest.MonkeyPatch, look: Look
) -> None:
    monkeypatch.setattr(signals, "AT_A_TIME", 2)
    for _ in range(5):
        make_variant(stock=1)
    assert look() == [("stock.low", 1)] * 5


def test_of_two_who_look_at_once_one_tells(make_variant: Callable[..., UUID], engine: Engine) -> None:
    for _ in range(20):
        make_variant(stock=1)

    def look() -> int:
        with transaction(engine) as session:
            return announce_signals(session)

    told: list[Any] = concurrently([look] * 4)
    assert sum(told) == 20
    with Session(engine) as session:
        assert session.scalar(text("SELECT count(*) FROM stock_signal WHERE state = 'low'")) == 20
