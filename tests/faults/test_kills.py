"""Processes of the shop, and of its database, are killed while a crowd is shopping."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import psutil  # type: ignore[import-untyped]
import pytest
from sqlalchemy import Engine, text
from support.audit import assert_everything_adds_up, wait_until_all_has_lapsed
from support.crowd import Crowd
from support.processes import PATIENCE_SECONDS, Shop, Web, running_shop, wait_until

from commerce_core import migrations
from commerce_core.database import make_engine
from commerce_core.embedded import EmbeddedPostgres
from commerce_core.testing import folder_for_postgres, make_settings

SOAK = bool(os.environ.get("COMMERCE_SOAK"))
ROUNDS = 20 if SOAK else 1
ANSWERS_BETWEEN_FAULTS = 120 if SOAK else 30
SEED = random.getrandbits(32) if SOAK else 20_261_122
BRISK = {"stock.hold_seconds": 3, "orders.payment_seconds": 3, "scheduler.interval_seconds": 0.2}

pytestmark = pytest.mark.skipif("COMMERCE_TEST_DATABASE_URL" in os.environ, reason="kills its own database only")


@pytest.fixture
def database() -> Iterator[EmbeddedPostgres]:
    """A server that may be killed."""
    with folder_for_postgres() as folder:
        server = EmbeddedPostgres(folder)
        server.start()
        yield server
        server.stop(patience=0)


@pytest.fixture
def engine(database: EmbeddedPostgres) -> Iterator[Engine]:
    engine = make_engine(database.url, make_settings(database.url).sqlalchemy)
    migrations.upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def stock(make_variant: Callable[..., UUID]) -> dict[UUID, int]:
    return {make_variant(stock=units): units for units in (4_000, 500, 40, 1)}


@pytest.fixture
def shop(tmp_path: Path, database: EmbeddedPostgres, stock: dict[UUID, int]) -> Iterator[Shop]:
    with running_shop(tmp_path, database.url, BRISK, workers=2) as running:
        yield running


@contextmanager
def shopping(crowd: Crowd) -> Iterator[Callable[[], None]]:
    """The crowd shops until the end of the block. Yields what waits until it has been served for a while."""
    with ThreadPoolExecutor(1) as thread:
        shopping = thread.submit(crowd.run)

        def is_served() -> None:
            served = sum(crowd.told.statuses.values()) + ANSWERS_BETWEEN_FAULTS
            wait_until(lambda: shopping.done() or sum(crowd.told.statuses.values()) >= served)
            if shopping.done():
                shopping.result()  # raises what made it stop

        try:
            is_served()
            yield is_served
            # On a busy machine it may take a while until somebody comes to pay before the hold has lapsed.
            wait_until(lambda: shopping.done() or crowd.told.paid)
        except BaseException:
            crowd.insists = False  # what it waits for may never come back
            raise
        finally:
            crowd.going_home = True
        shopping.result()


def crowd_of(shop: Shop, stock: dict[UUID, int]) -> Crowd:
    hot, *others = stock
    weights = {hot: 8} | dict.fromkeys(others, 1)
    return Crowd(SEED, 1_000 if SOAK else 40, shop.ports, weights, insists=True, visits=1_000_000)


def kill_a_worker(web: Web) -> None:
    """Granian starts another one."""
    random.Random(SEED).choice(web.workers).kill()


def kill_a_server(web: Web, *, with_workers: bool) -> None:
    """Workers that are left end with their server; then its supervisor starts it again."""
    workers = web.workers
    if with_workers:
        for worker in workers:
            worker.kill()
    web.kill()
    _, alive = psutil.wait_procs(workers, timeout=PATIENCE_SECONDS)
    assert not alive
    web.start()
    web.wait_until_ready()


def test_killed_web_processes_lose_nothing_that_a_buyer_was_told(
    shop: Shop, stock: dict[UUID, int], engine: Engine
) -> None:
    crowd = crowd_of(shop, stock)
    with shopping(crowd) as is_served:
        for _ in range(ROUNDS):
            kill_a_worker(shop.web[0])
            is_served()
            kill_a_server(shop.web[1], with_workers=False)
            is_served()
            kill_a_server(shop.web[0], with_workers=True)
            is_served()
    wait_until_all_has_lapsed(engine)
    assert crowd.told.broken
    assert crowd.told.paid
    assert_everything_adds_up(engine, crowd.told, stock)


def terminate_backends(database: EmbeddedPostgres, engine: Engine) -> None:
    """An administrator ends every session."""
    with engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'commerce%' AND pid <> pg_backend_pid()"
            )
        )


def kill_a_backend(database: EmbeddedPostgres, engine: Engine) -> None:
    """PostgreSQL takes it for a crash: it ends every session, and recovers from its log."""
    with engine.connect() as connection:
        pid = connection.scalar(
            text(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'commerce-holds' ORDER BY state_change DESC"
            )
        )
    os.kill(pid, signal.SIGKILL)


def kill_the_database(database: EmbeddedPostgres, engine: Engine) -> None:
    assert database.process is not None
    database.process.kill()
    database.process.wait()
    database.start()


def stop_the_database(database: EmbeddedPostgres, engine: Engine) -> None:
    database.stop(patience=0)
    database.start()


def test_web_processes_outlive_the_database_and_lose_nothing_that_a_buyer_was_told(
    shop: Shop, stock: dict[UUID, int], database: EmbeddedPostgres, engine: Engine
) -> None:
    """While it is away they answer 503; when it is back they serve again, without being started anew."""
    workers = [worker.pid for web in shop.web for worker in web.workers]
    crowd = crowd_of(shop, stock)
    with shopping(crowd) as is_served:
        for _ in range(ROUNDS):
            for fault in (terminate_backends, kill_a_backend, kill_the_database, stop_the_database):
                fault(database, engine)
                engine.dispose()
                is_served()
    wait_until_all_has_lapsed(engine)
    assert [worker.pid for web in shop.web for worker in web.workers] == workers
    assert shop.worker.popen.poll() is None
    assert crowd.told.unavailable > 0
    assert not crowd.told.broken
    assert crowd.told.paid
    assert_everything_adds_up(engine, crowd.told, stock)
