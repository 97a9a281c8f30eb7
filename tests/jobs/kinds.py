"""A few jobs to run, and a hand to run them at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from commerce_core.jobs.feeder import Feeder
from commerce_core.jobs.kinds import Fatal, JobContext, JobKind, RateLimit, Retry, job
from commerce_core.jobs.models import Job
from commerce_core.jobs.runner import Runner, run_due
from commerce_core.testing import StoppedClock

RAN: list[str] = []
BROKEN = {"is": True}


@job("test.note", retry=(10, 60, 300))
def note(_context: JobContext, word: str, order_id: UUID | None = None) -> None:
    RAN.append(word)


@job("test.fragile", queue="critical", retry=(10, 60, 300))
def fragile(_context: JobContext, password: str = "") -> None:
    RAN.append("tried")
    if BROKEN["is"]:
        raise ValueError("it is broken")


@job("test.fatal")
def fatal(_context: JobContext) -> None:
    raise Fatal("no use")


@job("test.later")
def later(_context: JobContext) -> None:
    raise Retry("not yet", after=timedelta(minutes=7))


@job("test.limited", rate=RateLimit(starts=2, seconds=60))
def limited(_context: JobContext, word: str) -> None:
    RAN.append(word)


@job("test.sweep")
def sweep(_context: JobContext) -> None:
    RAN.append("swept")


@dataclass
class Hands:
    """Runs what is due, as a worker would."""

    registry: Any
    engine: Engine
    clock: StoppedClock
    feeder: Feeder = field(init=False)

    def __post_init__(self) -> None:
        self.feeder = Feeder(self.registry)
        self.runner = Runner(self.registry, self.engine, "me")

    def run_due(self) -> int:
        return run_due(self.registry, self.engine)

    def enqueue(self, kind: JobKind, **arguments: Any) -> UUID | None:
        with Session(self.engine) as session, session.begin():
            return kind.enqueue(session, now=self.clock.now(), **arguments)

    def job(self, job_id: UUID | None) -> Job:
        with Session(self.engine) as session:
            return session.get_one(Job, job_id)
