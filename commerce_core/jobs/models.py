"""Jobs: each a row, written in the transaction that wanted it. The row is the truth; Huey only carries its id."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from commerce_core.database import Base, Id, one_of

QUEUES = ("critical", "default", "low")
STATES = ("waiting", "running", "done", "dead", "resolved", "ignored", "cancelled")


class Job(Base):
    """One thing to be done by a worker, and everything that became of it.

    `waiting` until `run_at` has come, `waits_for` is done and a worker claims it. After its last try it is `dead`, and
    stays so until somebody retries, resolves or ignores it.
    """

    __tablename__ = "job"
    __table_args__ = (
        one_of("queue", *QUEUES),
        one_of("state", *STATES),
        CheckConstraint("(state = 'running') = (worker IS NOT NULL)", name="running_has_a_worker"),
        Index("ix_job_due", "run_at", postgresql_where=text("state = 'waiting' AND waits_for IS NULL")),
        Index("ix_job_running", "heartbeat_at", postgresql_where=text("state = 'running'")),
        Index("ix_job_state", "state", "id"),
        Index("ix_job_finished", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
        Index("ix_job_waits_for", "waits_for", postgresql_where=text("waits_for IS NOT NULL")),
        Index("ix_job_batch", "batch_id", postgresql_where=text("batch_id IS NOT NULL")),
        # The same thing is not wanted twice while it waits; and of one lane, one job runs at a time.
        Index("uq_job_unique_key", "unique_key", unique=True, postgresql_where=text("state = 'waiting'")),
        Index("uq_job_lane", "lane", unique=True, postgresql_where=text("state = 'running'")),
        Index(
            "ix_job_lane_next",
            "lane",
            text("priority DESC"),
            "id",
            postgresql_where=text("state = 'waiting' AND waits_for IS NULL AND lane IS NOT NULL"),
        ),
        Index("ix_job_rate", "rate_key", "started_at", postgresql_where=text("rate_key IS NOT NULL")),
        {"postgresql_with": {"fillfactor": "70", "autovacuum_vacuum_scale_factor": "0.02"}},
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(Text)
    queue: Mapped[str] = mapped_column(Text)
    priority: Mapped[int] = mapped_column(SmallInteger, default=0)
    arguments: Mapped[dict[str, Any]] = mapped_column(default=dict)
    state: Mapped[str] = mapped_column(Text, default="waiting")
    run_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    # What it is about, as `order:<id>`: a dead job says what was left undone.
    subject: Mapped[str | None] = mapped_column(Text)
    unique_key: Mapped[str | None] = mapped_column(Text)
    lane: Mapped[str | None] = mapped_column(Text)
    rate_key: Mapped[str | None] = mapped_column(Text)
    waits_for: Mapped[UUID | None] = mapped_column(ForeignKey("job.id"))
    batch_id: Mapped[UUID | None] = mapped_column(ForeignKey("job_batch.id"))
    # When it was last given to the carrier, by whom it is being run, and that one's last sign of life.
    carried_at: Mapped[datetime | None]
    worker: Mapped[str | None] = mapped_column(Text)
    heartbeat_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(Text)
    traceback: Mapped[str | None] = mapped_column(Text)
    assigned_to: Mapped[str | None] = mapped_column(Text)
    notes: Mapped[str | None] = mapped_column(Text)
    closed_by: Mapped[str | None] = mapped_column(Text)


class JobBatch(Base):
    """Jobs that belong together. When all have ended, `then` is enqueued."""

    __tablename__ = "job_batch"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(Text)
    total: Mapped[int] = mapped_column(Integer, default=0)
    done: Mapped[int] = mapped_column(Integer, default=0)
    dead: Mapped[int] = mapped_column(Integer, default=0)
    cancelled: Mapped[int] = mapped_column(Integer, default=0)
    sealed: Mapped[bool] = mapped_column(default=False)
    then: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class PeriodicJob(Base):
    """When a job that comes back again and again is due next. Its row is locked by whoever enqueues it."""

    __tablename__ = "job_periodic"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    next_run_at: Mapped[datetime]


class JobMessage(Base):
    """Where PostgreSQL carries: the id of a job that may run. Unlogged: what is lost in a crash is sent again."""

    __tablename__ = "job_message"
    __table_args__ = (
        Index("ix_job_message_next", "queue", text("priority DESC"), "id"),
        {"prefixes": ["UNLOGGED"]},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    queue: Mapped[str] = mapped_column(Text)
    data: Mapped[bytes] = mapped_column(LargeBinary)
    priority: Mapped[float] = mapped_column(Double, default=0.0)
