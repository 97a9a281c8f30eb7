"""The feeder sees to it that every job that may run is carried: those whose time has come, and those that got lost.

Any number of processes may feed; one does, round by round.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Engine, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from commerce_core.jobs import service, statements
from commerce_core.jobs.carrier import Courier, courier_of
from commerce_core.jobs.kinds import Periodic, Watched
from commerce_core.jobs.models import QUEUES, PeriodicJob
from commerce_core.log import first_line

_log = structlog.get_logger("commerce.job")
_TRY_TO_LEAD = text("SELECT pg_try_advisory_xact_lock(hashtext('commerce.jobs.feeder'))")
AT_A_TIME = 1_000
# A worker that has shown no sign of life for so long is taken for dead. It beats six times as often.
SILENCE = timedelta(seconds=20)
# The carrier is empty, and what it was given this long ago still waits: it has lost it.
LOST_AFTER = timedelta(seconds=2)
# Whatever the carrier holds: after so long a job is given to it again.
FORGOTTEN_AFTER = timedelta(minutes=10)


class Feeder:
    """Feeds the carrier of a shop."""

    def __init__(self, registry: Any) -> None:
        self.registry = registry
        self.engine: Engine = registry.engine

    def feed(self, now: datetime) -> int:
        """One round; how many jobs were recovered, enqueued or carried. Does nothing while another process feeds."""
        with Session(self.engine) as session, session.begin():
            session.info["bus"] = self.registry.bus
            if not session.scalar(_TRY_TO_LEAD):
                return 0
            done = service.recover_lost(session, self.registry.jobs, silent_since=now - SILENCE, now=now)
            done += sum(self._enqueue_periodic(session, periodic, now) for periodic in self._due(session, now))
            done += sum(self._enqueue_watched(session, watched, now) for watched in self.registry.watched_jobs)
            return done + sum(self._carry(session, queue, now) for queue in QUEUES)

    def _carry(self, session: Session, queue: str, now: datetime) -> int:
        courier: Courier = courier_of(self.engine)
        try:
            patience = FORGOTTEN_AFTER if courier.size(queue) else LOST_AFTER
        except Exception as error:
            _log.warning("the carrier is away", queue=queue, error=first_line(error))
            return 0
        due = session.execute(
            statements.DUE, {"queue": queue, "now": now, "again_before": now - patience, "limit": AT_A_TIME}
        ).all()
        if due:
            courier.hand_over(session, [(row.id, row.queue, row.priority) for row in due])
        return len(due)

    def _enqueue_watched(self, session: Session, watched: Watched, now: datetime) -> int:
        if not watched.is_due(session, now):
            return 0
        # One at a time, and one more at the most that waits.
        name = watched.kind.name
        return int(watched.kind.enqueue(session, now=now, unique_key=name, lane=name) is not None)

    def _due(self, session: Session, now: datetime) -> list[Periodic]:
        """Of the jobs that come back, those whose time has come, and those that are new. One statement, no lock."""
        resting = set(session.scalars(select(PeriodicJob.name).where(PeriodicJob.next_run_at > now)))
        return [periodic for periodic in self.registry.periodic_jobs if periodic.kind.name not in resting]

    def _enqueue_periodic(self, session: Session, periodic: Periodic, now: datetime) -> int:
        name = periodic.kind.name
        session.execute(
            insert(PeriodicJob).values(name=name, next_run_at=now).on_conflict_do_nothing(index_elements=["name"])
        )
        row = session.scalar(
            select(PeriodicJob)
            .where(PeriodicJob.name == name, PeriodicJob.next_run_at <= now)
            .with_for_update(skip_locked=True)
        )
        if row is None:
            return 0
        row.next_run_at = periodic.next_after(now)
        return int(periodic.kind.enqueue(session, now=now, unique_key=f"periodic:{name}") is not None)


def feed_for_ever(feeder: Feeder, *, wait: Callable[[float], object], stopped: Callable[[], bool]) -> None:
    """Feed, round by round, until stopped. A round that fails (the database is away, say) is logged and tried again."""
    while not stopped():
        try:
            done = feeder.feed(feeder.registry.clock.now())
        except Exception as error:
            _log.warning("feeding failed", error=first_line(error))
            done = 0
        if done < AT_A_TIME:
            wait(feeder.registry.settings_object.scheduler.interval_seconds)
