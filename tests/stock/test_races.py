"""Two at once, at the one moment that matters: the second is known to wait for the first before that one commits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from commerce_core.database import transaction
from commerce_core.orders.placing import OrderDetails, place_order
from commerce_core.orders.service import cancel_order, lock_order, mark_paid
from commerce_core.payments.sweep import expire_orders
from commerce_core.pricing.basket import Buyer
from commerce_core.stock.models import Hold, StockLevel
from commerce_core.stock.service import (
    HoldNotActive,
    extend_hold,
    get_hold,
    place_hold,
    receive_stock,
    reclaim_expired,
    release_hold,
)
from commerce_core.testing import CATALOGUE_PRICES, StoppedClock, assert_stock_adds_up

HOUR = timedelta(hours=1)


class Race:
    """`first` is done up to its commit; `second` begins, and runs into its lock (or passes it); then all end."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.error: Exception | None = None

    def run(self, first: Callable[[Session], object], second: Callable[[Session], object]) -> None:
        def follow() -> None:
            try:
                with transaction(self.engine) as session:
                    second(session)
            except Exception as error:
                self.error = error

        follower = threading.Thread(target=follow)
        with transaction(self.engine) as session:
            first(session)
            follower.start()
            while follower.is_alive() and not self._somebody_waits():
                pass
        follower.join()

    def _somebody_waits(self) -> bool:
        waiting = text(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        with self.engine.connect() as connection:
            return bool(connection.scalar(waiting))


@pytest.fixture
def race(engine: Engine) -> Race:
    return Race(engine)


@pytest.fixture
def held(engine: Engine, clock: StoppedClock, make_variant: Callable[..., UUID]) -> UUID:
    """A hold of 4 out of 10."""
    variant_id = make_variant(stock=10)
    with transaction(engine) as session:
        return place_hold(session, variant_id, 4, ttl=HOUR, now=clock.now())


def placed(engine: Engine, clock: StoppedClock, hold_id: UUID) -> UUID:
    with transaction(engine) as session:
        return place_order(
            session, hold_id, OrderDetails(), pricing=CATALOGUE_PRICES, buyer=Buyer(), payment_ttl=HOUR, now=clock.now()
        ).id


def reserved(engine: Engine) -> int:
    with Session(engine) as session:
        return session.query(StockLevel).one().reserved


def locked(session: Session, hold_id: UUID) -> Hold:
    hold = get_hold(session, hold_id, lock=True)
    assert hold is not None
    return hold


def test_goods_that_arrive_while_a_backorder_is_being_paid_serve_it(
    engine: Engine, clock: StoppedClock, race: Race, make_variant: Callable[..., UUID]
) -> None:
    variant_id = make_variant(stock=0)
    with transaction(engine) as session:
        session.execute(text("UPDATE stock_level SET allow_backorder = true"))
        hold_id = place_hold(session, variant_id, 3, ttl=HOUR, now=clock.now())
    order_id = placed(engine, clock, hold_id)

    def pay(session: Session) -> None:
        order = lock_order(session, order_id)
        assert order is not None
        assert mark_paid(session, order, now=clock.now())

    race.run(pay, lambda session: receive_stock(session, variant_id, 5, now=clock.now()))
    assert race.error is None
    with Session(engine) as session:
        assert session.get_one(Hold, hold_id).sold_at is not None
        level = session.get_one(StockLevel, variant_id)
        assert (level.on_hand, level.reserved) == (2, 0)
    assert_stock_adds_up(engine)


def test_a_backorder_that_is_paid_while_goods_arrive_is_served(
    engine: Engine, clock: StoppedClock, race: Race, make_variant: Callable[..., UUID]
) -> None:
    variant_id = make_variant(stock=0)
    with transaction(engine) as session:
        session.execute(text("UPDATE stock_level SET allow_backorder = true"))
        hold_id = place_hold(session, variant_id, 3, ttl=HOUR, now=clock.now())
    order_id = placed(engine, clock, hold_id)

    def pay(session: Session) -> None:
        order = lock_order(session, order_id)
        assert order is not None
        assert mark_paid(session, order, now=clock.now())

    race.run(lambda session: receive_stock(session, variant_id, 5, now=clock.now()), pay)
    assert race.error is None
    with Session(engine) as session:
        assert session.get_one(Hold, hold_id).sold_at is not None
    assert_stock_adds_up(engine)


def test_a_hold_that_is_extended_at_its_last_moment_is_not_swept(
    engine: Engine, clock: StoppedClock, race: Race, held: UUID
) -> None:
    last_moment, later = clock.now() + HOUR - timedelta(seconds=1), clock.now() + HOUR

    def sweep(session: Session) -> None:
        variant_id = session.query(StockLevel).one().variant_id
        assert reclaim_expired(session, variant_id, now=later) == 0

    race.run(
        lambda session: extend_hold(session, locked(session, held), ttl=HOUR, max_extensions=1, now=last_moment), sweep
    )
    assert race.error is None
    assert reserved(engine) == 4
    assert_stock_adds_up(engine)


def test_a_hold_that_is_swept_first_cannot_be_converted_by_who_came_in_time(
    engine: Engine, clock: StoppedClock, race: Race, held: UUID
) -> None:
    in_time = clock.now()

    def sweep(session: Session) -> None:
        variant_id = session.query(StockLevel).one().variant_id
        assert reclaim_expired(session, variant_id, now=clock.now() + HOUR) == 1

    race.run(
        sweep,
        lambda session: place_order(
            session, held, OrderDetails(), pricing=CATALOGUE_PRICES, buyer=Buyer(), payment_ttl=HOUR, now=in_time
        ),
    )
    assert isinstance(race.error, HoldNotActive)
    assert reserved(engine) == 0
    assert_stock_adds_up(engine)


def test_a_hold_that_two_want_to_end_is_released_once(
    engine: Engine, clock: StoppedClock, race: Race, held: UUID
) -> None:
    def release(session: Session) -> None:
        release_hold(session, locked(session, held), now=clock.now())

    race.run(release, release)
    assert isinstance(race.error, HoldNotActive)
    assert reserved(engine) == 0
    assert_stock_adds_up(engine)


def test_an_order_that_is_being_paid_is_not_expired(
    engine: Engine, clock: StoppedClock, race: Race, held: UUID
) -> None:
    order_id = placed(engine, clock, held)

    def pay(session: Session) -> None:
        order = lock_order(session, order_id)
        assert order is not None
        assert mark_paid(session, order, now=clock.now())

    race.run(pay, lambda session: expire_orders(engine, now=clock.now() + HOUR))
    assert race.error is None
    with Session(engine) as session:
        assert session.get_one(Hold, held).sold_at is not None
    assert_stock_adds_up(engine)


def test_an_order_that_lapses_first_takes_its_stock_again_when_paid(
    engine: Engine, clock: StoppedClock, race: Race, held: UUID
) -> None:
    order_id = placed(engine, clock, held)

    def lapse(session: Session) -> None:
        order = lock_order(session, order_id)
        assert order is not None
        cancel_order(session, order, now=clock.now(), reason="expired")

    def pay(session: Session) -> None:
        order = lock_order(session, order_id)
        assert order is not None
        assert mark_paid(session, order, now=clock.now())

    race.run(lapse, pay)
    assert race.error is None
    with Session(engine) as session:
        level = session.query(StockLevel).one()
        assert (level.on_hand, level.reserved) == (6, 0)
    assert_stock_adds_up(engine)
