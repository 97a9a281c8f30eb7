"""The wiring of the request transaction: nothing is lost, conflicts are retried, migrations match the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from psycopg.conninfo import conninfo_to_dict
from pyramid.response import Response
from sqlalchemy import Engine, text
from webtest import TestApp

from commerce_core import migrations
from commerce_core.application import close, make_configurator
from commerce_core.catalog.models import Brand
from commerce_core.database import conninfo, uuid7
from commerce_core.settings import CoreSettings


@pytest.fixture
def app_with(settings: CoreSettings, engine: Engine) -> Iterator[Callable[[Callable[[Any], None]], TestApp]]:
    """`app_with(view)`: a shop whose POST /test calls `view(request)` and answers what it left in the brands."""
    configurators = []

    def make(view: Callable[[Any], None]) -> TestApp:
        def wrapped(request: Any) -> Response:
            view(request)
            return Response(json_body={"ok": True})

        config = make_configurator(settings)
        config.add_route("test", "/test")
        config.add_view(wrapped, route_name="test", permission="public")
        configurators.append(config)
        return TestApp(config.make_wsgi_app())

    yield make
    for config in configurators:
        close(config.registry)


def brands(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM brand")) or 0)


INSERT = "INSERT INTO brand (id, slug, name) VALUES (gen_random_uuid(), 'a', 'A')"


@pytest.mark.parametrize(
    "write",
    [
        lambda session: session.add(Brand(slug="a", name="A")),
        lambda session: session.execute(text(INSERT)),
        lambda session: session.connection().exec_driver_sql(INSERT),
        lambda session: session.execute(Brand.__table__.insert().values(id=uuid7(), slug="a", name="A")),
    ],
    ids=["orm", "text", "driver", "core"],
)
def test_every_kind_of_write_is_committed(
    app_with: Callable[..., TestApp], engine: Engine, write: Callable[[Any], None]
) -> None:
    app_with(lambda request: write(request.db)).post("/test")
    assert brands(engine) == 1


def test_an_exception_rolls_everything_back(app_with: Callable[..., TestApp], engine: Engine) -> None:
    def view(request: Any) -> None:
        request.db.execute(text(INSERT))
        raise RuntimeError("a secret of ours")

    answer = app_with(view).post("/test", status=500)
    assert answer.json["type"] == "/problems/internal-error"
    assert "secret" not in answer.text
    assert brands(engine) == 0


@pytest.mark.parametrize("at_commit", [False, True], ids=["on a statement", "at commit"])
def test_a_serialization_failure_is_retried(app_with: Callable[..., TestApp], engine: Engine, at_commit: bool) -> None:
    attempts = []
    metrics = []
    fail = "DO $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = '40001'; END $$"
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "RAISE EXCEPTION 'conflict' USING ERRCODE = '40001'; END $$"
            )
        )
        connection.execute(
            text(
                "CREATE CONSTRAINT TRIGGER fail_once AFTER INSERT ON brand DEFERRABLE INITIALLY DEFERRED "
                "FOR EACH ROW WHEN (NEW.name = 'first') EXECUTE FUNCTION fail_once()"
            )
        )

    def view(request: Any) -> None:
        attempts.append(request.id)
        metrics.append(request.registry.metrics)
        first = len(attempts) == 1
        request.db.add(Brand(slug="a", name="first" if first and at_commit else "A"))
        request.db.flush()
        if first and not at_commit:
            request.db.execute(text(fail))

    try:
        app_with(view).post("/test", status=200)
    finally:
        with engine.begin() as connection:
            connection.execute(text("DROP FUNCTION fail_once CASCADE"))
    assert len(attempts) == 2
    assert len(set(attempts)) == 1  # one request, one id
    assert b"commerce_transaction_retries_total 1.0" in metrics[0].text()[1]
    assert brands(engine) == 1


def test_the_tables_are_those_of_the_migrations(engine: Engine) -> None:
    with engine.connect() as connection:
        migrations.check(connection)
        assert migrations.drift(connection, migrations.CORE) == []


def test_an_older_database_stops_the_web_process(engine: Engine, settings: CoreSettings) -> None:
    from commerce_core.application import make_application

    with engine.begin() as connection:
        connection.execute(text("UPDATE commerce_migration_core SET version_num = '0001'"))
    try:
        with pytest.raises(migrations.MigrationsPending, match="commerce db upgrade"):
            make_application(settings)
    finally:
        with engine.begin() as connection:
            connection.execute(
                text("UPDATE commerce_migration_core SET version_num = :head"), {"head": migrations.head_revision()}
            )


def test_ids_are_version_7_and_ordered_by_time() -> None:
    ids = [uuid7() for _ in range(1_000)]
    assert len(set(ids)) == 1_000
    assert {(made.version, made.variant) for made in ids} == {(7, UUID(int=0x8 << 60).variant)}
    assert [made.int >> 80 for made in ids] == sorted(made.int >> 80 for made in ids)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgresql://shop:p%40ss@db.example:6000/shop?sslmode=require",
            {"host": "db.example", "port": "6000", "user": "shop", "password": "p@ss", "sslmode": "require"},
        ),
        ("postgresql://postgres@/shop?host=%2Ftmp%2Fmy+shop%2Fsocket", {"host": "/tmp/my shop/socket"}),
    ],
)
def test_a_connection_of_ones_own_finds_what_the_engine_finds(url: str, expected: dict[str, str]) -> None:
    found = conninfo_to_dict(conninfo(url))
    assert found["dbname"] == "shop"
    assert expected.items() <= found.items()
