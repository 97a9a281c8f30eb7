"""Running one job: claim it, call its function, say what became of it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from commerce_core.jobs import service
from commerce_core.jobs.kinds import Fatal, InvalidArguments, JobContext, JobKind, Retry, TimeLimitExceeded
from commerce_core.jobs.metrics import JobMeter
from commerce_core.jobs.service import Claim, JobLost
from commerce_core.log import first_line

_log = structlog.get_logger("commerce.job")


class Runner:
    """Runs jobs in one process, one at a time in each thread."""

    def __init__(self, registry: Any, engine: Engine, worker: str) -> None:
        self.registry = registry
        self.engine = engine
        self.worker = worker
        # When the job that is running now must be over, on the monotonic clock; for the watchdog.
        self.deadline: float | None = None

    def run(self, job_id: UUID) -> bool:
        """Run this job if it waits and its time has come; whether it was run."""
        kinds: dict[str, JobKind] = self.registry.jobs
        claim = service.claim(self.engine, job_id, kinds, worker=self.worker, now=self._now())
        if claim is None:
            return False
        kind = kinds[claim.name]
        meter: JobMeter = self.registry.job_meter
        meter.begun(kind, claim.waited)
        started = time.perf_counter()
        outcome = "done"
        try:
            self._execute(kind, claim)
        except KeyboardInterrupt:
            # The worker has to stop now.
            outcome = "handed back"
            with self._transaction() as session:
                service.hand_back(session, claim, now=self._now())
            raise
        except JobLost:
            outcome = "lost"
        except Exception as error:
            outcome = self._failed(kind, claim, error)
        finally:
            self.deadline = None
            seconds = time.perf_counter() - started
            meter.ended(kind, outcome, seconds)
            _log.info(
                "job",
                job_id=str(claim.job_id),
                name=claim.name,
                attempt=claim.attempt,
                outcome=outcome,
                duration_ms=round(seconds * 1000, 2),
            )
        return True

    def _execute(self, kind: JobKind, claim: Claim) -> None:
        """The function and the mark that the job is done, in one transaction."""
        with self._transaction() as session:
            context = JobContext(claim.job_id, claim.name, claim.attempt, self.registry, self.engine, session)
            self.deadline = time.monotonic() + kind.timeout
            with time_limit(kind.timeout), self._traced(kind, claim):
                kind.function(context, **kind.checked(claim.arguments))
            service.finish(session, claim, now=self._now())

    def _traced(self, kind: JobKind, claim: Claim) -> AbstractContextManager[Any]:
        tracing = self.registry.tracing
        if tracing is None:
            return nullcontext()
        traced: AbstractContextManager[Any] = tracing.job(kind.name, str(claim.job_id), claim.attempt, kind.queue)
        return traced

    def _failed(self, kind: JobKind, claim: Claim, error: Exception) -> str:
        wait = kind.wait_after(claim.attempt)
        if isinstance(error, Retry) and error.after is not None and wait is not None:
            wait = error.after
        if isinstance(error, (Fatal, InvalidArguments)):
            wait = None
        _log.warning("job failed", job_id=str(claim.job_id), name=claim.name, error=first_line(error))
        try:
            with self._transaction() as session:
                service.fail(session, claim, error, retry_after=wait, now=self._now())
        except JobLost:
            return "lost"
        if wait is None and self.registry.reports is not None:
            self.registry.reports.error(error, job=claim.name, job_id=str(claim.job_id))
        return "dead" if wait is None else "retry"

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        with Session(self.engine) as session:
            session.info["bus"] = self.registry.bus
            with session.begin():
                yield session

    def _now(self) -> Any:
        return self.registry.clock.now()


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeLimitExceeded in the block when it takes longer; in a process's main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def over(*_: Any) -> None:
        raise TimeLimitExceeded(f"took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_due(registry: Any, engine: Engine, *, limit: int = 1_000) -> int:
    """Run every job that may run now, here and at once, and those that they bring; how many. For tests and commands."""
    from commerce_core.jobs.queries import due_ids

    runner = Runner(registry, engine, "inline")
    count = 0
    while count < limit:
        with Session(engine) as session:
            ids = due_ids(session, now=registry.clock.now(), limit=100)
        ran = sum([runner.run(job_id) for job_id in ids])
        if not ran:
            break
        count += ran
    return count
