"""What a job is made of: a function with a name, and rules for when, where and how often it is tried.

    @job("mail.deliver", queue="default", retry=(10, 60, 300), timeout=30)
    def deliver(context: JobContext, mail_id: UUID) -> None: ...

    deliver.enqueue(session, mail_id=mail.id, now=now)      # runs if, and after, the session commits

A job may run twice: when its worker is killed after the effect and before the last commit. What it does through
`context.session` is exempt from that: it is committed together with the mark that the job is done. Everything else
should be done so that twice is as good as once.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from commerce_core.database import transaction
from commerce_core.settings import CoreSettings

DEFAULT_RETRY = (10, 60, 300)
DEFAULT_TIMEOUT_SECONDS = 60
JITTER = 0.2
# A sweep does what is due, whoever asks for it and how often: it is soon tried again, and may take its time.
SWEEP_RETRY = (2, 10, 60)
SWEEP_TIMEOUT = 300


class Retry(Exception):
    """Raised by a job: not now. `after` is how long to wait; None takes the next wait of the job's own policy."""

    def __init__(self, reason: str = "asked to be tried again", *, after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.after = after


class Fatal(Exception):
    """Raised by a job: trying again is no use. The job is dead at once."""


class TimeLimitExceeded(Exception):
    """The job took longer than its `timeout`."""


class InvalidArguments(TypeError):
    """A job was enqueued with arguments that its function does not take."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `starts` starts of jobs with the same rate key within `seconds`."""

    starts: int
    seconds: float


@dataclass(slots=True)
class JobContext:
    """What a job has to work with."""

    job_id: UUID
    name: str
    attempt: int
    registry: Any
    engine: Engine
    session: Session

    @property
    def now(self) -> datetime:
        """The time (UTC), by the shop's clock."""
        now: datetime = self.registry.clock.now()
        return now

    @property
    def settings(self) -> CoreSettings:
        """The shop's settings."""
        settings: CoreSettings = self.registry.settings_object
        return settings

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A transaction of its own, committed at the end of the block whatever becomes of the job."""
        with transaction(self.engine) as session:
            yield session


@dataclass(frozen=True, slots=True)
class JobKind:
    """A function that workers run, and its policy. Times in seconds."""

    name: str
    function: Callable[..., Any]
    queue: str
    retry: Sequence[float]
    timeout: float
    rate: RateLimit | None
    arguments: type[BaseModel] = field(repr=False)

    def checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """`given` as the function's annotations have it. Raises InvalidArguments."""
        try:
            model = self.arguments.model_validate(dict(given))
        except ValidationError as error:
            raise InvalidArguments(f"{self.name}: {error}") from None
        return {name: getattr(model, name) for name in type(model).model_fields}

    def plain(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """`given` as JSON holds it, after a check. Raises InvalidArguments."""
        try:
            plain: dict[str, Any] = self.arguments.model_validate(dict(given)).model_dump(mode="json")
        except ValidationError as error:
            raise InvalidArguments(f"{self.name}: {error}") from None
        return plain

    def wait_after(self, attempt: int) -> timedelta | None:
        """How long to wait after that attempt (counted from 1) has failed; None when it was the last."""
        if attempt > len(self.retry):
            return None
        return timedelta(seconds=self.retry[attempt - 1] * random.uniform(1, 1 + JITTER))

    def enqueue(self, session: Session, *, now: datetime, **rest: Any) -> UUID | None:
        """See service.enqueue; the other keyword arguments are the function's, but for the options named there."""
        from commerce_core.jobs.service import OPTIONS, enqueue

        options = {name: rest.pop(name) for name in OPTIONS & rest.keys()}
        return enqueue(session, self, rest, now=now, **options)


def job(
    name: str,
    *,
    queue: str = "default",
    retry: Sequence[float] = DEFAULT_RETRY,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
    rate: RateLimit | None = None,
) -> Callable[[Callable[..., Any]], JobKind]:
    """Make a function a job. Its first parameter is the JobContext; the others need annotations that JSON can carry.

    `retry`: the waits after each failed try but the last, lengthened by up to a fifth at random. Register it with
    `config.add_job`.
    """

    def decorate(function: Callable[..., Any]) -> JobKind:
        return JobKind(
            name=name,
            function=function,
            queue=queue,
            retry=tuple(retry),
            timeout=timeout,
            rate=rate,
            arguments=_model_of(name, function),
        )

    return decorate


def _model_of(name: str, function: Callable[..., Any]) -> type[BaseModel]:
    """A model of the function's parameters after the first."""
    _, *parameters = inspect.signature(function, eval_str=True).parameters.values()
    fields: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.annotation is parameter.empty:
            raise TypeError(f"the job {name}: parameter {parameter.name!r} needs an annotation")
        fields[parameter.name] = (
            parameter.annotation,
            ... if parameter.default is parameter.empty else parameter.default,
        )
    model: type[BaseModel] = create_model(f"Arguments of {name}", __config__=ConfigDict(extra="forbid"), **fields)
    return model


@dataclass(frozen=True, slots=True)
class Periodic:
    """A job that comes back: every so often, counted from midnight UTC, so that every process agrees on when."""

    kind: JobKind
    every: timedelta

    def next_after(self, moment: datetime) -> datetime:
        """The first time it is due after `moment`."""
        midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight + ((moment - midnight) // self.every + 1) * self.every


@dataclass(frozen=True, slots=True)
class Watched:
    """A job that is enqueued when there is something for it to do. `is_due` is asked twice a second: a quick query."""

    kind: JobKind
    is_due: Callable[[Session, datetime], bool]
