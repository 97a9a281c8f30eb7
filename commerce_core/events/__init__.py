"""What happened, and who is told.

A service calls `emit(session, event)`. Subscribers are of two kinds. Those **after the commit** are called in this
process, each on its own; a failing one is logged and hurts nobody; who dies before has told nobody. **Durable** ones
(`config.add_durable_subscriber`) are jobs that `emit` writes in the same transaction: they run at least once, whatever
dies. Nobody is told when the transaction rolls back. Events carry ids and figures, never rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any
from uuid import UUID

import structlog
from pyramid.config import Configurator
from sqlalchemy import Engine
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy.orm import Session, SessionTransaction

from commerce_core.events.kinds import (
    CartUpdated,
    Event,
    FulfillmentCancelled,
    JobDied,
    OrderCancelled,
    OrderCompleted,
    OrderFulfilled,
    OrderPaid,
    OrderPaymentFailed,
    OrderPlaced,
    ProductChanged,
    RefundDue,
    RefundFailed,
    RefundRequested,
    RefundSucceeded,
    StockBack,
    StockChanged,
    StockLow,
    StockOut,
    WebhookEndpointDisabled,
    WebhookReceived,
)

__all__ = [
    "CartUpdated",
    "Event",
    "EventBus",
    "FulfillmentCancelled",
    "JobDied",
    "OrderCancelled",
    "OrderCompleted",
    "OrderFulfilled",
    "OrderPaid",
    "OrderPaymentFailed",
    "OrderPlaced",
    "ProductChanged",
    "RefundDue",
    "RefundFailed",
    "RefundRequested",
    "RefundSucceeded",
    "StockBack",
    "StockChanged",
    "StockLow",
    "StockOut",
    "WebhookEndpointDisabled",
    "WebhookReceived",
    "attach",
    "emit",
    "every_kind",
    "log_event",
    "savepoint",
]


_log = structlog.get_logger("commerce.events")


Subscriber = Callable[[Any], None]
Recorder = Callable[[Session, Any], object]


def every_kind() -> list[type[Event]]:
    """The classes of events that there are, those of the loaded plugins among them."""

    def kinds(of: type[Event]) -> Iterator[type[Event]]:
        for kind in of.__subclasses__():
            if "topic" in vars(kind):
                yield kind
            yield from kinds(kind)

    return list(kinds(Event))


class EventBus:
    """The subscribers of a process."""

    def __init__(self) -> None:
        self._subscribers: defaultdict[type[Event], list[Subscriber]] = defaultdict(list)
        self._recorders: defaultdict[type[Event], list[Recorder]] = defaultdict(list)

    def subscribe(self, kind: type[Event], subscriber: Subscriber) -> None:
        """Call `subscriber` with every committed event of this class."""
        self._subscribers[kind].append(subscriber)

    def record(self, kind: type[Event], recorder: Recorder) -> None:
        """Call `recorder` with the session, and with every event of this class that is emitted in it.

        It writes in the transaction of the event, with whatever is locked there, and what it raises undoes it.
        """
        if kind is StockChanged:
            raise ValueError("a hold writes nothing but itself: follow the levels' versions, or StockLow and its kin")
        self._recorders[kind].append(recorder)

    def recorders(self, kind: type[Event]) -> Sequence[Recorder]:
        """Who writes down events of this class."""
        return self._recorders.get(kind, ())

    def publish(self, event: Event) -> None:
        """Tell the subscribers. Never raises."""
        for subscriber in self._subscribers[type(event)]:
            try:
                subscriber(event)
            except Exception as error:
                _log.error("subscriber failed", event_type=type(event).__name__, exc_info=error)


def emit(session: Session, event: Event) -> None:
    """Tell the subscribers of the session's bus about `event` once its transaction has committed.

    The jobs of durable subscribers are written here and now, in that transaction.
    """
    bus = _bus_of(session)
    for recorder in bus.recorders(type(event)) if bus is not None else ():
        recorder(session, event)
    session.info.setdefault("events", []).append(event)


@contextmanager
def savepoint(session: Session) -> Iterator[None]:
    """A savepoint that takes the events emitted inside it back, too, when it is rolled back."""
    events = session.info.setdefault("events", [])
    before = len(events)
    try:
        with session.begin_nested():
            yield
    except BaseException:
        del events[before:]
        raise


@sqlalchemy_event.listens_for(Session, "after_commit")
def _deliver(session: Session) -> None:
    if session.in_nested_transaction():
        return
    bus = _bus_of(session)
    for event in session.info.pop("events", ()):
        log_event(event, request_id=session.info.get("request_id"))
        if bus is not None:
            bus.publish(event)


def attach(engine: Engine, bus: EventBus | None) -> None:
    """Let what sessions of this engine emit be told to the subscribers of `bus`, unless they name another."""
    engine.update_execution_options(commerce_bus=bus)


def _bus_of(session: Session) -> EventBus | None:
    """The session's own bus, or else its engine's."""
    bus: EventBus | None = session.info.get("bus")
    if bus is None and session.bind is not None:
        bus = session.bind.get_execution_options().get("commerce_bus")
    return bus


@sqlalchemy_event.listens_for(Session, "after_soft_rollback")
def _discard(session: Session, previous: SessionTransaction) -> None:
    if not previous.nested:
        session.info.pop("events", None)


def log_event(event: Event, **context: Any) -> None:
    """One structured line for a thing that really happened."""
    facts = {field.name: getattr(event, field.name) for field in fields(event)} | context
    structlog.get_logger(event.logger).info(
        type(event).__name__, **{name: _plain(value) for name, value in facts.items() if value is not None}
    )


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, UUID) else value


def includeme(config: Configurator) -> None:
    config.registry.bus = EventBus()
    attach(config.registry.engine, config.registry.bus)
