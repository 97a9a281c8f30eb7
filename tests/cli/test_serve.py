"""`commerce serve` as a developer meets it: real processes, real signals, nothing left behind."""

from __future__ import annotations

import http.client
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

# Generous: a first start makes the database's files, the tables and the demo shop, on a busy machine.
DEADLINE_SECONDS = 90.0
INI = """
[app:main]
use = egg:commerce-core
commerce.environment = development
sqlalchemy.url = embedded:///%(here)s/var/postgres
log.requests = false
"""


class Shop:
    """A `commerce serve` in a folder of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.output_file = folder / "output"
        with self.output_file.open("wb") as output:
            self.process = psutil.Popen(
                [sys.executable, "-m", "commerce_core.cli", "serve", "development.ini", "--port", "0", *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.seen: set[psutil.Process] = {self.process}

    @property
    def output(self) -> str:
        return self.output_file.read_text()

    @property
    def port(self) -> int:
        found = re.search(r"Shop ready at http://127\.0\.0\.1:(\d+)", self.output)
        assert found
        return int(found[1])

    def wait_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"did not happen in time; the output was:\n{self.output}"
            time.sleep(0.05)

    def wait_for(self, text: str, times: int = 1) -> None:
        def said() -> bool:
            assert self.process.poll() is None or self.output.count(text) >= times, self.output
            return self.output.count(text) >= times

        self.wait_until(said)

    def readyz(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def child(self, name: str) -> psutil.Process:
        """The child that runs `commerce <name>`, or the database's server."""
        [found] = [child for child in self.process.children() if runs(child, name)]
        return found

    def remember_processes(self) -> None:
        self.seen.update(self.process.children(recursive=True))

    def everything_ended(self) -> bool:
        return not any(alive(process) for process in self.seen)

    def end(self) -> None:
        for process in self.seen:
            if alive(process):
                process.kill()
        self.process.wait()


def runs(process: psutil.Process, name: str) -> bool:
    return bool(process.name() == name or process.cmdline()[1:4] == ["-m", "commerce_core.cli", name])


def alive(process: psutil.Process) -> bool:
    """Zombies are not: an orphan's corpse waits for init, which may be slow."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="my shop ") as name:
        Path(name, "development.ini").write_text(INI)
        yield Path(name)


@pytest.fixture
def run(folder: Path) -> Iterator[Callable[..., Shop]]:
    """Start `commerce serve` with arguments, and see to its end whatever the test does."""
    shops: list[Shop] = []

    def start(*arguments: str) -> Shop:
        shops.append(Shop(folder, *arguments))
        return shops[-1]

    yield start
    for shop in shops:
        shop.end()


def fails(folder: Path, *arguments: str) -> str:
    """What `commerce serve` says before it gives up."""
    done = subprocess.run(
        [sys.executable, "-m", "commerce_core.cli", "serve", "development.ini", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode in {1, 2}
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("signal_number", "arguments"),
    [(signal.SIGINT, []), (signal.SIGTERM, ["--no-demo", "--data-dir", "elsewhere"])],
    ids=["ctrl-c", "sigterm"],
)
def test_serve_starts_everything_and_leaves_nothing_behind(
    folder: Path, run: Callable[..., Shop], signal_number: int, arguments: list[str]
) -> None:
    shop = run(*arguments)
    shop.wait_for("Shop ready")
    assert shop.readyz() == 200
    assert {shop.child(name).is_running() for name in ("postgres", "web", "scheduler")} == {True}
    shop.remember_processes()
    shop.process.send_signal(signal_number)
    assert shop.process.wait(DEADLINE_SECONDS) == 0, shop.output
    assert shop.everything_ended()
    data = folder / ("elsewhere" if arguments else "var") / "postgres" / "data"
    assert data.is_dir()
    assert not (data / "postmaster.pid").exists()
    assert "Traceback" not in shop.output


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_killed_children_come_back_and_a_killed_supervisor_leaves_no_orphans(run: Callable[..., Shop]) -> None:
    shop = run("--no-demo")
    shop.wait_for("Shop ready")

    [worker] = shop.child("web").children()
    worker.kill()
    shop.wait_until(lambda: shop.child("web").children() not in ([], [worker]) and shop.readyz() == 200)

    for name, told_as in (("postgres", "database"), ("scheduler", "scheduler"), ("web", "web")):
        shop.remember_processes()
        shop.child(name).kill()
        shop.wait_for(f"{told_as} was ended by SIGKILL; restarting in 0.5 s")
        shop.wait_for(f"{told_as} is running again")
    shop.wait_until(lambda: shop.readyz() == 200)

    shop.remember_processes()
    shop.process.kill()
    shop.wait_until(shop.everything_ended)


def test_reload_restarts_the_web_server_when_the_settings_change(folder: Path, run: Callable[..., Shop]) -> None:
    shop = run("--no-demo", "--reload")
    shop.wait_for("Shop ready")
    web = shop.child("web")
    (folder / "development.ini").write_text(INI + "stock.hold_seconds = 60\n")
    shop.wait_for("Source changed; restarting web")
    shop.wait_until(lambda: not alive(web) and shop.readyz() == 200)
    shop.remember_processes()


def test_busy_port_is_named_with_the_option_that_changes_it(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        said = fails(folder, "--port", str(port))
    assert f"127.0.0.1:{port}" in said
    assert "--port" in said
    assert not (folder / "var").exists()


def test_wrong_setting_is_told_without_a_traceback(folder: Path) -> None:
    (folder / "development.ini").write_text(INI + "stock.hold_second = 60\n")
    assert "stock.hold_second: unknown setting, did you mean stock.hold_seconds?" in fails(folder, "--port", "0")
