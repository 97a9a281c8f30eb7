"""The whole layout of production.ini under load: processes are replaced, the database is migrated and saved, Redis and
PostgreSQL go and come back.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Engine, text
from support.audit import assert_everything_adds_up, wait_until_all_has_lapsed
from support.crowd import Crowd
from support.processes import PATIENCE_SECONDS, wait_until
from support.production import Production, in_production
from websockets.sync.client import connect

from commerce_core import migrations
from commerce_core.database import make_engine
from commerce_core.embedded import EmbeddedPostgres
from commerce_core.embedded.installation import find_binaries
from commerce_core.testing import empty_database, folder_for_postgres, make_settings
from commerce_core.testing.redis import RedisServer, running_redis
from tests.migrations.packages import Packages

SOAK = bool(os.environ.get("COMMERCE_SOAK"))
SEED = random.getrandbits(32) if SOAK else 20_261_126
BUYERS = 200 if SOAK else 6
ROUNDS = 5 if SOAK else 1
ANSWERS = 100 if SOAK else 50

PATIENT: dict[str, Any] = {"open_timeout": PATIENCE_SECONDS, "ping_timeout": None}

pytestmark = [
    pytest.mark.skipif("COMMERCE_TEST_DATABASE_URL" in os.environ, reason="stops its own database only"),
    pytest.mark.skipif(
        not (SOAK or os.environ.get("COMMERCE_REQUIRE_SERVERS")),
        reason="a dozen processes take long to start: .ci/run has it, with COMMERCE_REQUIRE_SERVERS=1",
    ),
]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One that nginx and PgBouncer can reach as whoever they run as."""
    with folder_for_postgres() as inside:
        inside.parent.chmod(0o755)
        yield inside.parent


@pytest.fixture(scope="module")
def database(folder: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(folder / "postgres")
    server.start()
    yield server
    server.stop(patience=0)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture(scope="module")
def shop(folder: Path, database: EmbeddedPostgres, redis: RedisServer) -> Iterator[Production]:
    with in_production(folder, database, redis, workers=2 if SOAK else 1) as running:
        yield running


@pytest.fixture
def engine(shop: Production, database: EmbeddedPostgres) -> Iterator[Engine]:
    engine = make_engine(database.url, make_settings(database.url).sqlalchemy)
    yield engine
    empty_database(engine)
    engine.dispose()


@contextmanager
def shopping(shop: Production, stock: dict[UUID, int], *, insists: bool = False) -> Iterator[Crowd]:
    """A crowd shops through nginx until the end of the block; then everything is held against what it was told."""
    hot, *others = stock
    weights = {hot: 8} | dict.fromkeys(others, 1)
    crowd = Crowd(SEED, BUYERS, [shop.nginx.port], weights, insists=insists, keep_alive=False, visits=1_000_000)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(crowd.run)
        try:
            is_served(crowd)
            yield crowd
            is_served(crowd)
        except BaseException:
            crowd.insists = False
            raise
        finally:
            crowd.going_home = True
        running.result()


def is_served(crowd: Crowd) -> None:
    """Return when some more requests have been answered."""
    wanted = sum(crowd.told.statuses.values()) + ANSWERS
    wait_until(lambda: sum(crowd.told.statuses.values()) >= wanted or crowd.told.unexpected)
    assert crowd.told.unexpected == []


def stock_of(make_variant: Callable[..., UUID]) -> dict[UUID, int]:
    return {make_variant(stock=units): units for units in (4_000, 500, 40, 1)}


# One test, because all of this takes long to start.
def test_the_layout_of_production(
    shop: Production, engine: Engine, make_variant: Callable[..., UUID], tmp_path: Path
) -> None:
    metrics_are_hidden_and_the_catalogue_is_cached(shop)
    sockets_pass_through_and_what_is_sold_is_told(shop, make_variant)
    empty_database(engine)
    no_request_fails_while_servers_are_replaced_and_the_database_is_migrated_and_saved(
        shop, engine, stock_of(make_variant), tmp_path
    )


def no_request_fails_while_servers_are_replaced_and_the_database_is_migrated_and_saved(
    shop: Production, engine: Engine, stock: dict[UUID, int], tmp_path: Path
) -> None:
    file = shop.folder / "shop.dump"
    url = engine.url.set(drivername="postgresql")
    packages = Packages(tmp_path)
    with shopping(shop, stock) as crowd:
        # What the next version brings: it only adds. Those that run serve on, and are as ready as before.
        assert migrations.upgrade(engine, [packages.newer_core()]) == [("core", "9999")]
        for _ in range(ROUNDS):
            for web in shop.web:
                shop.roll(web)
                is_served(crowd)
        tool("pg_dump", "--format=custom", f"--file={file}", url.render_as_string(hide_password=False))
        is_served(crowd)
    packages.uninstall_all()
    wait_until_all_has_lapsed(engine)
    assert crowd.told.unexpected == []
    assert not crowd.told.broken
    assert crowd.told.unavailable == 0
    assert crowd.told.paid
    assert_everything_adds_up(engine, crowd.told, stock)

    # What was saved in the middle of it is consistent, and tells of it.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CREATE DATABASE restored"))
    restored = url.set(database="restored").render_as_string(hide_password=False)
    tool("pg_restore", f"--dbname={restored}", "--exit-on-error", "--single-transaction", str(file))
    verified = shop.run("stock", "verify", COMMERCE_SQLALCHEMY__URL=restored, COMMERCE_SQLALCHEMY__DIRECT_URL=restored)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    with psycopg.connect(restored) as kept:
        row = kept.execute("SELECT count(*) FROM stock_movement WHERE kind = 'sale'").fetchone()
    assert row is not None
    assert row[0] > 0


def tool(name: str, *arguments: str) -> None:
    """One of PostgreSQL's own programs."""
    done = subprocess.run([str(find_binaries() / name), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not SOAK, reason="tests/faults has it with fewer processes; here it takes a minute")
def test_the_shop_outlives_redis_and_says_so_while_postgresql_is_away(
    shop: Production,
    engine: Engine,
    database: EmbeddedPostgres,
    redis: RedisServer,
    make_variant: Callable[..., UUID],
) -> None:
    stock = stock_of(make_variant)
    with shopping(shop, stock, insists=True) as crowd:
        redis.stop()
        is_served(crowd)
        assert crowd.told.unavailable == 0
        redis.start()
        is_served(crowd)
        database.stop(patience=0)
        status, ready = shop.ask("/readyz")
        assert (status, ready["checks"]["database"]) == (503, "unreachable")
        database.start()
        engine.dispose()
        is_served(crowd)
    wait_until_all_has_lapsed(engine)
    assert crowd.told.unavailable > 0
    assert_everything_adds_up(engine, crowd.told, stock)
    assert shop.ask("/readyz")[0] == 200


def sockets_pass_through_and_what_is_sold_is_told(shop: Production, make_variant: Callable[..., UUID]) -> None:
    variant_id = make_variant(stock=5)
    address = f"ws://127.0.0.1:{shop.nginx.port}/app/shop?protocol=7"
    with connect(address, **PATIENT) as here, connect(address, **PATIENT) as there:
        for socket in (here, there):
            assert "pusher:connection_established" in str(socket.recv(PATIENCE_SECONDS))
            channel = {"channel": f"inventory.variant.{variant_id}"}
            socket.send(json.dumps({"event": "pusher:subscribe", "data": channel}))
            assert "pusher_internal:subscription_succeeded" in str(socket.recv(PATIENCE_SECONDS))
        assert shop.ask("/api/v1/holds", {"variant_id": str(variant_id), "quantity": 2})[0] == 201
        for socket in (here, there):
            wait_until(lambda socket=socket: '\\"stock_quantity\\":3' in str(socket.recv(PATIENCE_SECONDS)))


def metrics_are_hidden_and_the_catalogue_is_cached(shop: Production) -> None:
    assert shop.ask("/metrics")[0] == 404
    for expected in ("MISS", "HIT"):
        assert shop.headers("/api/v1/products?per_page=7")["X-Cache"] == expected
