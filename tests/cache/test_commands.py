"""`commerce cache`: warm and clear, on a shop of its own settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner
from redis import Redis
from sqlalchemy import Engine
from webtest import TestApp

from commerce_core.cache.shared import PREFIX
from commerce_core.catalog.service import create_category
from commerce_core.cli.main import main
from commerce_core.database import transaction
from commerce_core.testing import WEBHOOK_SECRET, count_sql
from commerce_core.testing.redis import RedisServer
from tests.cache.conftest import PATIENCE_SECONDS, PATIENT, wait_until

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def config(tmp_path: Path, database_url: str) -> Path:
    path = tmp_path / "shop.ini"
    lines = ["[app:main]", "use = egg:commerce-core", "commerce.environment = development", "log.level = warning"]
    lines += [
        f"sqlalchemy.url = {database_url.replace('%', '%%')}",
        f"payments.manual_webhook_secret = {WEBHOOK_SECRET}",
    ]
    path.write_text("\n".join([*lines, ""]))
    return path


def commerce(*arguments: object, **environment: str) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env=environment)


def test_a_warm_shop_answers_its_first_visitor_from_redis(
    config: Path,
    redis_server: RedisServer,
    engine: Engine,
    make_variant: Callable[..., UUID],
    processes: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Whoever has not heard of the others just now asks the database; a busy machine is slow to listen.
    monkeypatch.setattr("commerce_core.cache.news.CURRENT_SECONDS", PATIENCE_SECONDS)
    for _ in range(3):
        make_variant()
    with transaction(engine) as session:
        create_category(session, slug="coats", name="Coats")
    app = processes(**{"redis.url": redis_server.url})
    patient = {f"COMMERCE_REDIS__{key.upper()}": str(value) for key, value in PATIENT.items()}
    result = commerce("cache", "warm", config, "--products", 2, COMMERCE_REDIS__URL=redis_server.url, **patient)
    assert result.exit_code == 0, result.output
    assert "22 answers are warm." in result.output
    with count_sql(app.registry.engine) as statements:
        TestApp(app).get("/api/v1/products", headers={"Accept-Language": "en"})
        TestApp(app).get("/api/v1/categories/coats/products", headers={"Accept-Language": "en"})
    assert statements == []


def test_without_redis_it_wants_to_know_whom_to_ask(config: Path) -> None:
    result = commerce("cache", "warm", config)
    assert result.exit_code == 1
    assert "--url" in result.output


def test_clear_drops_everything_everywhere(
    config: Path, make_variant: Callable[..., UUID], processes: Callable[..., Any], request: pytest.FixtureRequest
) -> None:
    make_variant()
    app = processes()
    TestApp(app).get("/api/v1/products")
    statistics = app.registry.cache.statistics
    wait_until(lambda: statistics()["local_entries"] == 1)
    redis_url = app.registry.settings_object.redis.url
    result = commerce("cache", "clear", config, **({"COMMERCE_REDIS__URL": redis_url} if redis_url else {}))
    assert result.exit_code == 0, result.output
    wait_until(lambda: statistics()["local_entries"] == 0)
    if redis_url:
        with Redis.from_url(redis_url) as client:
            epoch = client.hget(f"{PREFIX}epoch", "id")
            assert epoch is not None
            assert not list(client.scan_iter(f"{PREFIX}{epoch.decode()}:entry:*"))
