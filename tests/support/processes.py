"""The shop as it runs in production: several `commerce web` with several workers each, and a `commerce worker`."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
from sqlalchemy import Engine, text

from commerce_core.child_process import tied
from commerce_core.testing import WEBHOOK_SECRET

# Generous, because the machine may be busy. What is waited for normally comes within a second or two.
PATIENCE_SECONDS = 120.0
COMMERCE = ("-m", "commerce_core.cli")
# A machine that is slow must not make the shop answer 503 while nothing is broken.
PATIENT = {
    "commerce.environment": "development",
    "payments.manual_webhook_secret": WEBHOOK_SECRET,
    "log.level": "warning",
    "limits.exempt": "127.0.0.0/8",
    "sqlalchemy.pool_timeout_seconds": 60,
    "sqlalchemy.statement_timeout_ms": 60_000,
    "sqlalchemy.lock_timeout_ms": 60_000,
    "stock.hot_wait_seconds": 60,
    "stock.statement_timeout_ms": 60_000,
    "stock.lock_timeout_ms": 60_000,
}


class Process:
    """One process of the shop, which can be killed and started again."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._arguments = arguments
        self._environment = environment
        self._log = log
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.popen = subprocess.Popen(
                tied([sys.executable, *self._arguments]),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()

    def stop(self) -> None:
        """Ask it to finish what it is at, and wait until it has."""
        self.popen.terminate()
        try:
            self.popen.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")


class Web(Process):
    """A `commerce web` on a port of its own."""

    def __init__(
        self,
        config: Path,
        program: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        workers: int = 2,
    ) -> None:
        self.port = free_port()
        options = ("--port", str(self.port), "--workers", str(workers))
        super().__init__([*program, "web", str(config), *options], environment, log)

    @property
    def workers(self) -> list[psutil.Process]:
        return [
            child for child in psutil.Process(self.popen.pid).children() if "resource_tracker" not in cmdline(child)
        ]

    def is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            assert self.popen.poll() is None, self.output
            return False
        finally:
            connection.close()

    def wait_until_ready(self) -> None:
        wait_until(self.is_ready)


class Shop:
    """Some web servers and a worker on one database."""

    def __init__(self, web: list[Web], worker: Process) -> None:
        self.web = web
        self.worker = worker

    @property
    def ports(self) -> list[int]:
        return [web.port for web in self.web]

    def ask(self, port: int, path: str) -> int:
        """The status that a server answers, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()

    @property
    def output(self) -> str:
        return "\n".join(process.output for process in (*self.web, self.worker))

    def stop(self) -> None:
        for process in (*self.web, self.worker):
            process.popen.terminate()
        for process in (*self.web, self.worker):
            process.stop()


@contextmanager
def running_shop(
    folder: Path,
    url: str,
    settings: Mapping[str, Any],
    program: Sequence[str] = COMMERCE,
    *,
    servers: int = 2,
    workers: int = 1,
) -> Iterator[Shop]:
    """The shop, ready to serve; stopped at the end, its requests finished. Each server has so many `workers`."""
    config = folder / "shop.ini"
    lines = [f"{key} = {value}" for key, value in {**PATIENT, **settings}.items()]
    config.write_text("\n".join(["[app:main]", "use = egg:commerce-core", *lines, ""]))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COMMERCE_")}
    environment = inherited | {"COMMERCE_SQLALCHEMY__URL": url}
    shop = Shop(
        [Web(config, program, environment, folder / f"web{number}.log", workers) for number in range(servers)],
        Process([*COMMERCE, "worker", str(config)], environment, folder / "worker.log"),
    )
    try:
        for web in shop.web:
            web.wait_until_ready()
        yield shop
    finally:
        shop.stop()


def wait_until(condition: Callable[[], object]) -> None:
    """Return as soon as `condition` holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def free_port() -> int:
    """One that nobody listens on, nor is given by the system until this process ends: what has it only keeps it."""
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # on Linux a server, which says the same, may have it
    keeper.bind(("127.0.0.1", 0))
    port = keeper.getsockname()[1]
    if sys.platform == "linux":
        _KEEPERS.append(keeper)
    else:
        keeper.close()
    return int(port)


_KEEPERS: list[socket.socket] = []


def cmdline(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def waiting_for_a_lock(engine: Engine) -> bool:
    """Whether somebody in the database is waiting for somebody else."""
    with engine.connect() as connection:
        return bool(connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))
