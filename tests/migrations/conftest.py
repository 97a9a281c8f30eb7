"""A shop on a database of its own, which may be migrated in any way: it is dropped afterwards."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, make_url, text
from webtest import TestApp

from commerce_core import migrations
from commerce_core.database import make_engine
from commerce_core.settings import CoreSettings
from commerce_core.testing import make_settings
from tests.migrations.packages import Packages
from tests.support.till import Till

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(_session_engine: Engine) -> Engine:
    """For statements that are of no transaction."""
    return _session_engine.execution_options(isolation_level="AUTOCOMMIT")


@pytest.fixture(scope="session")
def migrated_template(server: Engine, database_url: str) -> Iterator[str]:
    """The name of a database that has the core's tables, and that nobody is connected to."""
    name = f"commerce_migrated_{os.getpid()}"
    _execute(server, f"CREATE DATABASE {name}")
    engine = _engine(_at(database_url, name))
    migrations.upgrade(engine)
    engine.dispose()
    yield name
    _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def shop_url(server: Engine, database_url: str, migrated_template: str) -> Iterator[str]:
    """The database of this test's shop, with the core's tables."""
    name = f"commerce_shop_{os.getpid()}_{next(_numbers)}"
    _execute(server, f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    yield _at(database_url, name)
    _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def engine(shop_url: str) -> Iterator[Engine]:
    engine = _engine(shop_url)
    yield engine
    engine.dispose()


@pytest.fixture
def settings(shop_url: str) -> CoreSettings:
    return make_settings(shop_url)


@pytest.fixture
def packages(tmp_path: Path) -> Iterator[Packages]:
    packages = Packages(tmp_path)
    yield packages
    packages.uninstall_all()


@pytest.fixture
def till(application: Any, staff: TestApp) -> Till:
    return Till(application, staff)


def _execute(server: Engine, statement: str) -> None:
    with server.connect() as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text(statement))
        connection.invalidate()


def _at(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def _engine(url: str) -> Engine:
    return make_engine(url, make_settings(url).sqlalchemy)
