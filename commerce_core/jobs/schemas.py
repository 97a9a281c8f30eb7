"""Jobs as staff see them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field

from commerce_core.api.schemas import CursorList, CursorQuery, Input, Output, Query, ShortText, Text
from commerce_core.jobs.models import Job, JobBatch

Queue = Literal["critical", "default", "low"]
JobState = Literal["waiting", "running", "done", "dead", "resolved", "ignored", "cancelled"]
_SECRET = re.compile(r"password|secret|token|authorization|api_?key|signature|card|cvc", re.IGNORECASE)
MASK = "***"


class JobQuery(CursorQuery):
    state: JobState | None = None
    queue: Queue | None = None
    name: ShortText | None = Field(default=None, examples=["mail.deliver"])
    subject: ShortText | None = Field(default=None, examples=["order:01932c07-209c-7e3a-b6f4-5d2a8c9e1f70"])
    assigned_to: ShortText | None = None
    batch_id: UUID | None = None


class StatisticsQuery(Query):
    minutes: int = Field(default=60, ge=1, le=1_440, description="How far back to look at what was done.")


class Resolution(Input):
    notes: Annotated[Text, Field(min_length=10, max_length=2_000)] = Field(
        description="What was done about it.", examples=["Refunded by hand in the provider's dashboard."]
    )


class Dismissal(Input):
    notes: Annotated[Text, Field(min_length=1, max_length=2_000)] | None = None


class Assignment(Input):
    assigned_to: ShortText | None = Field(description="Who sees to it; null for nobody.", examples=["ada@example.com"])


class RetryMany(Input):
    """Dead jobs: those with these ids, or all that match."""

    ids: list[Annotated[UUID, Field(strict=False)]] | None = Field(default=None, min_length=1, max_length=1_000)
    name: ShortText | None = None
    queue: Queue | None = None


class Retried(Output):
    retried: int
    more: bool = Field(description="Whether there are more that match: ask again.")


class JobOut(Output):
    """Something for a worker to do, and what became of it."""

    id: UUID
    name: str = Field(examples=["mail.deliver"])
    queue: Queue
    priority: int
    state: JobState
    subject: str | None
    attempts: int = Field(description="How often it was tried.")
    run_at: datetime = Field(description="Not before then.")
    waits_for: UUID | None = Field(description="Another job that must be done first.")
    batch_id: UUID | None
    error: str | None = Field(description="Of the last try that failed.")
    assigned_to: str | None
    notes: str | None
    closed_by: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls.model_validate(job, from_attributes=True)


class JobDetail(JobOut):
    arguments: dict[str, Any] = Field(description="Secrets are masked.")
    traceback: str | None
    worker: str | None
    heartbeat_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> Self:
        detail = super().of(job)
        detail.arguments = masked(job.arguments)
        return detail


JobList = CursorList[JobOut]


class Percentiles(Output):
    """Seconds."""

    p50: float
    p95: float
    p99: float


class JobStatistics(Output):
    queue: Queue
    name: str
    waiting: int
    retrying: int = Field(description="Failed before, and wait for their next try.")
    running: int
    dead: int = Field(description="Failed for good, and nobody has seen to them.")
    oldest_wait_seconds: float | None = Field(description="How long the oldest that may run has waited.")
    done: int = Field(description="Within the last `minutes`.")
    failed: int = Field(description="Failed for good within the last `minutes`, whatever became of them since.")
    per_minute: float = Field(description="How many were done a minute.")
    wait: Percentiles | None = Field(description="From when it could run to its start.")
    run: Percentiles | None

    @classmethod
    def of(cls, row: Mapping[str, Any], minutes: int) -> Self:
        return cls.model_validate(
            {
                **row,
                "per_minute": row["done"] / minutes,
                "wait": _percentiles(row["wait"]),
                "run": _percentiles(row["run"]),
            }
        )


class StatisticsList(Output):
    data: list[JobStatistics]


class BatchOut(Output):
    """Jobs that belong together."""

    id: UUID
    name: str
    total: int
    done: int
    dead: int
    cancelled: int
    progress: float = Field(description="How much of it has ended, from 0 to 1.")
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, batch: JobBatch) -> Self:
        ended = batch.done + batch.dead + batch.cancelled
        return cls(
            id=batch.id,
            name=batch.name,
            total=batch.total,
            done=batch.done,
            dead=batch.dead,
            cancelled=batch.cancelled,
            progress=ended / batch.total if batch.total else 1.0,
            created_at=batch.created_at,
            finished_at=batch.finished_at,
        )


def masked(value: Any) -> Any:
    """`value` without what its names say is secret."""
    if isinstance(value, Mapping):
        return {name: MASK if _SECRET.search(name) else masked(part) for name, part in value.items()}
    return [masked(part) for part in value] if isinstance(value, list) else value


def _percentiles(values: list[float] | None) -> dict[str, float] | None:
    return None if values is None else dict(zip(("p50", "p95", "p99"), values, strict=True))
