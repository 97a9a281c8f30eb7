"""Jobs on two workers, over each carrier: how many small ones a second, and how long one waits to be picked up.

`python -m benchmarks.jobs worker shop.ini` is the shop's worker with the small job.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import quantiles

from pyramid.config import Configurator
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from commerce_core import application
from commerce_core.application import make_configurator
from commerce_core.child_process import tied
from commerce_core.jobs.kinds import JobContext, job
from commerce_core.testing import make_settings
from commerce_core.testing.redis import RedisServer, redis_program

JOBS = 20_000
IDLE_JOBS = 100
WORKERS = 2


@job("bench.small")
def small(_context: JobContext) -> None:
    """Does nothing: what is measured is what a job costs."""


def includeme(config: Configurator) -> None:
    config.add_job(small)


def bench(console: Console, engine: Engine, url: str, config: Path, seconds: float) -> None:
    """Prints one table: jobs a second out of a full queue, and the wait of one job for idle workers."""
    table = Table(title=f"Jobs on {WORKERS} workers")
    for column in ("carrier", "jobs", "a second", "idle: wait p50 ms", "p99 ms"):
        table.add_column(column, justify="left" if column == "carrier" else "right")
    jobs = JOBS if seconds >= 5 else 2_000
    for carrier in ("PostgreSQL", "Redis"):
        if carrier == "Redis" and redis_program() is None:
            continue
        with _redis() if carrier == "Redis" else nullcontext() as redis_url:
            table.add_row(carrier, f"{jobs:,}", *_measure(engine, url, config, redis_url, jobs))
    console.print(table)


def _measure(engine: Engine, url: str, config: Path, redis_url: str | None, jobs: int) -> list[str]:
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE job, job_message CASCADE"))
    settings = make_settings(url, {"redis.url": redis_url} if redis_url else None)
    configurator = make_configurator(settings)
    configurator.include("benchmarks.jobs")
    configurator.commit()
    registry = configurator.registry
    clock = registry.clock

    def enqueue(count: int) -> None:
        with Session(registry.engine) as session, session.begin():
            for _ in range(count):
                small.enqueue(session, now=clock.now())

    def done() -> int:
        with engine.connect() as connection:
            return connection.execute(text("SELECT count(*) FROM job WHERE state = 'done'")).scalar_one()

    enqueue(jobs)
    with _worker(config, url, redis_url):
        while not done():
            time.sleep(0.01)
        started, before = time.perf_counter(), done()
        while (count := done()) < jobs:
            time.sleep(0.1)
        rate = (count - before) / (time.perf_counter() - started)
        for number in range(IDLE_JOBS):
            enqueue(1)
            while done() < jobs + number + 1:
                time.sleep(0.005)
    with engine.connect() as connection:
        waits = connection.scalars(
            text("SELECT extract(epoch FROM started_at - created_at) * 1000 FROM job ORDER BY id DESC LIMIT :idle"),
            {"idle": IDLE_JOBS},
        ).all()
    registry.engine.dispose()
    cuts = quantiles(map(float, waits), n=100)
    return [f"{rate:,.0f}", f"{cuts[49]:.1f}", f"{cuts[98]:.1f}"]


@contextmanager
def _worker(config: Path, url: str, redis_url: str | None) -> Iterator[None]:
    environment = {**os.environ, "COMMERCE_SQLALCHEMY__URL": url, "COMMERCE_LOG__LEVEL": "warning"}
    if redis_url:
        environment["COMMERCE_REDIS__URL"] = redis_url
    process = subprocess.Popen(
        tied([sys.executable, "-m", "benchmarks.jobs", "worker", str(config), "--workers", str(WORKERS)]),
        env=environment,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _redis() -> Iterator[str]:
    program = redis_program()
    assert program is not None
    with tempfile.TemporaryDirectory(prefix="commerce-bench-redis-") as folder:
        server = RedisServer(program, Path(folder))
        try:
            yield server.url
        finally:
            server.stop()


if __name__ == "__main__":
    from commerce_core.cli.main import main

    application.ROOMS = (*application.ROOMS, "benchmarks.jobs")
    main()
