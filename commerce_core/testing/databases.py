"""Fixtures: a database that one test has for itself, to be migrated in any way. It is dropped afterwards."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, make_url, text

from commerce_core import migrations
from commerce_core.database import make_engine
from commerce_core.settings import DatabaseSettings

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def migrated_template(_session_engine: Engine, database_url: str) -> Iterator[str]:
    """The name of a database that has the core's tables, and that nobody is connected to."""
    name = f"commerce_migrated_{os.getpid()}"
    _execute(_session_engine, f"CREATE DATABASE {name}")
    engine = _engine(_at(database_url, name))
    migrations.upgrade(engine)
    engine.dispose()
    yield name
    _execute(_session_engine, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def own_database_url(_session_engine: Engine, database_url: str, migrated_template: str) -> Iterator[str]:
    """A database of this test's own, with the core's tables and none of a plugin's."""
    name = f"commerce_own_{os.getpid()}_{next(_numbers)}"
    _execute(_session_engine, f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    yield _at(database_url, name)
    _execute(_session_engine, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def own_engine(own_database_url: str) -> Iterator[Engine]:
    engine = _engine(own_database_url)
    yield engine
    engine.dispose()


def _execute(server: Engine, statement: str) -> None:
    with server.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text(statement))
        connection.invalidate()


def _at(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def _engine(url: str) -> Engine:
    return make_engine(url, DatabaseSettings(url=url))
