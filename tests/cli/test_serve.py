"""`commerce serve` as a developer meets it: real processes, real signals, nothing left behind."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.served import DEADLINE_SECONDS, Shop, alive

INI = """
[app:main]
use = egg:commerce-core
commerce.environment = development
sqlalchemy.url = embedded:///%(here)s/var/postgres
log.requests = false
"""


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


def end_by(shop: Shop, signal_number: int, data: Path) -> None:
    """It says nothing of it, and leaves nothing but its data."""
    shop.remember_processes()
    shop.process.send_signal(signal_number)
    assert shop.process.wait(DEADLINE_SECONDS) == 0, shop.output
    shop.wait_until(shop.everything_ended)
    assert data.is_dir()
    assert not (data / "postmaster.pid").exists()
    assert "Traceback" not in shop.output


def test_serve_starts_everything_and_leaves_nothing_behind(folder: Path, run: Callable[..., Shop]) -> None:
    shop = run()
    shop.wait_for("Shop ready")
    assert shop.readyz() == 200
    assert {shop.child(name).is_running() for name in ("postgres", "web", "worker")} == {True}
    end_by(shop, signal.SIGINT, folder / "var" / "postgres" / "data")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_killed_children_come_back_and_a_killed_supervisor_leaves_no_orphans(run: Callable[..., Shop]) -> None:
    shop = run("--no-demo")
    shop.wait_for("Shop ready")

    [worker] = shop.child("web").children()
    worker.kill()
    shop.wait_until(lambda: shop.child("web").children() not in ([], [worker]) and shop.readyz() == 200)

    for name, told_as in (("postgres", "database"), ("worker", "worker"), ("web", "web")):
        shop.remember_processes()
        shop.child(name).kill()
        shop.wait_for(f"{told_as} was ended by SIGKILL; restarting in 0.5 s")
        shop.wait_for(f"{told_as} is running again")
    shop.wait_until(lambda: shop.readyz() == 200)

    shop.remember_processes()
    shop.process.kill()
    shop.wait_until(shop.everything_ended)


def test_reload_restarts_the_web_server_when_the_settings_change(folder: Path, run: Callable[..., Shop]) -> None:
    shop = run("--no-demo", "--reload", "--data-dir", "elsewhere")
    shop.wait_for("Shop ready")
    web = shop.child("web")
    (folder / "development.ini").write_text(INI + "stock.hold_seconds = 60\n")
    shop.wait_for("Source changed; restarting web")
    shop.wait_until(lambda: not alive(web) and shop.readyz() == 200)
    end_by(shop, signal.SIGTERM, folder / "elsewhere" / "postgres" / "data")


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
