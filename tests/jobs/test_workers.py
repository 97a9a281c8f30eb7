"""Real workers are stopped, killed and starved: what was committed runs to its end, and nothing else does."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from redis import Redis
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session
from support.processes import PATIENCE_SECONDS, Process, wait_until

from commerce_core import migrations
from commerce_core.application import close, make_configurator
from commerce_core.database import make_engine
from commerce_core.embedded import EmbeddedPostgres
from commerce_core.jobs.kinds import JobKind
from commerce_core.testing import DEFAULTS, empty_database, folder_for_postgres, make_settings
from tests.jobs import program

SOAK = bool(os.environ.get("COMMERCE_SOAK"))
JOBS = 2_000 if SOAK else 300
KILLS = 20 if SOAK else 3

pytestmark = pytest.mark.skipif("COMMERCE_TEST_DATABASE_URL" in os.environ, reason="kills its own database only")


@pytest.fixture(scope="module")
def database() -> Iterator[EmbeddedPostgres]:
    """A server that may be restarted."""
    with folder_for_postgres() as folder:
        server = EmbeddedPostgres(folder)
        server.start()
        engine = make_engine(server.url, make_settings(server.url).sqlalchemy)
        migrations.upgrade(engine)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE effect (number int, attempt int, pid int)"))
            connection.execute(text("CREATE TABLE started (number int, pid int)"))
        engine.dispose()
        yield server
        server.stop(patience=0)


@pytest.fixture
def engine(database: EmbeddedPostgres) -> Iterator[Engine]:
    engine = make_engine(database.url, make_settings(database.url).sqlalchemy)
    yield engine
    empty_database(engine)
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE effect, started, job_message"))
    engine.dispose()


# The same tests for each carrier, in processes that take long to start: those for Redis run where all tests have one.
CARRIERS = ["postgresql", "redis"] if os.environ.keys() & {"COMMERCE_TEST_REDIS", "COMMERCE_SOAK"} else ["postgresql"]


@pytest.fixture(params=CARRIERS)
def carrier(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings of each carrier."""
    if request.param == "postgresql":
        return {}
    return {"redis.url": request.getfixturevalue("redis_server").url}


@pytest.fixture
def shop(database: EmbeddedPostgres, engine: Engine, carrier: dict[str, str]) -> Iterator[Any]:
    """The registry of a process that wants jobs done, such as a web server."""
    config = make_configurator(make_settings(database.url, carrier))
    config.include("tests.jobs.program")
    config.commit()
    yield config.registry
    close(config.registry)


@pytest.fixture
def start(
    tmp_path: Path, database: EmbeddedPostgres, engine: Engine, carrier: dict[str, str]
) -> Iterator[Callable[..., Process]]:
    """`start("--workers", "1", **settings)`: a real `commerce worker`; or another command of the program's."""
    running: list[Process] = []

    def start(*options: str, command: str = "worker", **settings: Any) -> Process:
        config = tmp_path / f"shop{len(running)}.ini"
        lines = [f"{key} = {value}" for key, value in {**DEFAULTS, **carrier, **settings}.items()]
        config.write_text("\n".join(["[app:main]", "use = egg:commerce-core", *lines, ""]))
        environment = {
            **os.environ,
            "COMMERCE_SQLALCHEMY__URL": database.url,
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        arguments = ["-m", "tests.jobs.program", command, str(config), *options]
        process = Process(arguments, environment, tmp_path / f"worker{len(running)}.log")
        running.append(process)
        return process

    yield start
    for process in running:
        process.popen.terminate()
    for process in running:
        process.stop()


def lose_everything_carried(engine: Engine, carrier: dict[str, str]) -> None:
    """Flush the carrier, whichever it is."""
    if carrier:
        with Redis.from_url(carrier["redis.url"]) as client:
            client.flushall()
    else:
        with engine.begin() as connection:
            connection.execute(text("TRUNCATE job_message"))


def enqueue(shop: Any, kind: JobKind, **arguments: Any) -> None:
    with Session(shop.engine) as session, session.begin():
        kind.enqueue(session, now=shop.clock.now(), **arguments)


def numbers(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT number FROM effect ORDER BY number")))


def states(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT state, count(*) AS jobs FROM job WHERE name LIKE 'test.%' GROUP BY 1"))
        return {row.state: row.jobs for row in rows}


def children(process: Process) -> list[psutil.Process]:
    try:
        return psutil.Process(process.popen.pid).children(recursive=True)  # type: ignore[no-any-return]
    except psutil.NoSuchProcess:
        return []


def test_workers_run_what_was_committed_and_nothing_that_was_not(
    shop: Any, engine: Engine, start: Callable[..., Process]
) -> None:
    start("--workers", "2")
    for number in range(60):
        with Session(shop.engine) as session:
            program.effect.enqueue(session, now=shop.clock.now(), number=number)
            if number % 3:
                session.commit()
    wait_until(lambda: len(numbers(engine)) >= 40)
    assert numbers(engine) == [number for number in range(60) if number % 3]
    assert states(engine) == {"done": 40}


def test_what_was_lost_between_the_commit_and_the_carrier_runs_all_the_same(
    shop: Any, engine: Engine, start: Callable[..., Process], carrier: dict[str, str]
) -> None:
    for number in range(10):
        enqueue(shop, program.effect, number=number)
    lose_everything_carried(engine, carrier)
    start("--workers", "1")
    wait_until(lambda: len(numbers(engine)) == 10)


def test_who_is_killed_between_the_commit_and_the_carrier_has_lost_nothing(
    shop: Any, engine: Engine, start: Callable[..., Process]
) -> None:
    assert start(command="die").popen.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    start("--workers", "1")
    wait_until(lambda: numbers(engine))
    assert numbers(engine) == [2]
    assert states(engine) == {"done": 1}


def test_a_job_that_waits_to_be_tried_again_outlives_its_worker_and_its_carrier(
    shop: Any, engine: Engine, start: Callable[..., Process], carrier: dict[str, str]
) -> None:
    worker = start("--workers", "1")
    enqueue(shop, program.fails_first, number=1)
    wait_until(lambda: _has_failed(engine))
    for process in children(worker):
        _kill(process)
    worker.kill()
    lose_everything_carried(engine, carrier)
    assert numbers(engine) == []
    with engine.begin() as connection:
        connection.execute(text("UPDATE job SET run_at = now() WHERE name = 'test.fails-first'"))
    worker.start()
    wait_until(lambda: numbers(engine) == [1])


@pytest.mark.parametrize("carrier", ["redis"], indirect=True)
def test_a_redis_that_is_away_costs_time_and_no_job(
    shop: Any, engine: Engine, start: Callable[..., Process], request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("redis_server")
    start("--workers", "2")
    for number in range(20):
        enqueue(shop, program.effect, number=number)
    server.stop()
    for number in range(20, 40):
        enqueue(shop, program.effect, number=number)
    assert states(engine).get("waiting", 0) >= 20
    server.start()
    wait_until(lambda: states(engine) == {"done": 40})
    assert numbers(engine) == list(range(40))


def test_killed_workers_lose_nothing_and_do_nothing_twice(
    shop: Any, engine: Engine, start: Callable[..., Process]
) -> None:
    chance = random.Random(20_261_121)
    wanted = 0
    workers = [start("--workers", "2"), start("--workers", "1")]
    for kill in range(KILLS):
        for _ in range(JOBS // KILLS):
            enqueue(shop, program.effect, number=wanted)
            wanted += 1
        enqueue(shop, program.slow, number=wanted, seconds=8)
        wanted += 1
        wait_until(lambda n=wanted: _has_started(engine, n - 1))  # type: ignore[misc]
        victim = workers[kill % 2]
        everybody = children(victim)
        target = chance.choice(["one", "all"])
        for process in everybody if target == "all" else [_of(engine, wanted - 1)]:
            _kill(process)
        if target == "all":
            victim.kill()
            victim.start()
        # What the dead held is silent from now on: no need to wait half a minute for it.
        with engine.begin() as connection:
            connection.execute(
                text("UPDATE job SET heartbeat_at = heartbeat_at - interval '1 hour' WHERE name LIKE 'test.%'")
            )
    wait_until(lambda: states(engine) == {"done": wanted})
    assert numbers(engine) == list(range(wanted))


def test_a_restarted_database_costs_no_job(
    shop: Any, engine: Engine, database: EmbeddedPostgres, start: Callable[..., Process]
) -> None:
    start("--workers", "2")
    for number in range(50):
        enqueue(shop, program.effect, number=number)
    database.stop(patience=0)
    database.start()
    shop.engine.dispose()
    engine.dispose()
    for number in range(50, 100):
        enqueue(shop, program.effect, number=number)
    wait_until(lambda: states(engine) == {"done": 100})
    assert numbers(engine) == list(range(100))


def test_a_worker_that_is_asked_to_stop_finishes_what_it_is_at(
    shop: Any, engine: Engine, start: Callable[..., Process]
) -> None:
    worker = start("--workers", "1")
    enqueue(shop, program.slow, number=1, seconds=1.5)
    wait_until(lambda: _has_started(engine, 1))
    worker.popen.send_signal(signal.SIGTERM)
    assert worker.popen.wait(60) == 0
    assert states(engine) == {"done": 1}


def test_a_worker_that_may_not_finish_hands_back(shop: Any, engine: Engine, start: Callable[..., Process]) -> None:
    worker = start("--workers", "1", **{"jobs.stop_seconds": 0.5})
    enqueue(shop, program.slow, number=1, seconds=50)
    wait_until(lambda: _has_started(engine, 1))
    worker.popen.send_signal(signal.SIGTERM)
    assert worker.popen.wait(60) == 0
    with engine.connect() as connection:
        assert connection.execute(text("SELECT state, attempts, worker FROM job WHERE name LIKE 'test.%'")).one() == (
            "waiting",
            0,
            None,
        )


def test_a_job_that_takes_too_long_is_ended(shop: Any, engine: Engine, start: Callable[..., Process]) -> None:
    start("--workers", "1")
    enqueue(shop, program.too_slow)
    wait_until(lambda: states(engine) == {"dead": 1})
    with engine.connect() as connection:
        assert "took longer than 0.3 s" in connection.scalar(text("SELECT error FROM job WHERE name LIKE 'test.%'"))


def test_children_end_when_their_worker_is_killed(shop: Any, engine: Engine, start: Callable[..., Process]) -> None:
    worker = start("--workers", "2")
    enqueue(shop, program.effect, number=1)
    wait_until(lambda: numbers(engine) == [1])
    orphans = children(worker)
    assert orphans
    worker.kill()
    wait_until(lambda: not any(_lives(orphan) for orphan in orphans))


def test_a_worker_that_has_grown_too_large_is_replaced(
    shop: Any, engine: Engine, start: Callable[..., Process]
) -> None:
    start("--workers", "1", **{"jobs.max_memory_mb": 150})
    for number in range(3):
        enqueue(shop, program.hungry, number=number)
    wait_until(lambda: len(numbers(engine)) == 3)
    with engine.connect() as connection:
        assert len(set(connection.scalars(text("SELECT pid FROM effect")))) == 3


def _has_started(engine: Engine, number: int) -> bool:
    with engine.connect() as connection:
        return bool(connection.scalar(text("SELECT count(*) FROM started WHERE number = :n"), {"n": number}))


def _has_failed(engine: Engine) -> bool:
    with engine.connect() as connection:
        return bool(connection.scalar(text("SELECT count(*) FROM job WHERE state = 'waiting' AND attempts = 1")))


def _of(engine: Engine, number: int) -> psutil.Process:
    """The process that runs the slow job with this number."""
    with engine.connect() as connection:
        pid = connection.scalar(text("SELECT max(pid) FROM started WHERE number = :n"), {"n": number})
    return psutil.Process(pid)


def _lives(process: psutil.Process) -> bool:
    """Nobody may be there to bury an orphan."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()
