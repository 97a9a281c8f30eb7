"""Redis stopped, frozen and started, PostgreSQL restarted, a process killed: all are right again, by themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from realtime_harness import PATIENCE, SECRET, Client, running, wait_until
from sqlalchemy import Engine, text
from websockets.exceptions import ConnectionClosed
from webtest import TestApp

from commerce_core import migrations
from commerce_core.application import close, make_application
from commerce_core.catalog.service import add_variant, create_product
from commerce_core.child_process import tied
from commerce_core.clock import Clock
from commerce_core.database import make_engine, transaction
from commerce_core.embedded import EmbeddedPostgres
from commerce_core.events import attach
from commerce_core.stock.service import receive_stock
from commerce_core.testing import folder_for_postgres, make_settings
from commerce_core.testing.redis import RedisServer
from tests.support.processes import free_port

API = "/api/v1"
UPDATED, SNAPSHOT = "inventory.updated", "inventory.snapshot"
Connect = Callable[..., Client]
MakeVariant = Callable[..., UUID]


@contextmanager
def shop(url: str, bus: str, engine: Engine, core: dict[str, Any] | None = None) -> Iterator[TestApp]:
    """Who buys in a shop that tells on this bus."""
    given = {"commerce.plugins": "realtime", "realtime.secret": SECRET, "realtime.bus": bus}
    application = make_application(make_settings(url, {**given, **(core or {})}), clock=Clock())
    attach(engine, application.registry.bus)
    try:
        yield TestApp(application)
    finally:
        attach(engine, None)
        close(application.registry)


def hold(guest: TestApp, variant_id: UUID) -> None:
    guest.post_json(f"{API}/holds", {"variant_id": str(variant_id), "quantity": 1}, status=201)


def until_version(client: Client, version: int) -> int:
    """What is left, as a client knows it once it has heard of a version."""
    while True:
        message = client.kept.pop(0) if client.kept else client.receive()
        if message["event"] in (UPDATED, SNAPSHOT):
            data = message["data"]
            level = data["levels"][0] if message["event"] == SNAPSHOT else data
            if level["version"] >= version:
                quantity: int = level["stock_quantity"]
                return quantity


@pytest.mark.parametrize("fault", ["stopped", "frozen"])
def test_redis_is_stopped_or_frozen_and_comes_back(
    fault: str, redis_server: RedisServer, database_url: str, engine: Engine, make_variant: MakeVariant, client: Connect
) -> None:
    core, bus = {"redis.url": redis_server.url}, f"test_redis_{fault}"
    variant_id = make_variant(stock=10)
    channel = f"inventory.variant.{variant_id}"
    with (
        running(database_url, core, bus=bus, lease_seconds=1.0, check_seconds=3_600) as one,
        running(database_url, core, bus=bus, lease_seconds=1.0, check_seconds=3_600) as other,
        shop(database_url, bus, engine, core) as guest,
    ):
        watchers = [client(one), client(other)]
        for watcher in watchers:
            watcher.subscribed(channel)
            assert until_version(watcher, 1) == 10
        hold(guest, variant_id)
        assert [until_version(watcher, 2) for watcher in watchers] == [9, 9]

        (redis_server.stop if fault == "stopped" else redis_server.pause)()
        for each in (one, other):
            each.wait_until(lambda each=each: not each.server.bus.is_there)
        hold(guest, variant_id)  # sold while nobody hears of it
        late = client(one)
        late.subscribed(channel)  # who comes now is told what is true
        assert until_version(late, 3) == 8
        (redis_server.start if fault == "stopped" else redis_server.resume)()

        assert [until_version(watcher, 3) for watcher in watchers] == [8, 8]
        for each in (one, other):
            each.wait_until(lambda each=each: each.server.bus.is_there and each.server.peers.others)
        hold(guest, variant_id)
        assert [until_version(watcher, 4) for watcher in (*watchers, late)] == [7, 7, 7]


@pytest.mark.skipif("COMMERCE_TEST_DATABASE_URL" in os.environ, reason="restarts its own database only")
def test_postgresql_is_restarted(client: Connect, tmp_path: Path) -> None:
    with ExitStack() as stack:
        database = EmbeddedPostgres(stack.enter_context(folder_for_postgres()))
        database.start()
        stack.callback(database.stop, patience=0)
        engine = make_engine(database.url, make_settings(database.url).sqlalchemy)
        stack.callback(engine.dispose)
        migrations.upgrade(engine)
        variant_id = _variant(engine)
        channel = f"inventory.variant.{variant_id}"
        servers = [stack.enter_context(running(database.url, bus="test_pg", check_seconds=3_600)) for _ in range(2)]
        guest = stack.enter_context(shop(database.url, "test_pg", engine))
        watchers = [client(server) for server in servers]
        for watcher in watchers:
            watcher.subscribed(channel)
            assert until_version(watcher, 1) == 10
        hold(guest, variant_id)
        assert [until_version(watcher, 2) for watcher in watchers] == [9, 9]

        database.stop(patience=0)
        for server in servers:
            server.wait_until(lambda server=server: not server.server.bus.is_there)
        late = client(servers[0])
        late.subscribed(channel)  # it is answered; its snapshot comes when it can be read
        database.start()
        engine.dispose()
        with engine.begin() as connection:  # nobody is told of this
            connection.execute(text("UPDATE stock_level SET reserved = 2, version = 3"))
        assert [until_version(watcher, 3) for watcher in (*watchers, late)] == [8, 8, 8]
        for server in servers:
            server.wait_until(lambda server=server: server.server.bus.is_there)
        wait_until(lambda: _status(guest, variant_id) == 201)
        assert [until_version(watcher, 4) for watcher in (*watchers, late)] == [7, 7, 7]


def _status(guest: TestApp, variant_id: UUID) -> int:
    body = {"variant_id": str(variant_id), "quantity": 1}
    status: int = guest.post_json(f"{API}/holds", body, expect_errors=True).status_int
    return status


def _variant(engine: Engine) -> UUID:
    with transaction(engine) as session:
        now = datetime.now(UTC)
        product = create_product(session, slug="thing", name="Thing", now=now, status="active")
        variant = add_variant(session, product, sku="T", price_amount=100)
        receive_stock(session, variant.id, 10, now=now, actor="test")
        return variant.id


# --- Processes ---


class Process:
    """A `commerce realtime`. It starts while the caller goes on, until `ready()`."""

    def __init__(self, config: Path) -> None:
        self.popen = subprocess.Popen(
            tied([sys.executable, "-m", "commerce_core.cli", "realtime", str(config)]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.port = 0
        self.said = ""

    def ready(self) -> Process:
        """The same, once it listens, or has said why it cannot."""
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.said += line
            if "Realtime ready" in line:
                self.port = int(line.rpartition("/app/")[0].rpartition(":")[2])
                break
        return self

    def end(self, number: int = signal.SIGKILL) -> int:
        self.popen.send_signal(number)
        code = self.popen.wait(PATIENCE)
        assert self.popen.stdout is not None
        self.popen.stdout.close()
        return code


@pytest.fixture
def configured(tmp_path: Path, database_url: str) -> Callable[..., Path]:
    """`configured(port=7000)`: an .ini file of a shop with realtime."""

    def write(**settings: Any) -> Path:
        lines = [
            "[app:main]",
            "use = egg:commerce-core",
            "commerce.environment = development",
            "commerce.plugins = realtime",
            "log.level = warning",
            f"sqlalchemy.url = {database_url.replace('%', '%%')}",
            f"realtime.secret = {SECRET}",
            *(f"realtime.{key} = {value}" for key, value in settings.items()),
        ]
        config = tmp_path / "shop.ini"
        config.write_text("\n".join(lines) + "\n")
        return config

    return write


def test_one_of_two_processes_is_killed_and_its_clients_go_on_with_the_other(
    configured: Callable[..., Path], database_url: str, engine: Engine, make_variant: MakeVariant
) -> None:
    variant_id = make_variant(stock=10)
    channel = f"inventory.variant.{variant_id}"
    port = free_port()
    config = configured(port=port, share_port="true", bus="test_killed", lease_seconds=2)
    processes = [Process(config), Process(config)]
    try:
        assert [process.ready().port for process in processes] == [port, port]
        with shop(database_url, "test_killed", engine) as guest, ExitStack() as stack:

            def connect(number: int) -> Client:
                watcher = stack.enter_context(Client(port)).established()
                watcher.subscribed(channel)
                watcher.join("presence-room", str(number))
                return watcher

            # The kernel deals connections out; so many that both have some.
            watchers = [connect(number) for number in range(24)]
            hold(guest, variant_id)
            assert [until_version(watcher, 2) for watcher in watchers] == [9] * 24
            processes[0].end()
            hold(guest, variant_id)
            left = set()
            for number, watcher in enumerate(watchers):
                try:
                    assert until_version(watcher, 3) == 8
                except ConnectionClosed:
                    left.add(number)
                    back = connect(100 + number)
                    assert until_version(back, 3) == 8
            assert 0 < len(left) < 24
            remaining = next(watcher for number, watcher in enumerate(watchers) if number not in left)
            gone: set[str] = set()
            while not gone >= {str(number) for number in left}:
                # Another process notices after the lease. On a busy machine it may have missed those who live, too.
                gone.add(remaining.next("pusher_internal:member_removed")["user_id"])
    finally:
        for process in processes:
            process.end()


def test_sigterm_sends_clients_away_to_come_back_and_a_taken_port_is_named(
    configured: Callable[..., Path],
) -> None:
    process = Process(configured(port=0)).ready()
    with Client(process.port) as ours:
        ours.established()
        second = Process(configured(port=process.port)).ready()
        assert f"Cannot listen on 127.0.0.1:{process.port}" in second.said
        assert "Traceback" not in second.said
        assert second.end() == 1
        process.popen.send_signal(signal.SIGTERM)
        assert ours.closed() == 4200
    assert process.end(0) == 0


def test_commerce_serve_runs_it_too(tmp_path: Path) -> None:
    (tmp_path / "development.ini").write_text(
        "[app:main]\nuse = egg:commerce-core\ncommerce.environment = development\ncommerce.plugins = realtime\n"
        f"sqlalchemy.url = embedded:///%(here)s/var/postgres\nrealtime.secret = {SECRET}\nrealtime.port = 0\n"
    )
    with folder_for_postgres() as data:
        arguments = ["serve", "development.ini", "--port", "0", "--no-demo", "--data-dir", str(data)]
        serve = subprocess.Popen(
            [sys.executable, "-m", "commerce_core.cli", *arguments],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert serve.stdout is not None
        port, is_ready = 0, False
        for line in serve.stdout:
            if "Realtime ready" in line:
                port = int(line.rpartition("/app/")[0].rpartition(":")[2])
            is_ready = is_ready or "Shop ready" in line
            if port and is_ready:
                break
        with Client(port) as ours:
            ours.established()
            ours.subscribed("inventory")
            assert ours.next(SNAPSHOT) == {"levels": [], "complete": True}
            serve.send_signal(signal.SIGTERM)
            assert ours.closed() == 4200
        assert serve.wait(PATIENCE * 3) == 0
        serve.stdout.close()
