"""The last line of defence: what PostgreSQL itself refuses, whatever a program or a person at a console tries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from commerce_core.clock import Clock
from commerce_core.database import transaction
from commerce_core.orders.placing import OrderDetails, place_order
from commerce_core.pricing.basket import Buyer
from commerce_core.stock.service import get_hold, place_hold, release_hold
from commerce_core.testing import CATALOGUE_PRICES, assert_stock_adds_up

HOUR = timedelta(hours=1)
TWIN = """
CREATE TEMPORARY TABLE twin ON COMMIT DROP AS SELECT * FROM {0};
UPDATE twin SET id = gen_random_uuid(), {1};
INSERT INTO {0} SELECT * FROM twin"""


@pytest.fixture
def variant_id(make_variant: Callable[..., UUID]) -> UUID:
    return make_variant(stock=10)


@pytest.fixture
def hold_id(engine: Engine, clock: Clock, variant_id: UUID) -> UUID:
    with transaction(engine) as session:
        return place_hold(session, variant_id, 4, ttl=HOUR, now=clock.now())


@pytest.fixture
def order_id(engine: Engine, clock: Clock, hold_id: UUID) -> UUID:
    with transaction(engine) as session:
        return place_order(
            session, hold_id, OrderDetails(), pricing=CATALOGUE_PRICES, buyer=Buyer(), payment_ttl=HOUR, now=clock.now()
        ).id


def assert_refused(engine: Engine, statement: str, reason: str, **parameters: object) -> None:
    with pytest.raises(IntegrityError, match=reason), engine.begin() as connection:
        connection.execute(text(statement), parameters)
    assert_stock_adds_up(engine)


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("reserved = on_hand + 1", "ck_stock_level_not_oversold"),
        ("on_hand = reserved - 1", "ck_stock_level_not_oversold"),
        ("reserved = -1", "ck_stock_level_not_negative"),
        ("on_hand = -1, allow_backorder = true", "ck_stock_level_not_negative"),
        ("policy = 'whatever'", "ck_stock_level_policy"),
    ],
)
def test_an_update_that_would_oversell_is_refused(
    engine: Engine, hold_id: UUID, variant_id: UUID, change: str, constraint: str
) -> None:
    assert_refused(engine, f"UPDATE stock_level SET {change} WHERE variant_id = :id", constraint, id=variant_id)  # noqa: S608


def test_backorders_cannot_be_forbidden_while_more_is_reserved_than_there_is(
    engine: Engine, clock: Clock, variant_id: UUID
) -> None:
    with transaction(engine) as session:
        session.execute(text("UPDATE stock_level SET allow_backorder = true"))
        place_hold(session, variant_id, 11, ttl=HOUR, now=clock.now())
    assert_refused(engine, "UPDATE stock_level SET allow_backorder = false", "ck_stock_level_not_oversold")


@pytest.mark.parametrize("table", ["stock_movement", "order_event"])
@pytest.mark.parametrize("change", ["UPDATE {} SET actor = 'nobody'", "DELETE FROM {}", "TRUNCATE {}"])
def test_history_can_be_neither_changed_nor_deleted(engine: Engine, order_id: UUID, table: str, change: str) -> None:
    assert_refused(engine, change.format(table), f"{table} is append-only: {change.split()[0]} refused")


@pytest.mark.parametrize("kind", ["release", "expire", "sale"])
def test_a_hold_cannot_end_twice(engine: Engine, clock: Clock, hold_id: UUID, variant_id: UUID, kind: str) -> None:
    with transaction(engine) as session:
        hold = get_hold(session, hold_id, lock=True)
        assert hold is not None
        release_hold(session, hold, now=clock.now())
    assert_refused(
        engine,
        "INSERT INTO stock_movement (variant_id, version, kind, on_hand_delta, reserved_delta, on_hand_after,"
        " reserved_after, hold_id) VALUES (:variant_id, 99, :kind, 0, -4, 10, 0, :hold_id)",
        "uq_stock_movement_hold_end",
        variant_id=variant_id,
        kind=kind,
        hold_id=hold_id,
    )


def test_a_variant_has_one_movement_of_each_version(engine: Engine, hold_id: UUID) -> None:
    assert_refused(
        engine,
        "INSERT INTO stock_movement SELECT * FROM stock_movement WHERE kind = 'receive'",
        "pk_stock_movement",
    )


@pytest.mark.parametrize(
    ("table", "change", "constraint"),
    [("orders", "number = 'ANOTHER'", "uq_orders_hold_id"), ("order_line", "position = 2", "uq_order_line_hold_id")],
)
def test_a_hold_cannot_have_two_orders(
    engine: Engine, order_id: UUID, table: str, change: str, constraint: str
) -> None:
    assert_refused(engine, TWIN.format(table, change), constraint)


def test_an_order_has_one_open_payment_with_a_provider(engine: Engine, order_id: UUID) -> None:
    pay = (
        "INSERT INTO payment (id, order_id, provider, amount, currency, status, created_at)"
        " VALUES (gen_random_uuid(), :order_id, 'manual', 1, 'USD', 'pending', now())"
    )
    with engine.begin() as connection:
        connection.execute(text(pay), {"order_id": order_id})
    assert_refused(engine, pay, "uq_payment_open", order_id=order_id)
