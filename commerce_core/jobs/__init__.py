"""Jobs: what is to be done later, durably. Rows in PostgreSQL, carried by Huey, run by `commerce worker`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from sqlalchemy.orm import Session

from commerce_core.api import API_PREFIX
from commerce_core.database import conninfo
from commerce_core.events import Event
from commerce_core.jobs.carrier import LISTEN_SECONDS, Courier, PostgresCourier, RedisCourier, attach
from commerce_core.jobs.kinds import JobKind, Periodic, Watched
from commerce_core.jobs.models import QUEUES


def add_job(config: Configurator, kind: JobKind) -> None:
    """Directive: let workers run this kind of job. Its name must be unique."""
    jobs = config.registry.jobs
    if kind.name in jobs:
        raise ConfigurationError(f"two jobs are called {kind.name!r}")
    if kind.queue not in QUEUES:
        raise ConfigurationError(
            f"the job {kind.name!r} names no queue, but {kind.queue!r}; there are {', '.join(QUEUES)}"
        )
    jobs[kind.name] = kind


def add_periodic_job(config: Configurator, kind: JobKind, *, every: timedelta) -> None:
    """Directive: let this kind of job, which takes no arguments, be done again and again."""
    add_job(config, kind)
    kind.plain({})
    config.registry.periodic_jobs.append(Periodic(kind, every))


def add_watched_job(config: Configurator, kind: JobKind, *, is_due: Callable[[Session, datetime], bool]) -> None:
    """Directive: let this kind of job, which takes no arguments, be done as soon as `is_due(session, now)` says so.

    It is asked about twice a second, by one process: let it be one query that an index answers.
    """
    add_job(config, kind)
    kind.plain({})
    config.registry.watched_jobs.append(Watched(kind, is_due))


def add_durable_subscriber(config: Configurator, event: type[Event], kind: JobKind) -> None:
    """Directive: have this kind of job done for every event of a class; its one argument is called `event`.

    The job is written where the event is emitted, in the same transaction, so none is lost. It may run more than once,
    and in any order with others.
    """
    if config.registry.jobs.get(kind.name) is not kind:
        add_job(config, kind)
    # One class for one kind: what was written down does not say of which of several it was.
    if {name: field.annotation for name, field in kind.arguments.model_fields.items()} != {"event": event}:
        raise ConfigurationError(
            f"the job {kind.name!r} subscribes to {event.__name__}: let it take one argument, `event: {event.__name__}`"
        )
    clock = config.registry.clock
    config.registry.bus.record(event, lambda session, event: kind.enqueue(session, now=clock.now(), event=event))


def includeme(config: Configurator) -> None:
    config.registry.jobs = {}
    config.registry.periodic_jobs = []
    config.registry.watched_jobs = []
    config.add_directive("add_job", add_job)
    config.add_directive("add_periodic_job", add_periodic_job)
    config.add_directive("add_watched_job", add_watched_job)
    config.add_directive("add_durable_subscriber", add_durable_subscriber)
    attach(config.registry.engine, _courier(config))
    config.add_route("admin_jobs", f"{API_PREFIX}/admin/jobs")
    config.add_route("admin_jobs_stats", f"{API_PREFIX}/admin/jobs/stats")
    config.add_route("admin_jobs_retry", f"{API_PREFIX}/admin/jobs/retry")
    config.add_route("admin_job", f"{API_PREFIX}/admin/jobs/{{id}}")
    config.add_route("admin_job_retry", f"{API_PREFIX}/admin/jobs/{{id}}/retry")
    config.add_route("admin_job_resolve", f"{API_PREFIX}/admin/jobs/{{id}}/resolve")
    config.add_route("admin_job_ignore", f"{API_PREFIX}/admin/jobs/{{id}}/ignore")
    config.add_route("admin_job_cancel", f"{API_PREFIX}/admin/jobs/{{id}}/cancel")
    config.add_route("admin_job_assign", f"{API_PREFIX}/admin/jobs/{{id}}/assign")
    config.add_route("admin_batch", f"{API_PREFIX}/admin/batches/{{id}}")
    config.include(".housekeeping")
    config.include(".metrics")
    config.scan(".views")


def _courier(config: Configurator) -> Courier:
    """Redis carries where it is configured, PostgreSQL where it is not."""
    import redis

    settings = config.registry.settings_object
    if settings.redis.url is not None:
        # A worker waits for a message longer than anybody should for an answer.
        return RedisCourier(
            redis.Redis.from_url(
                settings.redis.url,
                socket_connect_timeout=settings.redis.connect_timeout_ms / 1000,
                socket_timeout=LISTEN_SECONDS + settings.redis.timeout_ms / 1000,
                max_connections=settings.redis.max_connections,
            )
        )
    return PostgresCourier(conninfo(config.registry.database_url))
