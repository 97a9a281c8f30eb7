"""The hold desk: takes holds at the speed of a flash sale.

The one place that does not use the request's transaction: a hold is one statement on an autocommit connection, with
everything that must be atomic inside it. Each process has one desk with a few connections, because a hot row gets
slower, not faster, the more connections queue for it; requests wait here instead.

In hot mode, requests for one variant that arrive while a statement is under way are served together by the next
one. Nothing waits for company: a request that finds nobody before it goes at once. The guarantees are the same.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import TimeoutError as PoolTimeout

from commerce_core.api.idempotency import KeyedRequest, StoredAnswer
from commerce_core.api.problems import IdempotencyKeyReused, Unavailable
from commerce_core.clock import Clock
from commerce_core.database import RETRYABLE_SQLSTATES
from commerce_core.events import StockChanged
from commerce_core.metrics import Metrics
from commerce_core.metrics.pools import WatchedPool
from commerce_core.metrics.statements import TimedCursor
from commerce_core.settings import DatabaseSettings, StockSettings
from commerce_core.stock.service import OutOfStock, UnknownVariant
from commerce_core.stock.statements import RECLAIM, RECLAIM_LIMIT, TAKE, TAKE_WITH_KEYS

# How often a batch is tried, while others take what it was about to take or there are more lapsed holds to give back.
# After that it is answered 503, never "sold out": what was given back stays so, and the next try goes on from there.
_ROUNDS = 30


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """A hold to be placed. The id is made here, so that whether it exists can be asked when an answer was lost."""

    id: UUID
    variant_id: UUID
    quantity: int
    owner: str | None
    created_at: datetime
    expires_at: datetime
    answer: bytes
    keyed: KeyedRequest | None = None


# What becomes of a request: its own answer, the answer given before to the same idempotency key, or an error.
Outcome = bytes | StoredAnswer | Exception


class HoldDesk:
    """Places holds for one process. Safe to share between threads."""

    def __init__(
        self,
        url: str,
        database: DatabaseSettings,
        settings: StockSettings,
        clock: Clock,
        publish: Callable[[StockChanged, Sequence[UUID]], None],
        metrics: Metrics | None = None,
        tell_statement: Callable[[str, float], None] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._publish = publish
        self._tell_statement = tell_statement
        self._gate = SoldOutGate(settings.sold_out_memory_ms / 1000)
        self._meter = HoldMeter(metrics or Metrics())
        self._combiner = Combiner(self._serve_together, settings.hot_batch, settings.hot_wait_seconds)
        self.engine = create_engine(
            make_url(url).set(drivername="postgresql+psycopg"),
            isolation_level="AUTOCOMMIT",
            poolclass=WatchedPool,
            pool_size=settings.hot_connections,
            max_overflow=0,
            pool_timeout=settings.hot_wait_seconds,
            pool_reset_on_return=None,
            pool_use_lifo=True,
            connect_args={
                "connect_timeout": database.connect_timeout_seconds,
                "prepare_threshold": 0,
                "application_name": "commerce-holds",
                "options": f"-c statement_timeout={settings.statement_timeout_ms}"
                f" -c lock_timeout={settings.lock_timeout_ms} -c timezone=UTC",
            },
        )

    def place(self, request: HoldRequest) -> bytes | StoredAnswer:
        """Take the stock and commit. Raises OutOfStock, UnknownVariant, IdempotencyKeyReused or Unavailable."""
        outcome: Outcome
        try:
            self._gate.check(request.variant_id, request.quantity)
            outcome = self._combiner.place(request) if self._settings.hot_mode else self._serve([request])[0]
        except OutOfStock as refusal:
            outcome = refusal
        if request.keyed is not None and isinstance(outcome, (OutOfStock, UnknownVariant)):
            # A repeat gets the answer of the first time, whatever has been sold since.
            outcome = self._answers_given_before([request]).get(request.id, outcome)
        self._meter.count(outcome)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def stock_came_back(self, event: StockChanged) -> None:
        """Subscriber: forget that a variant was sold out when units of it may have become free."""
        if event.kind != "hold":
            self._gate.open(event.variant_id)

    def close(self) -> None:
        self.engine.dispose()

    def _serve_together(self, batch: Sequence[HoldRequest]) -> list[Outcome]:
        self._meter.batch(len(batch))
        return self._serve(batch)

    def _serve(self, batch: Sequence[HoldRequest], attempts: int = 3) -> list[Outcome]:
        """An outcome for each of `batch`, which is all for one variant, in order of arrival."""
        outcomes: dict[UUID, Outcome] = {}
        try:
            with self._cursor() as cursor:
                self._take_what_fits(cursor, batch, outcomes)
        except (psycopg.Error, PoolTimeout) as error:
            # Those that have an outcome keep it: what was taken for them is committed.
            left = [request for request in batch if request.id not in outcomes]
            outcomes |= zip((request.id for request in left), self._outcomes_after(error, left, attempts), strict=True)
        return [outcomes[request.id] for request in batch]

    def _outcomes_after(self, error: Exception, left: Sequence[HoldRequest], attempts: int) -> list[Outcome]:
        if isinstance(error, psycopg.errors.UniqueViolation):
            # Some of the keys were used before: those requests get their answers, and the others go on together.
            given = self._answers_given_before(left)
            others = [request for request in left if request.id not in given]
            if given:
                given |= zip((r.id for r in others), self._serve(others) if others else [], strict=True)
                return [given[request.id] for request in left]
            if len(left) > 1:  # twins in one batch
                return [self._serve([request])[0] for request in left]
            return [Unavailable()]
        if isinstance(error, psycopg.errors.NumericValueOutOfRange):
            # More backorders than can be counted.
            return [OutOfStock(request.variant_id, 0) for request in left]
        if isinstance(error, psycopg.OperationalError):
            if error.sqlstate is None or error.sqlstate.startswith(("08", "57P")):
                return self._outcomes_after_lost_connection(left)
            if error.sqlstate in RETRYABLE_SQLSTATES and attempts > 1:
                return self._serve(left, attempts - 1)
        if isinstance(error, (psycopg.OperationalError, PoolTimeout)):
            return [Unavailable() for _ in left]
        return [error for _ in left]

    def _take_what_fits(
        self, cursor: psycopg.Cursor[Any], batch: Sequence[HoldRequest], outcomes: dict[UUID, Outcome]
    ) -> None:
        """Fill in `outcomes`, each as soon as it is certain."""
        waiting = chosen = list(batch)
        for _ in range(_ROUNDS):
            level = take(cursor, chosen) if chosen else None
            if level is not None:
                outcomes.update((request.id, request.answer) for request in chosen)
                waiting = [request for request in waiting if request.id not in outcomes]
                self._tell(batch[0].variant_id, "hold", level, [request.id for request in chosen])
                if not waiting:
                    return
            now = self._clock.now()
            state = cursor.execute(RECLAIM, {"variant_id": batch[0].variant_id, "now": now}).fetchone()
            if state is None or not state.sellable:
                outcomes.update((request.id, UnknownVariant(request.variant_id)) for request in waiting)
                return
            if state.expired:
                self._tell(batch[0].variant_id, "expire", state, [], lapsed=state.expired)
            if state.expired >= RECLAIM_LIMIT:
                chosen = fitting(waiting, state.on_hand - state.reserved)
                continue  # there may be more to give back
            if state.policy == "ignore" or state.allow_backorder:
                chosen = waiting  # its policy was changed a moment ago
                continue
            available = state.on_hand - state.reserved
            self._gate.close(batch[0].variant_id, available, now, state.next_expiry)
            outcomes.update((r.id, OutOfStock(r.variant_id, available)) for r in waiting if r.quantity > available)
            waiting = [request for request in waiting if request.id not in outcomes]
            chosen = fitting(waiting, available)
            if not waiting:
                return
        outcomes.update((request.id, Unavailable()) for request in waiting)

    def _tell(
        self, variant_id: UUID, kind: str, level: Any, hold_ids: Sequence[UUID], lapsed: int | None = None
    ) -> None:
        event = StockChanged(
            variant_id=variant_id,
            kind=kind,
            on_hand=level.on_hand,
            reserved=level.reserved,
            version=level.version,
            lapsed=lapsed,
        )
        self._publish(event, hold_ids)

    def _answers_given_before(self, requests: Sequence[HoldRequest]) -> dict[UUID, Outcome]:
        """What was answered to the same keys, by request, for those that were used before."""
        keyed = [(request.id, request.keyed) for request in requests if request.keyed is not None]
        if not keyed:
            return {}
        try:
            with self._cursor() as cursor:
                rows = cursor.execute(
                    "SELECT actor, key, fingerprint, status, body FROM idempotency_key"
                    " JOIN unnest(%s::text[], %s::text[]) AS asked (actor, key) USING (actor, key)",
                    ([key.actor for _, key in keyed], [key.key for _, key in keyed]),
                ).fetchall()
        except (psycopg.OperationalError, PoolTimeout):
            return {request_id: Unavailable() for request_id, _ in keyed}
        stored = {(row.actor, row.key): row for row in rows}
        answers: dict[UUID, Outcome] = {}
        for request_id, key in keyed:
            row = stored.get((key.actor, key.key))
            if row is not None:
                answers[request_id] = (
                    StoredAnswer(row.status, row.body)
                    if row.fingerprint == key.fingerprint
                    else IdempotencyKeyReused(f"The key {key.key!r} was used before with another path or body.")
                )
        return answers

    def _outcomes_after_lost_connection(self, batch: Sequence[HoldRequest]) -> list[Outcome]:
        """The statement was committed, or it was not: ask on a new connection. A hold nobody hears of lapses."""
        self.engine.dispose()
        try:
            with self._cursor() as cursor:
                rows = cursor.execute("SELECT id FROM hold WHERE id = ANY(%s)", ([r.id for r in batch],)).fetchall()
        except Exception:
            return [Unavailable() for _ in batch]
        placed = {row.id for row in rows}
        return [request.answer if request.id in placed else Unavailable() for request in batch]

    @contextmanager
    def _cursor(self) -> Iterator[psycopg.Cursor[Any]]:
        pooled = self.engine.raw_connection()
        try:
            connection = pooled.driver_connection
            assert isinstance(connection, psycopg.Connection)
            with TimedCursor(connection, row_factory=namedtuple_row) as cursor:
                cursor.tell = self._tell_statement
                yield cursor
        except psycopg.OperationalError:
            pooled.invalidate()
            raise
        finally:
            pooled.close()


class HoldMeter:
    """Counts what became of requests for holds, and how many were served together."""

    def __init__(self, metrics: Metrics) -> None:
        holds = metrics.counter("commerce_holds_total", "Holds asked for, by what became of it.", ("outcome",))
        kinds = {bytes: "placed", StoredAnswer: "replayed", OutOfStock: "out_of_stock", Unavailable: "unavailable"}
        self._outcomes: dict[type, Callable[[], None]] = {kind: holds.labels(name).inc for kind, name in kinds.items()}
        self._other = holds.labels("refused").inc
        self.batch: Callable[[float], None] = metrics.histogram(
            "commerce_hold_batch_size", "Holds served by one statement in hot mode.", buckets=(1, 2, 4, 8, 16, 32, 64)
        ).observe

    def count(self, outcome: Outcome) -> None:
        self._outcomes.get(type(outcome), self._other)()


def take(cursor: psycopg.Cursor[Any], requests: Sequence[HoldRequest]) -> Any:
    """Take stock for all of `requests` in one statement: the level after it, or None when they do not all fit."""
    parameters: dict[str, Any] = {
        "variant_id": requests[0].variant_id,
        "total": sum(request.quantity for request in requests),
        "count": len(requests),
        "ids": [request.id for request in requests],
        "quantities": [request.quantity for request in requests],
        "owners": [request.owner for request in requests],
        "created_at": [request.created_at for request in requests],
        "expires_at": [request.expires_at for request in requests],
    }
    keyed = [(request.keyed, request.answer) for request in requests if request.keyed is not None]
    if keyed:
        parameters |= {
            "key_actors": [key.actor for key, _ in keyed],
            "keys": [key.key for key, _ in keyed],
            "fingerprints": [key.fingerprint for key, _ in keyed],
            "statuses": [201] * len(keyed),
            "bodies": [answer for _, answer in keyed],
            "key_times": [key.created_at for key, _ in keyed],
        }
    return cursor.execute(TAKE_WITH_KEYS if keyed else TAKE, parameters).fetchone()


def fitting(requests: Sequence[HoldRequest], available: int) -> list[HoldRequest]:
    """Those that fit into `available`, in order of arrival: a large one that does not fit holds up no smaller one."""
    chosen = []
    for request in requests:
        if request.quantity <= available:
            chosen.append(request)
            available -= request.quantity
    return chosen


class SoldOutGate:
    """Remembers for milliseconds that the database said "too little", so that a crowd is turned away without asking.

    It only ever refuses, only on a figure that the database returned, and never beyond the next hold's expiry.
    """

    def __init__(self, memory_seconds: float) -> None:
        self._memory = memory_seconds
        self._closed: dict[UUID, tuple[int, float]] = {}

    def check(self, variant_id: UUID, quantity: int) -> None:
        """Raise OutOfStock if it is known that `quantity` cannot be had."""
        closed = self._closed.get(variant_id)
        if closed is not None and quantity > closed[0] and time.monotonic() < closed[1]:
            raise OutOfStock(variant_id, closed[0])

    def close(self, variant_id: UUID, available: int, now: datetime, next_expiry: datetime | None) -> None:
        seconds = self._memory
        if next_expiry is not None:
            seconds = min(seconds, (next_expiry - now).total_seconds())
        if seconds > 0:
            if len(self._closed) > 10_000:
                self._closed.clear()
            self._closed[variant_id] = (available, time.monotonic() + seconds)

    def open(self, variant_id: UUID) -> None:
        self._closed.pop(variant_id, None)


@dataclass(slots=True, eq=False)
class _Ticket:
    """A request in the queue. When it is called, it holds its outcome, or the batch that its thread must serve."""

    request: HoldRequest
    called: threading.Event = field(default_factory=threading.Event)
    outcome: Outcome | None = None
    batch: list[_Ticket] | None = None


class Combiner:
    """Serves the requests of each variant batch by batch; the thread of a batch's first request does the work."""

    def __init__(
        self, serve: Callable[[Sequence[HoldRequest]], list[Outcome]], batch_size: int, wait_seconds: float
    ) -> None:
        self._serve = serve
        self._batch_size = batch_size
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        # Who waits for each variant that is being served; a variant that nobody is serving has no entry.
        self._queues: dict[UUID, deque[_Ticket]] = {}

    def place(self, request: HoldRequest) -> Outcome:
        ticket = _Ticket(request)
        with self._lock:
            queue = self._queues.get(request.variant_id)
            if queue is None:
                self._queues[request.variant_id] = deque()
                ticket.batch = [ticket]
            else:
                queue.append(ticket)
        if ticket.batch is None and not self._wait(ticket):
            return Unavailable("Too many requests for this variant are waiting.")
        if ticket.batch is not None:
            self._lead(ticket.batch)
        return ticket.outcome or Unavailable()

    def _wait(self, ticket: _Ticket) -> bool:
        """Until called. False after a time-out, when the ticket has been withdrawn and nothing will be taken for it."""
        if ticket.called.wait(self._wait_seconds):
            return True
        with self._lock:
            queue = self._queues.get(ticket.request.variant_id)
            if queue is not None and ticket in queue:
                queue.remove(ticket)
                return False
        # It is in the batch being served right now, whose statement has a time-out of its own.
        return ticket.called.wait(self._wait_seconds)

    def _lead(self, batch: list[_Ticket]) -> None:
        """Serve `batch`, then call the next one's first request to lead."""
        outcomes: list[Outcome] = [Unavailable() for _ in batch]
        try:
            outcomes = self._serve([ticket.request for ticket in batch])
        except Exception as error:
            outcomes = [error] * len(batch)
        finally:
            self._hand_over(batch, outcomes)

    def _hand_over(self, batch: list[_Ticket], outcomes: list[Outcome]) -> None:
        variant_id = batch[0].request.variant_id
        with self._lock:
            queue = self._queues[variant_id]
            following = [queue.popleft() for _ in range(min(len(queue), self._batch_size))]
            if not following:
                del self._queues[variant_id]
        if following:
            following[0].batch = following
            following[0].called.set()
        for ticket, outcome in zip(batch, outcomes, strict=True):
            ticket.outcome = outcome
            ticket.called.set()
