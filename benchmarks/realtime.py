"""Realtime: memory of a connection, and how soon a change of stock is with everybody, from the commit on.

The server is `commerce realtime`, the commits are real ones in this process, and the crowd is a process of its own. All
share the cores: what the server takes of the CPU for a message is steady, and the times are upper bounds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil  # type: ignore[import-untyped]
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from benchmarks.holds import PLENTY, new_variant
from benchmarks.plugins import _ask, _row
from benchmarks.realtime_crowd import run_bare, run_crowd
from commerce_core.application import close, make_application
from commerce_core.clock import Clock
from commerce_core.database import transaction
from commerce_core.events import EventBus, StockChanged, attach
from commerce_core.stock.service import receive_stock
from commerce_core.testing import make_settings

_SECRET = "a-secret-of-the-benchmarks"
_SPAWN = get_context("spawn")


def bench(console: Console, engine: Engine, url: str, config: Path, seconds: float) -> None:
    """Prints four tables: memory, delivery, crowds, and what a hold pays for it."""
    variants = [new_variant(engine, PLENTY) for _ in range(200)]
    bench = Bench(engine, url, config, seconds, variants)
    console.print(bench.memory())
    console.print(bench.delivery())
    console.print(bench.crowds())
    console.print(bench.holds())


class Server:
    """One or two `commerce realtime` on one port."""

    def __init__(self, config: Path, url: str, processes: int = 1, **settings: object) -> None:
        given = {"secret": _SECRET, "port": 0, "max_connections": 20_000, "share_port": True, **settings}
        self.processes: list[psutil.Popen] = []
        for _ in range(processes):
            environment = {
                **os.environ,
                "COMMERCE_SQLALCHEMY__URL": url,
                "COMMERCE_COMMERCE__PLUGINS": "realtime",
                "COMMERCE_LOG__LEVEL": "warning",
                **{f"COMMERCE_REALTIME__{key}": str(value) for key, value in given.items()},
            }
            command = [sys.executable, "-W", "ignore", "-m", "commerce_core.cli", "realtime", str(config)]
            process = psutil.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
            line = process.stdout.readline()
            given["port"] = self.port = int(line.rpartition("/app/")[0].rpartition(":")[2])
            self.processes.append(process)
        time.sleep(0.5)

    def cpu(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self.processes)

    def memory(self) -> int:
        return sum(process.memory_info().rss for process in self.processes)

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            process.stdout.close()


class Crowd:
    """Subscribers in a process of their own."""

    def __init__(self) -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=run_crowd, args=(theirs,), daemon=True)
        self._process.start()

    def connect(self, port: int, channels: Sequence[str], *, is_bare: bool = False, reads: bool = True) -> float:
        self._pipe.send(("connect", port, list(channels), {"is_bare": is_bare, "reads": reads}))
        seconds: float = self._pipe.recv()
        return seconds

    def begin(self) -> None:
        self._pipe.send(("receive",))

    def end(self, committed: dict[tuple[str, int], int] | None) -> list[float]:
        self._pipe.send(("latencies", committed))
        found: list[float] = self._pipe.recv()
        return found

    def leave(self) -> None:
        self._pipe.send(("leave",))
        self._pipe.recv()

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()


class Bench:
    def __init__(self, engine: Engine, url: str, config: Path, seconds: float, variants: list[UUID]) -> None:
        self._engine, self._url, self._config, self._seconds = engine, url, config, seconds
        self._variants = variants
        self._committed: dict[tuple[str, int], int] = {}

    def memory(self) -> Table:
        table = _table("An idle connection, subscribed to a variant", "event loop", "connections", "bytes each")
        for loop in ("uvloop", "asyncio"):
            with self._server(event_loop=loop) as (server, crowd):
                crowd.connect(server.port, self._channels(200, 200))  # what is made once
                before = server.memory()
                crowd.connect(server.port, self._channels(4_000, 200))
                table.add_row(loop, "4,000", f"{(server.memory() - before) / 4_000:,.0f}")
        return table

    def delivery(self) -> Table:
        table = _table(
            "From the commit to the subscriber", "what", "subscribers", "channels", "messages/s", "CPU µs/message",
            "p50 ms", "p99 ms",
        )  # fmt: skip
        for kind, what in (("library", "websockets' broadcast()"), ("frame", "a prepared frame, and nothing else")):
            self._bare(table, kind, what, 1_000, 10)
        self._deliver(table, "uvloop", 1_000, 1, 10)
        self._deliver(table, "asyncio", 1_000, 1, 10, event_loop="asyncio")
        self._deliver(table, "uvloop, two processes", 1_000, 1, 10, processes=2)
        self._deliver(table, "uvloop", 5_000, 1, 2)
        self._deliver(table, "uvloop, two processes", 5_000, 1, 2, processes=2)
        self._deliver(table, "uvloop", 5_000, 200, 20)
        self._deliver(table, "uvloop", 9_000, 1, 1)
        self._deliver(table, "uvloop", 9_000, 200, 20)
        self._deliver(table, "200 readers, every change told", 200, 1, 200, window_ms=0)
        self._deliver(table, "the same beside 200 that never read", 200, 1, 200, window_ms=0, idle=200)
        return table

    def crowds(self) -> Table:
        table = _table("4,000 clients at once", "what", "seconds until all have their snapshot", "CPU µs/client")
        with self._server() as (server, crowd):
            channels = self._channels(4_000, 200)
            for what in ("first", "again"):
                cpu = server.cpu()
                seconds = crowd.connect(server.port, channels)
                table.add_row(what, f"{seconds:.2f}", f"{(server.cpu() - cpu) / 4_000 * 1e6:.0f}")
                crowd.leave()
                time.sleep(1.0)
        return table

    def holds(self) -> Table:
        """Two shops in one process, asked in turn: one tells of its holds."""
        table = _table("A hold", "what", "ms without", "ms with", "added", "CPU µs without", "CPU µs with", "added ")
        settings = {"commerce.plugins": "realtime", "realtime.secret": _SECRET}
        shops = [make_application(make_settings(self._url, given)) for given in ({}, settings)]
        try:
            names = [str(variant) for variant in self._variants[:50]]

            def hold(shop: Any, turn: int) -> tuple[float, float]:
                return _ask(shop, "/api/v1/holds", {"variant_id": names[turn % 50], "quantity": 1})[:2]

            _row(table, "hold, without and with realtime", shops, self._seconds, hold)
        finally:
            for shop in shops:
                close(shop.registry)
        return table

    # --- Below ---

    def _channels(self, subscribers: int, variants: int) -> list[str]:
        return [f"inventory.variant.{self._variants[number % variants]}" for number in range(subscribers)]

    @contextmanager
    def _server(self, **settings: Any) -> Iterator[tuple[Server, Crowd]]:
        with ExitStack() as stack:
            server = Server(self._config, self._url, **settings)
            stack.callback(server.stop)
            crowd = Crowd()
            stack.callback(crowd.stop)
            yield server, crowd

    def _deliver(
        self,
        table: Table,
        what: str,
        subscribers: int,
        channels: int,
        changes: float,
        *,
        idle: int = 0,
        **settings: Any,
    ) -> None:
        with self._server(**settings) as (server, crowd):
            if idle:
                crowd.connect(server.port, self._channels(idle, channels), reads=False)
                self._commit(channels, 1_000)  # more than their sockets take
            crowd.connect(server.port, self._channels(subscribers, channels))
            crowd.begin()
            cpu = server.cpu()
            taken = self._commit(channels, changes)
            cpu = server.cpu() - cpu
            found = crowd.end(self._committed)
        _deliver_row(table, what, subscribers, channels, found, taken, cpu)

    def _commit(self, channels: int, changes: float) -> float:
        """Change stock so many times a second, with a shop's publisher listening; for how long."""
        from commerce_realtime.lines import Exchange
        from commerce_realtime.publisher import Publisher

        bus, clock = EventBus(), Clock()
        self._committed.clear()

        def note(event: StockChanged) -> None:
            self._committed[str(event.variant_id), event.version] = time.time_ns()

        publisher = Publisher(Exchange("commerce_realtime", self._url, None), self._engine, clock, 0.0)
        bus.subscribe(StockChanged, note)
        bus.subscribe(StockChanged, publisher.stock_changed)
        attach(self._engine, bus)
        started = time.monotonic()
        try:
            for number in range(min(1_000, int(self._seconds * changes))):
                time.sleep(max(0.0, started + number / changes - time.monotonic()))
                with transaction(self._engine) as session:
                    receive_stock(
                        session, self._variants[number * 7 % channels], 1, now=clock.now(), actor="bench", reason=None
                    )
            time.sleep(0.5)
        finally:
            attach(self._engine, None)
            publisher.close()
        return time.monotonic() - started - 0.5

    def _bare(self, table: Table, kind: str, what: str, subscribers: int, times_a_second: float) -> None:
        pipe, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=run_bare, args=(theirs, kind, times_a_second), daemon=True)
        process.start()
        crowd = Crowd()
        try:
            crowd.connect(pipe.recv(), [""] * subscribers, is_bare=True)
            crowd.begin()
            watched = psutil.Process(process.pid)
            cpu = sum(watched.cpu_times()[:2])
            time.sleep(self._seconds)
            cpu = sum(watched.cpu_times()[:2]) - cpu
            _deliver_row(table, what, subscribers, 1, crowd.end(None), self._seconds, cpu)
        finally:
            crowd.stop()
            process.kill()
            process.join()
            pipe.close()


def _deliver_row(
    table: Table, what: str, subscribers: int, channels: int, found: list[float], seconds: float, cpu: float
) -> None:
    if not found:
        table.add_row(what, f"{subscribers:,}", str(channels), "0")
        return
    p50, p99 = (found[int(len(found) * part)] for part in (0.5, 0.99))
    table.add_row(
        what, f"{subscribers:,}", str(channels), f"{len(found) / seconds:,.0f}", f"{cpu / len(found) * 1e6:.1f}",
        f"{p50:.1f}", f"{p99:.1f}",
    )  # fmt: skip


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table
