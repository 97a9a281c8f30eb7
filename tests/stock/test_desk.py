"""The hold desk from the inside: batches, twins, lost connections, and the memory that turns a crowd away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from commerce_core.api.idempotency import KeyedRequest, StoredAnswer
from commerce_core.api.problems import IdempotencyKeyReused, Unavailable
from commerce_core.database import transaction, uuid7
from commerce_core.events import StockChanged
from commerce_core.settings import CoreSettings
from commerce_core.stock import desk as desk_module
from commerce_core.stock.desk import Combiner, HoldDesk, HoldRequest, Outcome, SoldOutGate, fitting
from commerce_core.stock.models import Hold, StockLevel
from commerce_core.stock.service import OutOfStock, UnknownVariant, receive_stock
from commerce_core.testing import StoppedClock, assert_stock_adds_up, concurrently, make_settings


class Published:
    """What the desk has published; a test may act at that moment, which is between two statements of a batch."""

    def __init__(self) -> None:
        self.events: list[StockChanged] = []
        self.then: Callable[[], None] = lambda: None

    def __call__(self, event: StockChanged, hold_ids: Sequence[UUID]) -> None:
        self.events.append(event)
        self.then()


@pytest.fixture
def published() -> Published:
    return Published()


@pytest.fixture
def desk(
    database_url: str, settings: CoreSettings, engine: Engine, clock: StoppedClock, published: Published
) -> Iterator[HoldDesk]:
    desk = HoldDesk(database_url, settings.sqlalchemy, settings.stock, clock, published)
    yield desk
    desk.close()


@pytest.fixture
def ask(clock: StoppedClock) -> Callable[..., HoldRequest]:
    """`ask(variant_id, 3, key="twice")`: a request."""

    def make(variant_id: UUID, quantity: int = 1, key: str | None = None, body: bytes = b"") -> HoldRequest:
        hold_id = uuid7()
        return HoldRequest(
            id=hold_id,
            variant_id=variant_id,
            quantity=quantity,
            owner=None,
            created_at=clock.now(),
            expires_at=clock.now() + timedelta(minutes=2),
            answer=str(hold_id).encode(),
            keyed=(key and KeyedRequest("somebody", key, body, clock.now())) or None,
        )

    return make


def serve(desk: HoldDesk, *batch: HoldRequest) -> list[Outcome]:
    return desk._serve(batch)


def holds(engine: Engine) -> set[UUID]:
    with engine.connect() as connection:
        return set(connection.scalars(text("SELECT id FROM hold WHERE state = 'active'")))


def level(engine: Engine, variant_id: UUID) -> tuple[int, int]:
    with Session(engine) as session:
        found = session.get_one(StockLevel, variant_id)
        return found.on_hand, found.reserved


# A batch


def test_a_batch_is_served_in_order_of_arrival(
    desk: HoldDesk, engine: Engine, make_variant: Callable[..., UUID], ask: Callable[..., HoldRequest]
) -> None:
    variant_id = make_variant(stock=10)
    batch = [ask(variant_id, 4), ask(variant_id, 5), ask(variant_id, 3)]
    *served, refused = serve(desk, *batch)
    assert served == [request.answer for request in batch[:2]]
    assert isinstance(refused, OutOfStock)
    assert refused.available == 1
    with engine.connect() as connection:
        ledger = connection.scalars(text("SELECT hold_id FROM stock_movement WHERE kind = 'hold' ORDER BY version"))
        assert ledger.all() == [request.id for request in batch[:2]]
    assert_stock_adds_up(engine)


def test_a_request_that_is_too_large_refuses_none_of_the_smaller_ones_behind_it(
    desk: HoldDesk, engine: Engine, make_variant: Callable[..., UUID], ask: Callable[..., HoldRequest]
) -> None:
    variant_id = make_variant(stock=10)
    batch = [ask(variant_id, quantity) for quantity in (3, 50, 3, 4)]
    outcomes = serve(desk, *batch)
    assert isinstance(outcomes[1], OutOfStock)
    assert [outcomes[0], *outcomes[2:]] == [batch[0].answer, batch[2].answer, batch[3].answer]
    assert level(engine, variant_id) == (10, 10)
    assert_stock_adds_up(engine)


@pytest.mark.parametrize(
    ("quantities", "available", "chosen"),
    [
        ([6, 5, 4], 10, [6, 4]),
        ([1, 1, 1], 2, [1, 1]),
        ([11], 10, []),
        ([10, 1], 10, [10]),
        ([1, 10], 10, [1]),
        ([1], 0, []),
    ],
)
def test_what_fits_is_chosen_greedily_in_order_of_arrival(
    ask: Callable[..., HoldRequest], quantities: list[int], available: int, chosen: list[int]
) -> None:
    requests = [ask(uuid7(), quantity) for quantity in quantities]
    assert [request.quantity for request in fitting(requests, available)] == chosen


def test_a_batch_takes_what_lapsed_holds_give_back(
    desk: HoldDesk,
    engine: Engine,
    clock: StoppedClock,
    make_variant: Callable[..., UUID],
    ask: Callable[..., HoldRequest],
) -> None:
    variant_id = make_variant(stock=10)
    serve(desk, ask(variant_id, 6), ask(variant_id, 4))
    clock.tick(minutes=3)
    batch = [ask(variant_id, 5), ask(variant_id, 5)]
    assert serve(desk, *batch) == [request.answer for request in batch]
    assert_stock_adds_up(engine)


def test_nobody_gets_a_variant_that_is_unknown(desk: HoldDesk, ask: Callable[..., HoldRequest]) -> None:
    variant_id = uuid7()
    assert [type(outcome) for outcome in serve(desk, ask(variant_id), ask(variant_id))] == [UnknownVariant] * 2


# Idempotency keys


def test_twins_in_one_batch_take_once_and_get_the_same_answer(
    desk: HoldDesk, engine: Engine, make_variant: Callable[..., UUID], ask: Callable[..., HoldRequest]
) -> None:
    variant_id = make_variant(stock=10)
    first, twin, impostor = (ask(variant_id, 2, key="key", body=body) for body in (b"same", b"same", b"other"))
    stranger = ask(variant_id, 3)
    outcomes = serve(desk, first, twin, impostor, stranger)
    assert outcomes[:2] == [first.answer, StoredAnswer(201, first.answer)]
    assert isinstance(outcomes[2], IdempotencyKeyReused)
    assert outcomes[3] == stranger.answer
    assert holds(engine) == {first.id, stranger.id}
    assert_stock_adds_up(engine)


@pytest.mark.commerce(settings={"stock.sold_out_memory_ms": "60000"})
def test_a_repeat_gets_the_first_answer_after_everything_has_been_sold(
    desk: HoldDesk, engine: Engine, make_variant: Callable[..., UUID], ask: Callable[..., HoldRequest]
) -> None:
    variant_id = make_variant(stock=1)
    first = ask(variant_id, key="key")
    assert desk.place(first) == first.answer
    assert desk.place(ask(variant_id, key="key")) == StoredAnswer(201, first.answer)
    with pytest.raises(OutOfStock):
        desk.place(ask(variant_id, key="another"))
    assert desk.place(ask(variant_id, key="key")) == StoredAnswer(201, first.answer)
    with pytest.raises(IdempotencyKeyReused):
        desk.place(ask(variant_id, key="key", body=b"other"))
    assert holds(engine) == {first.id}


def test_a_repeat_gets_the_first_answer_after_the_product_was_taken_off_sale(
    desk: HoldDesk, engine: Engine, make_variant: Callable[..., UUID], ask: Callable[..., HoldRequest]
) -> None:
    variant_id = make_variant()
    first = ask(variant_id, key="key")
    desk.place(first)
    with transaction(engine) as session:
        session.execute(text("UPDATE product SET status = 'archived'"))
    assert desk.place(ask(variant_id, key="key")) == StoredAnswer(201, first.answer)
    with pytest.raises(UnknownVariant):
        desk.place(ask(variant_id, key="another"))


# When something fails


def terminate(cursor: psycopg.Cursor[Any]) -> None:
    cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def test_after_a_lost_connection_those_whose_holds_were_committed_get_their_answer(
    desk: HoldDesk,
    engine: Engine,
    make_variant: Callable[..., UUID],
    ask: Callable[..., HoldRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take = desk_module.take

    def take_and_die(cursor: psycopg.Cursor[Any], requests: Sequence[HoldRequest]) -> Any:
        take(cursor, requests)
        terminate(cursor)

    monkeypatch.setattr(desk_module, "take", take_and_die)
    variant_id = make_variant(stock=10)
    batch = [ask(variant_id, 5), ask(variant_id, 5)]
    assert serve(desk, *batch) == [request.answer for request in batch]
    assert holds(engine) == {request.id for request in batch}
    assert_stock_adds_up(engine)


def test_after_a_lost_connection_those_whose_holds_were_not_committed_may_try_again(
    desk: HoldDesk,
    engine: Engine,
    make_variant: Callable[..., UUID],
    ask: Callable[..., HoldRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variant_id = make_variant(stock=10)
    request = ask(variant_id)
    with monkeypatch.context() as patch:
        patch.setattr(desk_module, "take", lambda cursor, requests: terminate(cursor))
        [outcome] = serve(desk, request)
    assert isinstance(outcome, Unavailable)
    assert holds(engine) == set()
    assert serve(desk, request) == [request.answer]


def test_a_deadlock_is_tried_again(
    desk: HoldDesk,
    engine: Engine,
    make_variant: Callable[..., UUID],
    ask: Callable[..., HoldRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take = desk_module.take
    failures: list[Exception] = [psycopg.errors.DeadlockDetected(), psycopg.errors.DeadlockDetected()]

    def deadlock_first(cursor: psycopg.Cursor[Any], requests: Sequence[HoldRequest]) -> Any:
        if failures:
            raise failures.pop()
        return take(cursor, requests)

    monkeypatch.setattr(desk_module, "take", deadlock_first)
    variant_id = make_variant(stock=1)
    request, other = ask(variant_id), ask(variant_id)
    assert serve(desk, request, other)[0] == request.answer
    assert holds(engine) == {request.id}


def test_a_deadlock_in_the_middle_of_a_batch_undoes_no_answer_before_it(
    desk: HoldDesk,
    engine: Engine,
    clock: StoppedClock,
    published: Published,
    make_variant: Callable[..., UUID],
    ask: Callable[..., HoldRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variant_id = make_variant(stock=10)
    take = desk_module.take
    failures: list[Exception] = []

    def take_or_fail(cursor: psycopg.Cursor[Any], requests: Sequence[HoldRequest]) -> Any:
        if failures:
            raise failures.pop()
        return take(cursor, requests)

    def more_arrives() -> None:
        published.then = lambda: None
        failures.append(psycopg.errors.DeadlockDetected())
        with transaction(engine) as session:
            receive_stock(session, variant_id, 10, now=clock.now())

    monkeypatch.setattr(desk_module, "take", take_or_fail)
    published.then = more_arrives
    batch = [ask(variant_id, 8), ask(variant_id, 8)]
    assert serve(desk, *batch) == [request.answer for request in batch]
    assert holds(engine) == {request.id for request in batch}
    assert_stock_adds_up(engine)


@pytest.mark.commerce(settings={"stock.lock_timeout_ms": "50"})
def test_a_lock_that_cannot_be_had_in_the_middle_of_a_batch_undoes_no_answer_before_it(
    desk: HoldDesk,
    engine: Engine,
    clock: StoppedClock,
    published: Published,
    make_variant: Callable[..., UUID],
    ask: Callable[..., HoldRequest],
) -> None:
    variant_id = make_variant(stock=10)
    serve(desk, ask(variant_id, 1))
    batch = [ask(variant_id, 8), ask(variant_id, 8)]
    with Session(engine) as somebody:

        def lock_the_level() -> None:
            somebody.get(StockLevel, variant_id, with_for_update=True)
            clock.tick(minutes=3)  # now the desk wants to give the first hold back

        published.then = lock_the_level
        served, refused = serve(desk, *batch)
    assert served == batch[0].answer
    assert isinstance(refused, Unavailable)
    with Session(engine) as session:
        assert session.get(Hold, batch[0].id) is not None
        assert session.get(Hold, batch[1].id) is None
    assert_stock_adds_up(engine)


@pytest.mark.commerce(settings={"stock.lock_timeout_ms": "50"})
def test_a_lock_that_cannot_be_had_leaves_no_hold(
    desk: HoldDesk, engine: Engine, make_variant: Callable[..., UUID], ask: Callable[..., HoldRequest]
) -> None:
    variant_id = make_variant(stock=10)
    with Session(engine) as somebody:
        somebody.get(StockLevel, variant_id, with_for_update=True)
        with pytest.raises(Unavailable):
            desk.place(ask(variant_id))
    assert holds(engine) == set()
    assert desk.place(ask(variant_id))


def test_a_database_that_is_away_makes_the_desk_unavailable(
    clock: StoppedClock, ask: Callable[..., HoldRequest], published: Published
) -> None:
    url = "postgresql+psycopg://nobody@/nowhere?host=/nonexistent"
    settings = make_settings(url)
    desk = HoldDesk(url, settings.sqlalchemy, settings.stock, clock, published)
    with pytest.raises(Unavailable):
        desk.place(ask(uuid7()))


# The gate


@pytest.fixture
def tick(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the gate's own clock."""
    now = [100.0]
    monkeypatch.setattr(desk_module, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


def refuses(gate: SoldOutGate, variant_id: UUID, quantity: int) -> bool:
    try:
        gate.check(variant_id, quantity)
    except OutOfStock:
        return True
    return False


def test_the_gate_refuses_only_more_than_there_was_and_only_for_its_time(
    clock: StoppedClock, tick: Callable[[float], None]
) -> None:
    gate, variant_id = SoldOutGate(memory_seconds=0.05), uuid7()
    assert not refuses(gate, variant_id, 1)
    gate.close(variant_id, 2, clock.now(), None)
    assert [refuses(gate, variant_id, quantity) for quantity in (1, 2, 3)] == [False, False, True]
    assert not refuses(gate, uuid7(), 3)
    tick(0.05)
    assert not refuses(gate, variant_id, 3)


def test_the_gate_is_never_closed_beyond_the_next_expiry(clock: StoppedClock, tick: Callable[[float], None]) -> None:
    gate, variant_id = SoldOutGate(memory_seconds=60), uuid7()
    gate.close(variant_id, 0, clock.now(), clock.now())
    assert not refuses(gate, variant_id, 1)
    gate.close(variant_id, 0, clock.now(), clock.now() + timedelta(seconds=1))
    assert refuses(gate, variant_id, 1)
    tick(1)
    assert not refuses(gate, variant_id, 1)


@pytest.mark.commerce(settings={"stock.sold_out_memory_ms": "60000"})
def test_the_gate_closes_on_a_figure_of_the_database_and_opens_when_stock_comes_back(
    desk: HoldDesk,
    make_variant: Callable[..., UUID],
    ask: Callable[..., HoldRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variant_id = make_variant(stock=1)
    asked: list[int] = []
    take = desk_module.take

    def count(cursor: psycopg.Cursor[Any], requests: Sequence[HoldRequest]) -> Any:
        asked.append(len(requests))
        return take(cursor, requests)

    def is_refused() -> bool:
        try:
            desk.place(ask(variant_id))
        except OutOfStock:
            return True
        return False

    def changed(kind: str) -> StockChanged:
        return StockChanged(variant_id=variant_id, kind=kind, on_hand=1, reserved=0, version=3)

    monkeypatch.setattr(desk_module, "take", count)
    assert [is_refused() for _ in range(4)] == [False, True, True, True]
    assert len(asked) == 2
    desk.stock_came_back(changed("hold"))
    assert is_refused()
    assert len(asked) == 2
    desk.stock_came_back(changed("release"))
    assert is_refused()
    assert len(asked) == 3


# The combiner


class Counter:
    """Serves batches when it is told to, and notes them."""

    def __init__(self) -> None:
        self.batches: list[list[HoldRequest]] = []
        self.open = threading.Event()
        self.busy = 0
        self.busiest = 0
        self.failure: BaseException | None = None

    def __call__(self, batch: Sequence[HoldRequest]) -> list[Outcome]:
        self.busy += 1
        self.busiest = max(self.busy, self.busiest)
        self.batches.append(list(batch))
        assert self.open.wait(60)
        self.busy -= 1
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        return [request.answer for request in batch]


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def queue(counter: Counter) -> Iterator[Callable[..., list[Outcome]]]:
    """`queue(combiner, requests)`: place them while the first is being served, one after the other; their outcomes."""

    def run(combiner: Combiner, requests: Sequence[HoldRequest]) -> list[Outcome]:
        outcomes: dict[UUID, Outcome] = {}

        def place(request: HoldRequest) -> None:
            outcomes[request.id] = combiner.place(request)

        threads = [threading.Thread(target=place, args=(request,)) for request in requests]
        for number, thread in enumerate(threads):
            thread.start()
            while len(combiner._queues.get(requests[0].variant_id, ())) < number or not counter.batches:
                threading.Event().wait(0.001)
        counter.open.set()
        for thread in threads:
            thread.join()
        return [outcomes[request.id] for request in requests]

    yield run
    counter.open.set()


def test_who_waits_is_served_together_in_order_and_in_batches_of_limited_size(
    counter: Counter, queue: Callable[..., list[Outcome]], ask: Callable[..., HoldRequest]
) -> None:
    requests = [ask(variant_id) for variant_id in [uuid7()] * 6]
    assert queue(Combiner(counter, batch_size=3, wait_seconds=60), requests) == [r.answer for r in requests]
    assert counter.batches == [requests[:1], requests[1:4], requests[4:]]


def test_one_leader_serves_a_variant_at_a_time(counter: Counter, ask: Callable[..., HoldRequest]) -> None:
    counter.open.set()
    combiner, variant_id = Combiner(counter, batch_size=4, wait_seconds=60), uuid7()
    requests = [ask(variant_id) for _ in range(40)]
    outcomes = concurrently([lambda request=request: combiner.place(request) for request in requests])  # type: ignore[misc]
    assert outcomes == [request.answer for request in requests]
    assert counter.busiest == 1
    assert combiner._queues == {}


def test_two_variants_are_served_at_the_same_time(ask: Callable[..., HoldRequest]) -> None:
    meeting = threading.Barrier(2)

    def meet(batch: Sequence[HoldRequest]) -> list[Outcome]:
        meeting.wait(60)
        return [request.answer for request in batch]

    combiner = Combiner(meet, batch_size=4, wait_seconds=60)
    requests = [ask(uuid7()), ask(uuid7())]
    outcomes = concurrently([lambda request=request: combiner.place(request) for request in requests])  # type: ignore[misc]
    assert outcomes == [request.answer for request in requests]


def test_a_leader_that_fails_wakes_everybody(
    counter: Counter, queue: Callable[..., list[Outcome]], ask: Callable[..., HoldRequest]
) -> None:
    counter.failure = failure = RuntimeError("the first batch fails")
    combiner, variant_id = Combiner(counter, batch_size=2, wait_seconds=60), uuid7()
    requests = [ask(variant_id) for _ in range(4)]
    assert queue(combiner, requests) == [failure, *(request.answer for request in requests[1:])]
    assert combiner._queues == {}


def test_a_leader_that_is_ended_leaves_nobody_waiting(counter: Counter, ask: Callable[..., HoldRequest]) -> None:
    counter.failure = SystemExit()
    counter.open.set()
    combiner, request = Combiner(counter, batch_size=2, wait_seconds=60), ask(uuid7())
    with pytest.raises(SystemExit):
        combiner.place(request)
    assert combiner._queues == {}


def test_who_waits_too_long_is_withdrawn_and_nothing_is_taken_for_him(
    counter: Counter, ask: Callable[..., HoldRequest]
) -> None:
    combiner, variant_id = Combiner(counter, batch_size=4, wait_seconds=0.01), uuid7()
    first, impatient = ask(variant_id), ask(variant_id)
    leader = threading.Thread(target=combiner.place, args=(first,))
    leader.start()
    while not counter.batches:
        threading.Event().wait(0.001)
    assert isinstance(combiner.place(impatient), Unavailable)
    counter.open.set()
    leader.join()
    assert counter.batches == [[first]]
    assert combiner._queues == {}
