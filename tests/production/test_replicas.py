"""A real replica: it takes what visitors read, for as long as it keeps up, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url
from support.processes import wait_until
from webtest import TestApp

from commerce_core import migrations
from commerce_core.database import make_engine
from commerce_core.embedded import EmbeddedPostgres
from commerce_core.embedded.installation import find_binaries
from commerce_core.replicas import Replicas
from commerce_core.settings import CoreSettings
from commerce_core.testing import SignedIn, count_sql, empty_database, folder_for_postgres, make_settings

pytestmark = pytest.mark.skipif(
    "COMMERCE_TEST_DATABASE_URL" in os.environ, reason="makes a replica of its own database"
)


@pytest.fixture(scope="module")
def primary() -> Iterator[EmbeddedPostgres]:
    with folder_for_postgres() as folder:
        server = EmbeddedPostgres(folder)
        server.start()
        engine = make_engine(server.url, make_settings(server.url).sqlalchemy)
        migrations.upgrade(engine)
        engine.dispose()
        yield server
        server.stop(patience=0)


@pytest.fixture
def replica(primary: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    with folder_for_postgres() as folder:
        url = make_url(primary.url)
        folder.mkdir(mode=0o755)
        data = folder / "data"
        host = str(url.query["host"])
        command = [str(find_binaries() / "pg_basebackup"), "-h", host, "-p", str(url.query["port"]), "-U", url.username]
        subprocess.run([*command, "-D", str(data), "-R", "--checkpoint=fast"], check=True, capture_output=True)  # type: ignore[list-item]
        if os.geteuid() == 0:
            _give(data, to=primary.data)
        server = EmbeddedPostgres(folder)
        server.start()
        yield server
        server.stop(patience=0)


def _give(folder: Path, *, to: Path) -> None:
    """Let it belong to whom another folder belongs."""
    owner = to.stat()
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, owner.st_uid, owner.st_gid)


@pytest.fixture
def database_url(primary: EmbeddedPostgres) -> str:
    return primary.url


@pytest.fixture
def engine(primary: EmbeddedPostgres) -> Iterator[Engine]:
    engine = make_engine(primary.url, make_settings(primary.url).sqlalchemy)
    yield engine
    empty_database(engine)
    engine.dispose()


@pytest.fixture
def settings(primary: EmbeddedPostgres, replica: EmbeddedPostgres) -> CoreSettings:
    return make_settings(primary.url, {"sqlalchemy.replica_urls": replica.url, "cache.enabled": "false"})


def uses_replica(application: Any) -> bool:
    return application.registry.replicas._choose() is not None


def names(client: TestApp, **headers: str) -> list[str]:
    return [each["name"] for each in client.get("/api/v1/products", headers=headers).json["data"]]


def test_visitors_read_from_the_replica_and_all_others_from_the_primary(
    application: Any,
    client: TestApp,
    staff: TestApp,
    sign_in: Callable[..., SignedIn],
    primary: EmbeddedPostgres,
    replica: EmbeddedPostgres,
    make_variant: Callable[..., UUID],
    engine: Engine,
) -> None:
    wait_until(lambda: uses_replica(application))
    [ours] = application.registry.replicas._replicas
    make_variant()
    with count_sql(ours.engine) as asked:
        wait_until(lambda: names(client) == ["Product 1"] and asked)
    customer = sign_in("customer").client
    with count_sql(ours.engine) as asked:
        assert names(client, **{"X-Cart-Token": "0" * 64}) == names(customer) == ["Product 1"]
    assert asked == []

    # It is told nothing more, and falls behind.
    pause(replica, True)
    make_variant()
    assert "Product 2" in names(client, **{"X-Cart-Token": "0" * 64})
    assert "Product 2" in names(customer)
    wait_until(lambda: not uses_replica(application))
    assert "Product 2" in names(client)
    pause(replica, False)
    wait_until(lambda: uses_replica(application))

    # It goes: nobody notices.
    replica.stop(patience=0)
    assert "Product 2" in names(client)
    wait_until(lambda: not uses_replica(application))
    replica.start()
    wait_until(lambda: uses_replica(application))
    assert "Product 2" in names(client)


def pause(replica: EmbeddedPostgres, paused: bool) -> None:
    engine = make_engine(replica.url, make_settings(replica.url).sqlalchemy)
    with engine.connect() as connection:
        connection.execute(text(f"SELECT pg_wal_replay_{'pause' if paused else 'resume'}()"))
    engine.dispose()


def test_what_is_read_late_is_kept_no_longer_than_that(application: Any, client: TestApp) -> None:
    def kept() -> str:
        return client.get("/api/v1/products").headers["Cache-Control"]

    wait_until(lambda: kept().startswith("public, max-age=2, s-maxage=2"))
    application.registry.replicas.close()
    application.registry.replicas._replicas = []
    assert kept().startswith("public, max-age=30")


def test_a_primary_is_no_replica(primary: EmbeddedPostgres) -> None:
    settings = make_settings(primary.url).sqlalchemy
    replicas = Replicas((primary.url,), primary.url, settings)
    assert replicas._choose() is None
    [replica] = replicas._replicas or []
    wait_until(lambda: replica._was_fit is False)
    replicas.close()
