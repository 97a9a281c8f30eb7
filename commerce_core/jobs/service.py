"""The rules of jobs: wanted, claimed, done, tried again, dead, and what staff do about the dead.

All but `claim` work in the caller's transaction and flush, never commit. `claim`, `finish`, `fail`, `hand_back` and
`recover_lost` are the workers'. Time comes as `now`, from the shop's clock.
"""

from __future__ import annotations

import traceback as tracebacks
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import Connection, Engine, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from commerce_core.api.problems import Conflict
from commerce_core.database import uuid7
from commerce_core.events import JobDied, emit
from commerce_core.jobs import statements
from commerce_core.jobs.carrier import Courier
from commerce_core.jobs.kinds import DEFAULT_RETRY, JobKind, RateLimit
from commerce_core.jobs.models import Job, JobBatch
from commerce_core.log import first_line

OPTIONS = frozenset({"run_at", "priority", "subject", "unique_key", "lane", "rate_key", "waits_for", "batch_id"})
# A lane that is busy is looked at again this much later, should the end of the job in it not have woken the next.
LANE_WAIT = timedelta(seconds=5)
LONGEST_ERROR = 2_000
LONGEST_TRACEBACK = 20_000


class WrongJobState(Conflict):
    """The job is in a state, `state`, in which this cannot be done to it."""

    slug = "wrong-job-state"
    title = "The job's state does not allow this"
    example: ClassVar[dict[str, Any]] = {"state": "done"}


class JobLost(Exception):
    """The job is not ours any more: we were taken for dead, and somebody else has it."""


class WorkerLost(Exception):
    """The worker that ran the job has gone away."""


class UnknownKind(Exception):
    """No job has this name. Is the plugin that brought it still installed?"""


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that a worker may run now, and the right to say what became of it."""

    job_id: UUID
    name: str
    arguments: dict[str, Any]
    attempt: int
    worker: str
    # Seconds, from when it could run.
    waited: float = 0.0


def enqueue(
    session: Session,
    kind: JobKind,
    arguments: Mapping[str, Any],
    *,
    now: datetime,
    run_at: datetime | None = None,
    priority: int = 0,
    subject: str | None = None,
    unique_key: str | None = None,
    lane: str | None = None,
    rate_key: str | None = None,
    waits_for: UUID | None = None,
    batch_id: UUID | None = None,
) -> UUID | None:
    """Want a job: it runs if this transaction commits, after it, and not before `run_at`. Its id.

    `unique_key`: None, and no second job, when one with this key waits already. `lane`: jobs of the same lane never
    run at the same time. `rate_key`: they count together for the kind's rate limit. `waits_for`: not before that job is
    done. Raises InvalidArguments.
    """
    courier = _courier(session)
    ready = waits_for is None and (run_at is None or run_at <= now)
    row = insert(Job).values(
        id=uuid7(),
        name=kind.name,
        queue=kind.queue,
        priority=priority,
        arguments=kind.plain(arguments),
        state="waiting",
        run_at=run_at or now,
        attempts=0,
        subject=subject,
        unique_key=unique_key,
        lane=lane,
        rate_key=(rate_key or kind.name) if kind.rate else None,
        waits_for=waits_for,
        batch_id=batch_id,
        carried_at=now if ready and courier is not None and courier.with_the_job else None,
        created_at=now,
    )
    if unique_key is not None:
        row = row.on_conflict_do_nothing(index_elements=["unique_key"], index_where=text("state = 'waiting'"))
    job_id = session.scalar(row.returning(Job.id))
    if job_id is not None and ready:
        hand_over(session, [(job_id, kind.queue, priority)])
    return job_id


def hand_over(session: Session, jobs: Sequence[tuple[UUID, str, int]]) -> None:
    """Give the ids of jobs that may run now to the carrier, when and if the transaction commits."""
    courier = _courier(session)
    if courier is not None:
        courier.hand_over(session, jobs)


def _courier(session: Session) -> Courier | None:
    return session.get_bind().get_execution_options().get("commerce_courier")


def claim(engine: Engine, job_id: UUID, kinds: Mapping[str, JobKind], *, worker: str, now: datetime) -> Claim | None:
    """Take a waiting job whose time has come; None when there is nothing to do for us. Commits.

    A job whose lane is busy, or whose rate is used up, is put off. One of a kind that nobody knows dies.
    """
    row: Any = None
    put_off: datetime | None = None
    try:
        with engine.connect() as connection, connection.begin() as transaction:
            row = connection.execute(statements.CLAIM, {"id": job_id, "worker": worker, "now": now}).one_or_none()
            kind = kinds.get(row.name) if row is not None else None
            if kind is not None and kind.rate is not None:
                put_off = _when_rate_allows(connection, job_id, row.rate_key, kind.rate, now)
            if put_off is not None:
                transaction.rollback()
    except IntegrityError as error:
        if "uq_job_lane" not in str(error.orig):
            raise
        put_off = now + LANE_WAIT
    if put_off is not None:
        with engine.begin() as connection:
            connection.execute(statements.PUT_OFF, {"id": job_id, "run_at": put_off})
        return None
    if row is None:
        return None
    taken = Claim(job_id, row.name, row.arguments, row.attempts, worker, float(row.waited))
    if kind is None:
        with Session(engine) as session, session.begin():
            fail(session, taken, UnknownKind(row.name), retry_after=None, now=now)
        return None
    return taken


def finish(session: Session, claim: Claim, *, now: datetime) -> None:
    """The job is done: what waited for it may run, and its batch counts it. Raises JobLost if it is not ours."""
    row = session.execute(statements.FINISH, {**_ours(claim), "now": now}).one_or_none()
    if row is None:
        raise JobLost(claim.job_id)
    if row.ready:
        hand_over(session, [(UUID(job_id), queue, priority) for job_id, queue, priority in row.ready])
    if row.batch_id is not None:
        _count(session, row.batch_id, "done", now=now)


def fail(session: Session, claim: Claim, error: BaseException, *, retry_after: timedelta | None, now: datetime) -> None:
    """The try has failed: the job waits `retry_after`, or is dead without. Raises JobLost if it is not ours."""
    dead = retry_after is None
    row = session.execute(
        statements.FAIL,
        {
            **_ours(claim),
            "state": "dead" if dead else "waiting",
            "run_at": now + (retry_after or timedelta()),
            "finished_at": now if dead else None,
            "error": f"{type(error).__name__}: {error}"[:LONGEST_ERROR].replace("\x00", ""),
            "traceback": "".join(tracebacks.format_exception(error))[-LONGEST_TRACEBACK:].replace("\x00", ""),
        },
    ).one_or_none()
    if row is None:
        raise JobLost(claim.job_id)
    if dead:
        if row.batch_id is not None:
            _count(session, row.batch_id, "dead", now=now)
        emit(session, JobDied(job_id=claim.job_id, name=claim.name, error=first_line(error), subject=row.subject))


def recover_lost(session: Session, kinds: Mapping[str, JobKind], *, silent_since: datetime, now: datetime) -> int:
    """Give jobs whose worker has shown no sign of life since then another try (or bury them); how many. Locks them."""
    lost = session.execute(statements.LOST, {"before": silent_since, "limit": 500}).all()
    for row in lost:
        kind = kinds.get(row.name)
        allowed = row.attempts <= len(kind.retry if kind else DEFAULT_RETRY)
        error = WorkerLost(f"the worker {row.worker} went away during try {row.attempts}")
        retry_after = timedelta() if allowed else None
        fail(session, Claim(row.id, row.name, {}, row.attempts, row.worker), error, retry_after=retry_after, now=now)
    return len(lost)


def hand_back(session: Session, claim: Claim, *, now: datetime) -> None:
    """The worker stops before the job is done: somebody else may begin anew. Does not count as a try."""
    session.execute(
        update(Job)
        .where(
            Job.id == claim.job_id, Job.state == "running", Job.worker == claim.worker, Job.attempts == claim.attempt
        )
        .values(state="waiting", worker=None, run_at=now, carried_at=None, unique_key=None, attempts=Job.attempts - 1)
    )


def retry_job(session: Session, job: Job, *, now: datetime, actor: str | None = None) -> None:
    """Give a dead (or resolved, ignored, cancelled) job, locked, all its tries again. Raises WrongJobState."""
    if job.state not in ("dead", "resolved", "ignored", "cancelled"):
        raise WrongJobState(
            f"The job is {job.state}; only what is over without success can be retried.", state=job.state
        )
    if job.batch_id is not None:
        _count(session, job.batch_id, "cancelled" if job.state == "cancelled" else "dead", by=-1, now=now)
    job.state, job.run_at, job.attempts = "waiting", now, 0
    job.finished_at = job.carried_at = job.unique_key = None
    job.closed_by = actor
    session.flush()
    hand_over(session, [(job.id, job.queue, job.priority)])


def retry_dead_jobs(session: Session, ids: Sequence[UUID], *, now: datetime, actor: str | None = None) -> int:
    """Give these jobs, as far as they are dead, all their tries again; how many. Locks them in order."""
    count = 0
    for job_id in ids:
        job = lock_job(session, job_id)
        if job is not None and job.state == "dead":
            retry_job(session, job, now=now, actor=actor)
            count += 1
    return count


def close_job(session: Session, job: Job, state: str, *, actor: str, notes: str | None) -> None:
    """A dead job, locked, has been seen to (`resolved`) or needs nothing (`ignored`). Raises WrongJobState."""
    if job.state != "dead":
        raise WrongJobState(f"The job is {job.state}, not dead.", state=job.state)
    job.state, job.closed_by, job.notes = state, actor, notes
    session.flush()


def cancel_job(session: Session, job: Job, *, now: datetime, actor: str | None = None) -> None:
    """A waiting job, locked, is not wanted any more, nor what waits for it. Raises WrongJobState."""
    if job.state != "waiting":
        raise WrongJobState(f"The job is {job.state}; only what waits can be cancelled.", state=job.state)
    job.state, job.finished_at, job.closed_by = "cancelled", now, actor
    session.flush()
    if job.batch_id is not None:
        _count(session, job.batch_id, "cancelled", now=now)
    for follower in session.scalars(
        select(Job).where(Job.waits_for == job.id, Job.state == "waiting").order_by(Job.id).with_for_update()
    ):
        cancel_job(session, follower, now=now, actor=actor)


def open_batch(session: Session, name: str, *, now: datetime) -> JobBatch:
    """A batch to enqueue jobs into (`batch_id=batch.id`). It ends once it is sealed and all of them have ended."""
    batch = JobBatch(id=uuid7(), name=name, created_at=now, then=None)
    session.add(batch)
    session.flush()
    return batch


def seal_batch(
    session: Session, batch: JobBatch, *, now: datetime, then: tuple[JobKind, Mapping[str, Any]] | None = None
) -> None:
    """No more jobs will join; `then` is enqueued when all have ended, at once if they have."""
    session.flush()
    batch.total = session.scalar(select(func.count()).where(Job.batch_id == batch.id)) or 0
    batch.sealed = True
    if then is not None:
        batch.then = {"name": then[0].name, "queue": then[0].queue, "arguments": then[0].plain(then[1])}
    session.flush()
    _end_batch_if_over(session, batch, now=now)


def lock_job(session: Session, job_id: UUID) -> Job | None:
    """The job, its row locked and read afresh."""
    return session.get(Job, job_id, with_for_update=True, populate_existing=True)


def _ours(claim: Claim) -> dict[str, Any]:
    return {"id": claim.job_id, "worker": claim.worker, "attempt": claim.attempt}


def _when_rate_allows(
    connection: Connection, job_id: UUID, key: str, rate: RateLimit, now: datetime
) -> datetime | None:
    """None when the job may start now, else when to look again. Locks the rate key until the transaction ends."""
    window = timedelta(seconds=rate.seconds)
    connection.execute(statements.LOCK_RATE, {"key": key})
    counted = connection.execute(statements.COUNT_STARTS, {"key": key, "since": now - window, "id": job_id}).one()
    return counted.oldest + window if counted.starts >= rate.starts else None


def _count(session: Session, batch_id: UUID, outcome: str, *, now: datetime, by: int = 1) -> None:
    batch = session.get_one(JobBatch, batch_id, with_for_update=True, populate_existing=True)
    setattr(batch, outcome, getattr(batch, outcome) + by)
    if by < 0:
        batch.finished_at = None
    session.flush()
    _end_batch_if_over(session, batch, now=now)


def _end_batch_if_over(session: Session, batch: JobBatch, *, now: datetime) -> None:
    if not batch.sealed or batch.finished_at is not None:
        return
    if batch.done + batch.dead + batch.cancelled < batch.total:
        return
    batch.finished_at = now
    if batch.then is not None:
        job_id = uuid7()
        session.add(
            Job(
                id=job_id,
                name=batch.then["name"],
                queue=batch.then["queue"],
                arguments=batch.then["arguments"],
                state="waiting",
                run_at=now,
                created_at=now,
            )
        )
        queue = batch.then["queue"]
        batch.then = None
        session.flush()
        hand_over(session, [(job_id, queue, 0)])
    session.flush()
