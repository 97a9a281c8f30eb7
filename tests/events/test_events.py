"""Events are told after the commit, and only then."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from commerce_core.events import EventBus, OrderPaid, emit, savepoint


@pytest.fixture
def told() -> list[Any]:
    return []


@pytest.fixture
def session(engine: Engine, told: list[Any]) -> Session:
    bus = EventBus()
    bus.subscribe(OrderPaid, told.append)
    session = Session(engine)
    session.info["bus"] = bus
    return session


def paid() -> OrderPaid:
    return OrderPaid(order_id=uuid4(), number="N")


def test_nothing_is_told_before_the_commit(session: Session, told: list[Any]) -> None:
    event = paid()
    session.execute(text("SELECT 1"))
    emit(session, event)
    session.flush()
    with session.begin_nested():
        session.execute(text("SELECT 1"))
    assert told == []
    session.commit()
    assert told == [event]
    session.execute(text("SELECT 1"))
    session.commit()
    assert told == [event]


def test_nothing_is_told_after_a_rollback(session: Session, told: list[Any]) -> None:
    session.execute(text("SELECT 1"))
    emit(session, paid())
    session.rollback()
    session.execute(text("SELECT 1"))
    session.commit()
    assert told == []


def test_a_savepoint_takes_its_events_back(session: Session, told: list[Any]) -> None:
    before, inside, after = paid(), paid(), paid()
    emit(session, before)

    def fail() -> None:
        with savepoint(session):
            emit(session, inside)
            session.execute(text("SELECT 1 / 0"))

    with pytest.raises(Exception, match="division by zero"):
        fail()
    emit(session, after)
    session.commit()
    assert told == [before, after]


def test_a_failing_subscriber_hurts_nobody(engine: Engine, told: list[Any]) -> None:
    def fail(_event: Any) -> None:
        raise RuntimeError("the broadcaster is down")

    bus = EventBus()
    bus.subscribe(OrderPaid, fail)
    bus.subscribe(OrderPaid, told.append)
    with Session(engine) as session:
        session.info["bus"] = bus
        event = paid()
        session.execute(text("SELECT 1"))
        emit(session, event)
        session.commit()
    assert told == [event]
