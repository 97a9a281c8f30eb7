"""Jobs on two workers, over each carrier: how many small ones a second, and how long one waits to be picked up.

Out of a full queue; in a stream of half as many; and when nobody has anything to do.

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
from typing import Any

from pyramid.config import Configurator
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from commerce_core import application
from commerce_core.application import close, make_configurator
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
    """Prints one table: jobs a second out of a full queue; how long one waits in a steady stream, and for the idle."""
    table = Table(title=f"Jobs on {WORKERS} workers")
    for column in (
        *("carrier", "jobs", "a second", "stream, a second", "wait p50 ms", "p99 ms"),
        *("idle: wait p50 ms", "p99 ms"),
    ):
        table.add_column(column, justify="left" if column == "carrier" else "right")
    jobs = JOBS if seconds >= 5 else 2_000
    for carrier in ("PostgreSQL", "Redis"):
        if carrier == "Redis" and redis_program() is None:
            continue
        with _redis() if carrier == "Redis" else nullcontext() as redis_url, _shop(engine, url, redis_url) as shop:
            enqueue(shop, jobs)
            with _worker(config, url, redis_url):
                rate = _out_of_a_full_queue(engine, jobs)
                stream = _in_a_stream(engine, shop, rate / 2, seconds)
                idle = _one_by_one(engine, shop)
        table.add_row(carrier, f"{jobs:,}", f"{rate:,.0f}", *stream, *idle)
    console.print(table)


@contextmanager
def _shop(engine: Engine, url: str, redis_url: str | None) -> Iterator[Any]:
    """The registry of a process that wants jobs done; there are none yet."""
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE job, job_message CASCADE"))
    configurator = make_configurator(make_settings(url, {"redis.url": redis_url} if redis_url else None))
    configurator.include("benchmarks.jobs")
    configurator.commit()
    yield configurator.registry
    close(configurator.registry)


def enqueue(shop: Any, count: int) -> None:
    """In one transaction."""
    with Session(shop.engine) as session, session.begin():
        for _ in range(count):
            small.enqueue(session, now=shop.clock.now())


def _left(engine: Engine) -> int:
    """How many of the small jobs are not done; an index tells."""
    with engine.connect() as connection:
        return connection.execute(
            text("SELECT count(*) FROM job WHERE state IN ('waiting', 'running') AND name = 'bench.small'")
        ).scalar_one()


def _out_of_a_full_queue(engine: Engine, jobs: int) -> float:
    """Jobs a second, from the first that is done to the last."""
    while _left(engine) == jobs:
        time.sleep(0.01)
    started, before = time.perf_counter(), _left(engine)
    while _left(engine):
        time.sleep(0.05)
    return before / (time.perf_counter() - started)


def _in_a_stream(engine: Engine, shop: Any, rate: float, seconds: float) -> list[str]:
    """Jobs wanted one by one, `rate` a second or as many as can be: how many that were, and how long they waited."""
    begin, count = time.perf_counter(), 0
    while (now := time.perf_counter() - begin) < seconds:
        if count > now * rate:
            time.sleep(count / rate - now)
        enqueue(shop, 1)
        count += 1
    reached = count / (time.perf_counter() - begin)
    while _left(engine):
        time.sleep(0.05)
    return [f"{reached:,.0f}", *_waits(engine, count)]


def _one_by_one(engine: Engine, shop: Any) -> list[str]:
    """The waits of jobs that find everybody idle."""
    for _ in range(IDLE_JOBS):
        enqueue(shop, 1)
        while _left(engine):
            time.sleep(0.005)
    return _waits(engine, IDLE_JOBS)


def _waits(engine: Engine, last: int) -> list[str]:
    """Median and 99th percentile of how long the last of the jobs waited, in milliseconds."""
    with engine.connect() as connection:
        waits = connection.scalars(
            text(
                "SELECT extract(epoch FROM started_at - created_at) * 1000 FROM job"
                " WHERE name = 'bench.small' ORDER BY id DESC LIMIT :last"
            ),
            {"last": last},
        ).all()
    cuts = quantiles(map(float, waits), n=100)
    return [f"{cuts[49]:.1f}", f"{cuts[98]:.1f}"]


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
