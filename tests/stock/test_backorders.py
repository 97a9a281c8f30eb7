"""Selling what has not arrived yet: paid backorders wait for deliveries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from commerce_core.database import transaction
from commerce_core.orders.placing import OrderDetails, place_order
from commerce_core.orders.service import lock_order, mark_paid
from commerce_core.pricing.basket import Buyer
from commerce_core.stock.models import Hold, StockLevel
from commerce_core.stock.service import place_hold, receive_stock
from commerce_core.stock.sweep import serve_waiting_backorders
from commerce_core.testing import CATALOGUE_PRICES, StoppedClock, assert_stock_adds_up

HOUR = timedelta(hours=1)


@pytest.fixture
def variant_id(engine: Engine, make_variant: Callable[..., UUID]) -> UUID:
    made = make_variant(stock=0)
    with transaction(engine) as session:
        session.execute(text("UPDATE stock_level SET allow_backorder = true"))
    return made


@pytest.fixture
def buy(engine: Engine, clock: StoppedClock, variant_id: UUID) -> Callable[[int], UUID]:
    """`buy(3)`: a paid order of that many; its hold."""

    def make(quantity: int) -> UUID:
        now = clock.now()
        with transaction(engine) as session:
            hold_id = place_hold(session, variant_id, quantity, ttl=HOUR, now=now)
            placed = place_order(
                session, hold_id, OrderDetails(), pricing=CATALOGUE_PRICES, buyer=Buyer(), payment_ttl=HOUR, now=now
            )
            order = lock_order(session, placed.id)
            assert order is not None
            assert mark_paid(session, order, now=now)
        return hold_id

    return make


def test_a_delivery_serves_every_paid_backorder_that_it_can(
    engine: Engine, clock: StoppedClock, variant_id: UUID, buy: Callable[[int], UUID]
) -> None:
    bought = [buy(quantity) for quantity in (2, 3, 1)]
    with transaction(engine) as session:
        receive_stock(session, variant_id, 7, now=clock.now())
    with Session(engine) as session:
        assert [session.get_one(Hold, hold_id).sold_at is not None for hold_id in bought] == [True] * 3
        level = session.get_one(StockLevel, variant_id)
        assert (level.on_hand, level.reserved) == (1, 0)
    assert_stock_adds_up(engine)


def test_a_backorder_that_is_too_large_for_a_delivery_goes_on_waiting(
    engine: Engine, clock: StoppedClock, variant_id: UUID, buy: Callable[[int], UUID]
) -> None:
    large = buy(5)
    with transaction(engine) as session:
        receive_stock(session, variant_id, 4, now=clock.now())
    with Session(engine) as session:
        hold = session.get_one(Hold, large)
        assert (hold.sold_at, hold.awaiting_stock) == (None, True)
        level = session.get_one(StockLevel, variant_id)
        assert (level.on_hand, level.reserved) == (4, 5)
    assert_stock_adds_up(engine)


def test_a_backorder_that_was_busy_when_the_goods_came_is_served_later(
    engine: Engine, clock: StoppedClock, variant_id: UUID, buy: Callable[[int], UUID]
) -> None:
    hold_id = buy(3)
    with transaction(engine) as busy:
        busy.get_one(Hold, hold_id, with_for_update=True)
        with transaction(engine) as session:
            receive_stock(session, variant_id, 10, now=clock.now())
    assert serve_waiting_backorders(engine, now=clock.now()) == 1
    assert serve_waiting_backorders(engine, now=clock.now()) == 0
    with Session(engine) as session:
        level = session.get_one(StockLevel, variant_id)
        assert (level.on_hand, level.reserved) == (7, 0)
    assert_stock_adds_up(engine)
