"""`commerce worker`, `commerce scheduler` and `commerce jobs`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from commerce_core.cli.shop import Shop, config_argument, open_shop

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from commerce_core.jobs.metrics_server import MetricsServer
    from commerce_core.jobs.models import Job
    from commerce_core.settings import MetricsSettings


class Queues(click.ParamType[list[str]]):
    """Names of queues, with commas between."""

    name = "queues"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        from commerce_core.jobs.models import QUEUES

        named = [name.strip() for name in value.split(",")]
        for name in named:
            if name not in QUEUES:
                self.fail(f"{name!r} is no queue; there are {', '.join(QUEUES)}", param, ctx)
        return list(dict.fromkeys(named))


@click.command()
@config_argument
@click.option("--queues", type=Queues(), default="critical,default,low", show_default=True, help="Whose jobs to run.")
@click.option("--workers", type=click.IntRange(1, 64), help="How many jobs at a time. [default: jobs.workers]")
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65_535),
    help="Show metrics on this port of metrics.worker_host. [default: metrics.worker_port, or none]",
)
def worker(config: str, queues: list[str], workers: int | None, metrics_port: int | None) -> None:
    """Run jobs until stopped; and see to it that none is forgotten, like `commerce scheduler`."""
    from commerce_core.application import make_configurator
    from commerce_core.jobs.worker import work

    with open_shop(config) as shop, _metrics_server(shop.settings.metrics, metrics_port) as metrics_server:
        settings = shop.settings.model_copy(
            update={"sqlalchemy": shop.settings.sqlalchemy.model_copy(update={"url": shop.url, "pool_size": 4})}
        )
        shop.engine.dispose()
        work(
            lambda: make_configurator(settings).registry,
            queues,
            prepare=_start_plugins,
            workers=workers or settings.jobs.workers,
            max_jobs=settings.jobs.max_jobs,
            max_memory_mb=settings.jobs.max_memory_mb,
            stop_seconds=settings.jobs.stop_seconds,
            metrics_server=metrics_server,
        )


def _start_plugins(registry: Any) -> None:
    from commerce_core.plugins.startup import start, stop_at_exit

    stop_at_exit(registry)
    start(registry, "worker")
    registry.pulse.start()


@click.command()
@config_argument
def scheduler(config: str) -> None:
    """See to it that jobs run when they should, until stopped. Workers do so, too; any number may, and one does."""
    from commerce_core.jobs.feeder import Feeder, feed_for_ever

    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with open_shop(config) as shop:
        feed_for_ever(Feeder(shop.registry), wait=stopped.wait, stopped=stopped.is_set)


@click.group()
def jobs() -> None:
    """List jobs, and see to those that have failed for good."""


@jobs.command("list")
@config_argument
@click.option("--state", default="dead", show_default=True, help="waiting, running, done, dead, resolved ...")
@click.option("--queue")
@click.option("--name")
@click.option("--limit", type=click.IntRange(1, 1_000), default=50, show_default=True)
def list_jobs(config: str, state: str, queue: str | None, name: str | None, limit: int) -> None:
    """List jobs, newest first."""
    from rich.console import Console
    from rich.table import Table

    from commerce_core.jobs.queries import list_jobs as read

    with _session(config) as (session, _):
        found, more = read(session, state=state, queue=queue, name=name, limit=limit)
    table = Table("id", "name", "queue", "tries", "run at", "about", "error")
    for job in found:
        table.add_row(
            str(job.id), job.name, job.queue, str(job.attempts), f"{job.run_at:%Y-%m-%d %H:%M:%S}",
            job.subject or "", (job.error or "")[:80],
        )  # fmt: skip
    Console().print(table if found else f"No job is {state}.")
    if more:
        click.echo(f"There are more than {limit}.")


@jobs.command()
@config_argument
@click.argument("job_id", type=click.UUID)
def show(config: str, job_id: UUID) -> None:
    """Show one job with its arguments (secrets masked) and its traceback."""
    from commerce_core.jobs.queries import get_job
    from commerce_core.jobs.schemas import JobDetail

    with _session(config) as (session, _):
        click.echo(JobDetail.of(_found(get_job(session, job_id), job_id)).model_dump_json(indent=2))


@jobs.command()
@config_argument
@click.argument("job_ids", type=click.UUID, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every dead job.")
@click.option("--name", help="Every dead job of this name.")
def retry(config: str, job_ids: tuple[UUID, ...], everything: bool, name: str | None) -> None:
    """Run dead jobs again, with all their tries."""
    from commerce_core.jobs.queries import dead_ids
    from commerce_core.jobs.service import retry_dead_jobs

    if not (job_ids or everything or name):
        raise click.UsageError("Which jobs? Name their ids, or --name, or --all.")
    retried, more = 0, True
    with _session(config) as (session, shop):
        while more:
            ids, more = dead_ids(session, ids=job_ids or None, name=name, queue=None, limit=1_000)
            retried += retry_dead_jobs(session, ids, now=shop.clock.now(), actor="command line")
            session.commit()
    click.echo(f"{retried} jobs will run again.")


@jobs.command()
@config_argument
@click.argument("job_id", type=click.UUID)
@click.option("--notes", required=True, help="What was done about it (at least 10 characters).")
def resolve(config: str, job_id: UUID, notes: str) -> None:
    """Note how a dead job was seen to."""
    _close(config, job_id, "resolved", notes)


@jobs.command()
@config_argument
@click.argument("job_id", type=click.UUID)
def ignore(config: str, job_id: UUID) -> None:
    """A dead job needs nothing more."""
    _close(config, job_id, "ignored", None)


@jobs.command()
@config_argument
@click.option("--minutes", type=click.IntRange(1, 1_440), default=60, show_default=True, help="How far back to look.")
def stats(config: str, minutes: int) -> None:
    """How many jobs wait, run and are dead; how many were done or failed, and how fast (in seconds)."""
    from rich.console import Console
    from rich.table import Table

    from commerce_core.jobs.queries import statistics

    with _session(config) as (session, shop):
        rows = statistics(session, now=shop.clock.now(), window=timedelta(minutes=minutes))
    counted = ("waiting", "retrying", "running", "dead", "done", "failed")
    table = Table("queue", "name", *counted, "a minute", "oldest waits", "wait p50/p95/p99", "run p50/p95/p99")
    for row in rows:
        rate, oldest = f"{row['done'] / minutes:.1f}", row["oldest_wait_seconds"]
        table.add_row(
            row["queue"], row["name"], *(str(row[key]) for key in counted), rate,
            "" if oldest is None else f"{oldest:.0f} s", _seconds(row["wait"]), _seconds(row["run"]),
        )  # fmt: skip
    Console().print(table if rows else f"No jobs in the last {minutes} minutes.")


def _close(config: str, job_id: UUID, state: str, notes: str | None) -> None:
    from commerce_core.api.problems import Problem
    from commerce_core.jobs.service import close_job, lock_job

    if notes is not None and len(notes.strip()) < 10:
        raise click.UsageError("The notes must have at least 10 characters.")
    with _session(config) as (session, _):
        try:
            close_job(session, _found(lock_job(session, job_id), job_id), state, actor="command line", notes=notes)
        except Problem as problem:
            raise click.ClickException(problem.detail) from None
        session.commit()
    click.echo(f"The job is {state}.")


@contextmanager
def _metrics_server(settings: MetricsSettings, port: int | None) -> Iterator[MetricsServer | None]:
    """The port for the worker's metrics, if it is to have one; and the folder in which its processes count."""
    from commerce_core.jobs.metrics_server import MetricsServer
    from commerce_core.metrics.processes import counting_together

    port = port or settings.worker_port
    if port is None:
        yield None
        return
    try:
        server = MetricsServer(settings.worker_host, port)
    except OSError as error:
        raise click.ClickException(
            f"Cannot show metrics on {settings.worker_host}:{port}: {error.strerror}. Choose another --metrics-port."
        ) from error
    with server, counting_together():
        yield server


@contextmanager
def _session(config: str) -> Iterator[tuple[Session, Shop]]:
    from sqlalchemy.orm import Session

    with open_shop(config) as shop, Session(shop.engine) as session:
        yield session, shop


def _found(job: Job | None, job_id: UUID) -> Job:
    if job is None:
        raise click.ClickException(f"There is no job {job_id}.")
    return job


def _seconds(percentiles: list[float] | None) -> str:
    return "" if percentiles is None else " / ".join(f"{value:.3f}" for value in percentiles)
