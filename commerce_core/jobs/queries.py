"""Reading jobs, and what can be said of them in figures. Nothing here locks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from commerce_core.jobs.models import Job, JobBatch

# Waits count from the moment a job could have run; a job that failed before and waits for its next try is `retrying`.
_COUNTS = text("""
SELECT queue, name,
       count(*) FILTER (WHERE state = 'waiting' AND attempts = 0) AS waiting,
       count(*) FILTER (WHERE state = 'waiting' AND attempts > 0) AS retrying,
       count(*) FILTER (WHERE state = 'running') AS running,
       count(*) FILTER (WHERE state = 'dead') AS dead,
       extract(epoch FROM :now - min(greatest(run_at, created_at))
               FILTER (WHERE state = 'waiting' AND waits_for IS NULL AND run_at <= :now)) AS oldest_wait_seconds
FROM job WHERE state IN ('waiting', 'running', 'dead') GROUP BY queue, name
""")
# What has failed for good counts as such, whatever staff have made of it since.
_ENDED = text("""
SELECT queue, name,
       count(*) FILTER (WHERE state = 'done') AS done,
       count(*) FILTER (WHERE state <> 'done') AS failed,
       percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (
           ORDER BY extract(epoch FROM started_at - greatest(run_at, created_at))
       ) FILTER (WHERE state = 'done') AS wait,
       percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (
           ORDER BY extract(epoch FROM finished_at - started_at)
       ) FILTER (WHERE state = 'done') AS run
FROM job WHERE finished_at > :since AND state IN ('done', 'dead', 'resolved', 'ignored') GROUP BY queue, name
""")


def due_ids(session: Session, *, now: datetime, limit: int) -> Sequence[UUID]:
    """Jobs that may run now, in the order in which they should."""
    return session.scalars(
        select(Job.id)
        .where(Job.state == "waiting", Job.waits_for.is_(None), Job.run_at <= now)
        .order_by(Job.priority.desc(), Job.run_at, Job.id)
        .limit(limit)
    ).all()


def list_jobs(
    session: Session,
    *,
    state: str | None = None,
    queue: str | None = None,
    name: str | None = None,
    subject: str | None = None,
    assigned_to: str | None = None,
    batch_id: UUID | None = None,
    before: UUID | None = None,
    limit: int,
) -> tuple[Sequence[Job], bool]:
    """Jobs, newest first, and whether more follow."""
    given = {
        Job.state: state,
        Job.queue: queue,
        Job.name: name,
        Job.subject: subject,
        Job.assigned_to: assigned_to,
        Job.batch_id: batch_id,
    }
    query = select(Job).where(*(column == value for column, value in given.items() if value is not None))
    if before is not None:
        query = query.where(Job.id < before)
    jobs = session.scalars(query.order_by(Job.id.desc()).limit(limit + 1)).all()
    return jobs[:limit], len(jobs) > limit


def dead_ids(
    session: Session, *, ids: Sequence[UUID] | None, name: str | None, queue: str | None, limit: int
) -> tuple[Sequence[UUID], bool]:
    """Dead jobs, oldest first, and whether more follow."""
    query = select(Job.id).where(Job.state == "dead").order_by(Job.id).limit(limit + 1)
    if ids is not None:
        query = query.where(Job.id.in_(ids))
    if name is not None:
        query = query.where(Job.name == name)
    if queue is not None:
        query = query.where(Job.queue == queue)
    found = session.scalars(query).all()
    return found[:limit], len(found) > limit


def get_job(session: Session, job_id: UUID) -> Job | None:
    return session.get(Job, job_id)


def get_batch(session: Session, batch_id: UUID) -> JobBatch | None:
    return session.get(JobBatch, batch_id)


def statistics(session: Session, *, now: datetime, window: timedelta) -> list[dict[str, Any]]:
    """For each queue and name: how many wait, retry, run and are dead; how many were done or failed within `window`.

    Percentiles (50, 95, 99) in seconds: `wait` from when a job could run to its last start, `run` from then on.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for row in session.execute(_COUNTS, {"now": now}).mappings():
        rows[row["queue"], row["name"]] = {**row, "done": 0, "failed": 0, "wait": None, "run": None}
    empty = {"waiting": 0, "retrying": 0, "running": 0, "dead": 0, "oldest_wait_seconds": None}
    for row in session.execute(_ENDED, {"since": now - window}).mappings():
        rows[row["queue"], row["name"]] = {**rows.get((row["queue"], row["name"]), empty), **row}
    return [rows[key] for key in sorted(rows)]
