"""The rules of jobs: they run after their transaction commits, are tried again on schedule, and die in the open."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from commerce_core.database import uuid7
from commerce_core.jobs import service, statements
from commerce_core.jobs.carrier import courier_of
from commerce_core.jobs.kinds import InvalidArguments
from commerce_core.jobs.models import JobMessage
from commerce_core.jobs.runner import Runner
from commerce_core.testing import concurrently
from tests.jobs.kinds import BROKEN, RAN, Hands, fatal, fragile, later, limited, note


def test_a_job_runs_once_its_transaction_has_committed(hands: Hands) -> None:
    job_id = hands.enqueue(note, word="hello")
    assert hands.job(job_id).state == "waiting"
    assert hands.run_due() == 1
    assert RAN == ["hello"]
    assert hands.job(job_id).state == "done"
    assert hands.run_due() == 0


def test_a_job_of_a_transaction_that_rolled_back_never_was(hands: Hands) -> None:
    with Session(hands.engine) as session:
        note.enqueue(session, now=hands.clock.now(), word="never")
        session.rollback()
    assert hands.run_due() == 0
    with Session(hands.engine) as session:
        assert session.scalars(select(JobMessage)).all() == []


def test_arguments_are_checked_when_the_job_is_wanted(hands: Hands) -> None:
    with pytest.raises(InvalidArguments, match="word"):
        hands.enqueue(note, wrod="typo")
    with pytest.raises(InvalidArguments, match="order_id"):
        hands.enqueue(note, word="x", order_id="no id")


def test_a_failing_job_is_tried_after_10_60_and_300_seconds_and_then_dead(hands: Hands) -> None:
    job_id = hands.enqueue(fragile)
    for attempt, wait in enumerate((10, 60, 300), start=1):
        assert hands.run_due() == 1
        job = hands.job(job_id)
        assert (job.state, job.attempts) == ("waiting", attempt)
        assert timedelta(seconds=wait) <= job.run_at - hands.clock.now() <= timedelta(seconds=wait * 1.2)
        hands.clock.tick(seconds=wait - 1)
        assert hands.run_due() == 0
        hands.clock.tick(seconds=wait * 0.2 + 1)
    assert hands.run_due() == 1
    job = hands.job(job_id)
    assert (job.state, job.attempts, job.error) == ("dead", 4, "ValueError: it is broken")
    assert "in fragile" in (job.traceback or "")


def test_what_a_job_does_in_its_session_is_committed_with_the_mark_that_it_is_done(hands: Hands) -> None:
    job_id = hands.enqueue(note, word="x")
    claim = service.claim(hands.engine, _id(job_id), hands.registry.jobs, worker="me", now=hands.clock.now())
    assert claim is not None
    with Session(hands.engine) as session, session.begin():
        service.recover_lost(
            session, hands.registry.jobs, silent_since=hands.clock.now() + timedelta(seconds=1), now=hands.clock.now()
        )
    with Session(hands.engine) as session:
        note.enqueue(session, now=hands.clock.now(), word="an effect of a worker that was taken for dead")
        with pytest.raises(service.JobLost):
            service.finish(session, claim, now=hands.clock.now())
    hands.run_due()
    assert RAN == ["x"]


def test_fatal_means_dead_at_once(hands: Hands) -> None:
    job_id = hands.enqueue(fatal)
    hands.run_due()
    assert (hands.job(job_id).state, hands.job(job_id).attempts) == ("dead", 1)


def test_retry_after_waits_as_long_as_it_says(hands: Hands) -> None:
    job_id = hands.enqueue(later)
    hands.run_due()
    assert hands.job(job_id).run_at == hands.clock.now() + timedelta(minutes=7)


def test_a_job_may_be_wanted_for_later(hands: Hands) -> None:
    hands.enqueue(note, word="later", run_at=hands.clock.now() + timedelta(hours=1))
    assert hands.run_due() == 0
    hands.clock.tick(hours=1)
    assert hands.run_due() == 1


def test_higher_priority_runs_first(hands: Hands) -> None:
    hands.enqueue(note, word="low", priority=-1)
    hands.enqueue(note, word="normal")
    hands.enqueue(note, word="high", priority=5)
    hands.run_due()
    assert RAN == ["high", "normal", "low"]


def test_of_a_unique_key_one_waits(hands: Hands) -> None:
    assert hands.enqueue(note, word="a", unique_key="k") is not None
    assert hands.enqueue(note, word="b", unique_key="k") is None
    hands.run_due()
    assert hands.enqueue(note, word="c", unique_key="k") is not None
    hands.run_due()
    assert RAN == ["a", "c"]


def test_jobs_of_one_lane_never_run_at_the_same_time(hands: Hands) -> None:
    first, second = (_id(hands.enqueue(note, word=word, lane="one")) for word in "ab")
    now = hands.clock.now()
    claim = service.claim(hands.engine, first, hands.registry.jobs, worker="me", now=now)
    assert claim is not None
    assert service.claim(hands.engine, second, hands.registry.jobs, worker="you", now=now) is None
    with Session(hands.engine) as session, session.begin():
        service.finish(session, claim, now=now)
    hands.clock.tick(seconds=service.LANE_WAIT.total_seconds())
    assert hands.run_due() == 1
    assert RAN == ["b"]


def test_a_rate_limit_puts_off_what_is_too_much(hands: Hands) -> None:
    for word in "abcde":
        hands.enqueue(limited, word=word)
    hands.run_due()
    assert RAN == ["a", "b"]
    hands.clock.tick(seconds=60)
    hands.run_due()
    assert RAN == ["a", "b", "c", "d"]


def test_a_chain_runs_in_order_and_stops_at_a_failure(hands: Hands) -> None:
    first = hands.enqueue(fragile)
    second = hands.enqueue(note, word="second", waits_for=first)
    hands.enqueue(note, word="third", waits_for=second)
    hands.run_due()
    assert RAN == ["tried"]
    BROKEN["is"] = False
    hands.clock.tick(seconds=12)
    hands.run_due()
    assert RAN == ["tried", "tried", "second", "third"]


def test_cancelling_a_job_cancels_what_waits_for_it(hands: Hands) -> None:
    first = hands.enqueue(note, word="first")
    second = hands.enqueue(note, word="second", waits_for=first)
    with Session(hands.engine) as session, session.begin():
        job = service.lock_job(session, _id(first))
        assert job is not None
        service.cancel_job(session, job, now=hands.clock.now())
    assert hands.run_due() == 0
    assert hands.job(second).state == "cancelled"


def test_a_batch_calls_back_when_all_have_ended(hands: Hands) -> None:
    BROKEN["is"] = True
    now = hands.clock.now()
    with Session(hands.engine) as session, session.begin():
        batch = service.open_batch(session, "import", now=now)
        batch_id = batch.id
        for word in "ab":
            note.enqueue(session, now=now, word=word, batch_id=batch.id)
        fatal.enqueue(session, now=now, batch_id=batch.id)
        service.seal_batch(session, batch, now=now, then=(note, {"word": "all over"}))
    hands.run_due()
    assert sorted(RAN) == ["a", "all over", "b"]
    with Session(hands.engine) as session:
        batch = session.get_one(service.JobBatch, batch_id)
        assert (batch.total, batch.done, batch.dead, batch.finished_at) == (3, 2, 1, hands.clock.now())


def test_a_job_whose_worker_went_silent_is_run_again(hands: Hands) -> None:
    job_id = hands.enqueue(note, word="x")
    assert service.claim(hands.engine, _id(job_id), hands.registry.jobs, worker="gone", now=hands.clock.now())
    hands.clock.tick(seconds=19)
    hands.feeder.feed(hands.clock.now())
    assert hands.job(job_id).state == "running"
    hands.clock.tick(seconds=2)
    hands.feeder.feed(hands.clock.now())
    hands.run_due()
    assert "x" in RAN


def test_a_job_that_kills_its_worker_every_time_dies(hands: Hands) -> None:
    job_id = hands.enqueue(note, word="x")
    for _ in range(4):
        assert service.claim(hands.engine, _id(job_id), hands.registry.jobs, worker="gone", now=hands.clock.now())
        hands.clock.tick(seconds=21)
        hands.feeder.feed(hands.clock.now())
    assert hands.job(job_id).state == "dead"
    assert "went away during try 4" in (hands.job(job_id).error or "")


def test_a_job_of_a_plugin_that_is_gone_is_kept_as_dead(hands: Hands) -> None:
    job_id = hands.enqueue(note, word="x")
    del hands.registry.jobs["test.note"]
    hands.run_due()
    job = hands.job(job_id)
    assert job.state == "dead"
    assert "test.note" in (job.error or "")


def test_two_workers_never_run_the_same_job(hands: Hands) -> None:
    ids = [_id(hands.enqueue(note, word=str(number))) for number in range(20)]
    runners = [Runner(hands.registry, hands.engine, f"worker {number}") for number in range(4)]
    results: list[Any] = concurrently([lambda r=r: sum(r.run(i) for i in ids) for r in runners])  # type: ignore[misc]
    assert sum(results) == 20
    assert sorted(RAN) == sorted(str(number) for number in range(20))


def test_a_periodic_job_is_enqueued_once_each_time(hands: Hands) -> None:
    for _ in range(3):
        hands.feeder.feed(hands.clock.now())
    hands.run_due()
    assert RAN == ["swept"]
    hands.clock.tick(minutes=5)
    hands.feeder.feed(hands.clock.now())
    hands.run_due()
    assert RAN == ["swept", "swept"]


def test_what_the_carrier_has_lost_is_given_to_it_again(hands: Hands) -> None:
    job_id = hands.enqueue(note, word="x")
    hands.feeder.feed(hands.clock.now())
    assert str(job_id).encode() in lose_all_messages(hands)
    hands.clock.tick(seconds=3)
    hands.feeder.feed(hands.clock.now())
    assert str(job_id).encode() in lose_all_messages(hands)


def test_a_job_that_waits_is_carried_once(hands: Hands) -> None:
    job_ids = [hands.enqueue(note, word="x") for _ in range(3)]
    for _ in range(3):
        hands.feeder.feed(hands.clock.now())
    carried = [message.decode() for message in lose_all_messages(hands)]
    assert [carried.count(str(job_id)) for job_id in job_ids] == [1, 1, 1]


def test_the_end_of_a_job_does_not_read_the_backlog(hands: Hands) -> None:
    with Session(hands.engine) as session, session.begin():
        for _ in range(300):
            note.enqueue(session, now=hands.clock.now(), word="x")
    with hands.engine.connect() as connection:
        connection.execute(text("ANALYZE job"))
        plan = connection.scalars(
            text(f"EXPLAIN {statements.FINISH.text}"),
            {"id": uuid7(), "now": hands.clock.now(), "worker": "me", "attempt": 1},
        ).all()
    assert any("Index Scan using ix_job_lane_next" in line for line in plan), "\n".join(plan)


def lose_all_messages(hands: Hands) -> list[bytes]:
    """As a worker that dies with them."""
    courier = courier_of(hands.engine)
    with closing(courier.storage([note.queue])) as storage:
        return [storage.dequeue() for _ in range(courier.size(note.queue))]


def _id(job_id: Any) -> Any:
    assert job_id is not None
    return job_id
