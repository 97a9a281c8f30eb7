"""What one process changes is right in another within a second, with Redis and without, and when messages are lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text, update
from sqlalchemy.orm import Session
from webtest import TestApp

from commerce_core.catalog.models import Product
from commerce_core.child_process import tied
from commerce_core.cli.shop import open_shop
from commerce_core.database import transaction
from commerce_core.events import ProductChanged, emit
from commerce_core.stock.service import receive_stock
from commerce_core.testing.redis import RedisServer
from tests.cache.conftest import PATIENCE_SECONDS, wait_until

Processes = Callable[..., Any]
# A second is what is promised, and a busy machine gets more; but nothing lapses by itself in the time of a test.
LIMIT_SECONDS = 1.0 if os.environ.get("COMMERCE_SOAK") else float("inf")
PRODUCT = "/api/v1/products/product-1"


def shown(app: Any) -> dict[str, Any]:
    product: dict[str, Any] = TestApp(app).get(PRODUCT).json
    return product


def rename(app: Any, name: str) -> None:
    with transaction(app.registry.engine) as session:
        session.execute(update(Product).values(name=name))
        emit(session, ProductChanged(what="product.update", product_ids=tuple(session.scalars(_IDS))))


_IDS = text("SELECT id FROM product")


def test_what_is_held_here_is_shown_there(processes: Processes, make_variant: Callable[..., UUID]) -> None:
    variant_id = make_variant(stock=10)
    here, there = processes(), processes()
    wait_until(lambda: shown(there)["available"] == 10 and there.registry.cache.statistics()["local_hits"])
    TestApp(here).post_json("/api/v1/holds", {"variant_id": str(variant_id), "quantity": 3})
    assert wait_until(lambda: shown(there)["available"] == 7) < LIMIT_SECONDS
    assert wait_until(lambda: shown(here)["available"] == 7) < LIMIT_SECONDS


def test_what_is_renamed_here_is_so_there_and_at_once_here(
    processes: Processes, make_variant: Callable[..., UUID]
) -> None:
    make_variant()
    here, there = processes(), processes()
    for app in (here, there):
        shown(app)
    rename(here, "Renamed")
    assert shown(here)["name"] == "Renamed"
    assert wait_until(lambda: shown(there)["name"] == "Renamed") < LIMIT_SECONDS


def test_what_a_command_changes_is_shown(
    processes: Processes, make_variant: Callable[..., UUID], database_url: str, tmp_path: Path
) -> None:
    variant_id = make_variant(stock=1)
    there = processes()
    shown(there)
    config = tmp_path / "shop.ini"
    shared = there.registry.settings_object.redis.url
    settings = {"commerce.environment": "development", "sqlalchemy.url": database_url, "cache.delay_ms": 100}
    lines = [f"{key} = {value}" for key, value in (settings | ({"redis.url": shared} if shared else {})).items()]
    config.write_text("\n".join(["[app:main]", "use = egg:commerce-core", *lines]))
    with open_shop(str(config)) as shop, transaction(shop.engine) as session:
        receive_stock(session, variant_id, 5, now=shop.clock.now(), actor="command")
    assert wait_until(lambda: shown(there)["available"] == 6) < LIMIT_SECONDS


def test_a_broken_connection_loses_nothing(
    processes: Processes, make_variant: Callable[..., UUID], engine: Engine, request: pytest.FixtureRequest
) -> None:
    make_variant()
    here, there = processes(), processes()
    shown(there)
    if here.registry.settings_object.redis.url is None:
        with engine.connect() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name LIKE 'commerce-cache %'"
                )
            )
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        server.stop()
    rename(here, "Renamed")
    assert wait_until(lambda: shown(there)["name"] == "Renamed") < LIMIT_SECONDS
    if here.registry.settings_object.redis.url is not None:
        server.start()
    wait_until(lambda: here.registry.cache.news.is_current and there.registry.cache.news.is_current)
    rename(here, "Again")
    assert wait_until(lambda: shown(there)["name"] == "Again") < LIMIT_SECONDS


_DIES_BEFORE_IT_TELLS = """
import os, signal, sys
from commerce_core.application import make_configurator
from commerce_core.database import transaction
from commerce_core.events import ProductChanged, emit
from commerce_core.testing import make_settings
from sqlalchemy import text
from tests.cache.conftest import wait_until
settings = {"redis.url": sys.argv[2]} if sys.argv[2] else {}
registry = make_configurator(make_settings(sys.argv[1], settings | {"cache.delay_ms": "100"})).registry
news = registry.cache.news
news.start()
wait_until(lambda: news.is_current)
print("ready", flush=True)
sys.stdin.readline()
news.tell = lambda tags: os.kill(os.getpid(), signal.SIGKILL)
with transaction(registry.engine) as session:
    ids = session.scalars(text("UPDATE product SET name = 'Renamed' RETURNING id")).all()
    emit(session, ProductChanged(what="product.update", product_ids=tuple(ids)))
"""


def test_a_process_that_is_killed_before_it_tells_is_missed(
    processes: Processes, make_variant: Callable[..., UUID], database_url: str, engine: Engine
) -> None:
    make_variant()
    there = processes()
    redis_url = there.registry.settings_object.redis.url or ""
    child = subprocess.Popen(
        tied([sys.executable, "-W", "ignore", "-c", _DIES_BEFORE_IT_TELLS, database_url, redis_url]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        assert child.stdout.readline() == "ready\n"
        wait_until(lambda: len(there.registry.cache.news.peers) == 2)
        assert shown(there)["name"] == "Product 1"
        child.stdin.write("go\n")
        child.stdin.close()
        assert child.wait(PATIENCE_SECONDS) == -signal.SIGKILL
        with Session(engine) as session:
            assert session.scalar(text("SELECT name FROM product")) == "Renamed"
        assert wait_until(lambda: shown(there)["name"] == "Renamed") < LIMIT_SECONDS
