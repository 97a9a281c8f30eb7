"""Durable subscribers are jobs, written in the transaction of the event."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from pyramid.exceptions import ConfigurationError
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from commerce_core.application import close, make_configurator
from commerce_core.database import transaction
from commerce_core.events import OrderCancelled, OrderPaid, StockChanged, attach, emit, savepoint
from commerce_core.jobs.kinds import JobContext, JobKind, job
from commerce_core.jobs.runner import run_due
from commerce_core.settings import CoreSettings
from commerce_core.testing import StoppedClock

HEARD: list[tuple[str, Any]] = []


@job("test.paid", queue="critical")
def note_paid(context: JobContext, event: OrderPaid) -> None:
    HEARD.append((context.name, event))


@job("test.paid-too")
def note_paid_too(context: JobContext, event: OrderPaid) -> None:
    HEARD.append((context.name, event))


@job("test.cancelled")
def note_cancelled(context: JobContext, event: OrderCancelled) -> None:
    HEARD.append((context.name, event))


@job("test.stock")
def note_stock(context: JobContext, event: StockChanged) -> None:
    HEARD.append((context.name, event))


@job("test.other")
def takes_an_order(_context: JobContext, order_id: UUID) -> None: ...


@pytest.fixture
def config(settings: CoreSettings, clock: StoppedClock, engine: Engine) -> Iterator[Any]:
    config = make_configurator(settings, clock=clock)
    config.add_durable_subscriber(OrderPaid, note_paid)
    config.add_durable_subscriber(OrderPaid, note_paid_too)
    config.add_durable_subscriber(OrderCancelled, note_cancelled)
    config.commit()
    attach(engine, config.registry.bus)
    HEARD.clear()
    yield config
    attach(engine, None)
    close(config.registry)


@pytest.fixture
def run(config: Any) -> Callable[[], int]:
    return lambda: run_due(config.registry, config.registry.engine)


def paid() -> OrderPaid:
    return OrderPaid(order_id=uuid4(), number="N-1")


def jobs_of_the_test(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(text("SELECT count(*) FROM job WHERE name LIKE 'test.%'")).scalar_one()


def heard_by(name: str) -> list[Any]:
    return [event for subscriber, event in HEARD if subscriber == name]


def test_every_durable_subscriber_is_given_the_event_as_it_was(engine: Engine, run: Callable[[], int]) -> None:
    first, second = paid(), OrderCancelled(order_id=uuid4(), number="N-2", reason="expired")
    with transaction(engine) as session:
        emit(session, first)
        emit(session, second)
    run()
    assert heard_by("test.paid") == [first]
    assert heard_by("test.paid-too") == [first]
    assert heard_by("test.cancelled") == [second]


def test_the_job_is_there_before_the_commit_and_gone_with_a_rollback(config: Any, engine: Engine) -> None:
    with Session(engine) as session:
        emit(session, paid())
        assert session.scalar(text("SELECT count(*) FROM job WHERE name LIKE 'test.%'")) == 2
        session.rollback()
    assert jobs_of_the_test(engine) == 0


def test_a_savepoint_takes_the_jobs_of_its_events_back(config: Any, engine: Engine) -> None:
    def fail(session: Session) -> None:
        with savepoint(session):
            emit(session, paid())
            raise ZeroDivisionError

    with transaction(engine) as session, pytest.raises(ZeroDivisionError):
        fail(session)
    assert jobs_of_the_test(engine) == 0


def test_no_job_is_written_by_a_hold(config: Any) -> None:
    with pytest.raises(ValueError, match="a hold writes nothing but itself"):
        config.add_durable_subscriber(StockChanged, note_stock)


@pytest.mark.parametrize("kind", [takes_an_order, note_cancelled], ids=lambda kind: kind.name)
def test_a_job_that_takes_something_else_cannot_subscribe(config: Any, kind: JobKind) -> None:
    with pytest.raises(ConfigurationError, match="let it take one argument, `event: OrderPaid`"):
        config.add_durable_subscriber(OrderPaid, kind)
