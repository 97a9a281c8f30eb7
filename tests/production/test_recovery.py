"""Point-in-time recovery as docs/deployment.md has it: back to the moment before a mistake, and the stock adds up."""

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
from commerce_core.settings import CoreSettings
from commerce_core.testing import assert_stock_adds_up, folder_for_postgres, make_settings

pytestmark = [
    pytest.mark.skipif("COMMERCE_TEST_DATABASE_URL" in os.environ, reason="recovers a database of its own"),
    pytest.mark.skipif(
        not os.environ.get("COMMERCE_SOAK"), reason="starts PostgreSQL three times; PostgreSQL's own part"
    ),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that PostgreSQL can reach as whoever it runs as."""
    with folder_for_postgres() as inside:
        inside.parent.chmod(0o755)
        yield inside.parent


@pytest.fixture
def primary(folder: Path) -> Iterator[EmbeddedPostgres]:
    """It archives its log, and knows the shop's tables."""
    server = EmbeddedPostgres(folder / "primary")
    server.start()
    archive = folder / "archive"
    archive.mkdir()
    give(archive, to=server.data)
    engine = make_engine(server.url, make_settings(server.url).sqlalchemy)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ALTER SYSTEM SET archive_mode = on"))
        command = f"test ! -f {archive}/%f && cp %p {archive}/%f"
        connection.execute(text(f"ALTER SYSTEM SET archive_command = '{command}'"))
    engine.dispose()
    server.stop(patience=0)
    server.start()
    migrations.upgrade(engine)
    engine.dispose()
    yield server
    server.stop(patience=0)


@pytest.fixture
def database_url(primary: EmbeddedPostgres) -> str:
    return primary.url


@pytest.fixture
def settings(primary: EmbeddedPostgres) -> CoreSettings:
    return make_settings(primary.url, {"cache.enabled": "false"})


@pytest.fixture
def engine(primary: EmbeddedPostgres) -> Iterator[Engine]:
    engine = make_engine(primary.url, make_settings(primary.url).sqlalchemy)
    yield engine
    engine.dispose()


def give(folder: Path, *, to: Path) -> None:
    """Let it belong to whom another folder belongs: as root, PostgreSQL runs as somebody else."""
    owner = to.stat()
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, owner.st_uid, owner.st_gid)


def held(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text("SELECT coalesce(sum(quantity), 0) FROM hold")) or 0)


def test_the_moment_before_a_mistake_comes_back(
    folder: Path,
    primary: EmbeddedPostgres,
    engine: Engine,
    client: TestApp,
    make_variant: Callable[..., UUID],
) -> None:
    variant = str(make_variant(stock=50))
    take = {"variant_id": variant, "quantity": 2}
    client.post_json("/api/v1/holds", take, status=201)

    # The base backup of the night; what is sold after it is in the log alone.
    base = folder / "base"
    url = make_url(primary.url)
    at: list[Any] = ["-h", url.query["host"], "-p", url.query["port"], "-U", url.username]
    command = [str(find_binaries() / "pg_basebackup"), *at, "-D", str(base), "--checkpoint=fast"]
    subprocess.run(command, check=True, capture_output=True)
    for _ in range(3):
        client.post_json("/api/v1/holds", take, status=201)
    assert held(engine) == 8

    with engine.begin() as connection:
        moment = connection.scalar(text("SELECT clock_timestamp()"))
    client.post_json("/api/v1/holds", take, status=201)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE hold CASCADE"))
        last = connection.scalar(text("SELECT pg_walfile_name(pg_current_wal_lsn())"))
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_switch_wal()"))
    wait_until(lambda: (folder / "archive" / str(last)).exists())
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT to_regclass('hold')")) is None
    primary.stop(patience=0)

    restored = EmbeddedPostgres(folder / "restored")
    restored.folder.mkdir()
    base.rename(restored.data)
    with (restored.data / "postgresql.auto.conf").open("a") as conf:
        conf.write(f"restore_command = 'cp {folder}/archive/%f %p'\n")
        conf.write(f"recovery_target_time = '{moment}'\nrecovery_target_action = promote\narchive_mode = off\n")
    (restored.data / "recovery.signal").touch()
    give(restored.data, to=primary.data)
    restored.start()
    back = make_engine(restored.url, make_settings(restored.url).sqlalchemy)
    try:
        with back.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            wait_until(lambda: not connection.scalar(text("SELECT pg_is_in_recovery()")))
        assert held(back) == 8
        assert_stock_adds_up(back)
    finally:
        back.dispose()
        restored.stop(patience=0)
