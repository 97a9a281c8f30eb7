"""Servers of several processes: whichever is asked tells of all of them, of those that were killed, too."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from support.metrics import Reading
from support.processes import COMMERCE, PATIENT, Process, Web, free_port, wait_until

from commerce_core.application import close, make_configurator
from commerce_core.metrics.processes import counting_together, forget_the_dead, shared_folder
from commerce_core.testing import make_settings
from tests.jobs.program import effect


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "shop.ini"
    lines = [f"{key} = {value}" for key, value in {**PATIENT, "metrics.allowed": "127.0.0.1"}.items()]
    path.write_text("\n".join(["[app:main]", "use = egg:commerce-core", *lines, ""]))
    return path


@pytest.fixture
def environment(tmp_path: Path, database_url: str) -> dict[str, str]:
    """With a folder of its own for what is temporary."""
    (tmp_path / "temporary").mkdir()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COMMERCE_")}
    return inherited | {
        "COMMERCE_SQLALCHEMY__URL": database_url,
        "TMPDIR": str(tmp_path / "temporary"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }


# What Prometheus sends.
ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"


def read(port: int) -> Reading:
    request = Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": ACCEPT})
    with urlopen(request, timeout=120) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        return Reading(answer.read().decode(), openmetrics=True)


def get(port: int, path: str) -> None:
    """On a connection of its own, which the kernel gives to either worker."""
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=120) as answer:
        answer.read()


def test_a_web_server_tells_of_all_its_workers(
    config: Path, environment: dict[str, str], engine: Engine, tmp_path: Path
) -> None:
    web = Web(config, COMMERCE, environment, tmp_path / "web.log")
    try:
        web.wait_until_ready()
        wait_until(lambda: read(web.port)("commerce_database_pool_size", pool="requests") == 12)
        for _ in range(40):
            get(web.port, "/healthz")
        for _ in range(5):  # whoever answers
            assert read(web.port)("commerce_http_requests_total", route="/healthz", status="2xx") == 40
    finally:
        web.stop()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_worker_tells_of_all_its_processes_also_of_those_it_has_replaced(
    config: Path, environment: dict[str, str], engine: Engine, database_url: str, tmp_path: Path
) -> None:
    shop = make_configurator(make_settings(database_url))
    shop.include("tests.jobs.program")
    shop.commit()
    port = free_port()
    config.write_text(config.read_text() + "jobs.max_jobs = 3\n")
    options = ["worker", str(config), "--metrics-port", str(port)]
    worker = Process(["-m", "tests.jobs.program", *options], environment, tmp_path / "worker.log")
    try:
        with Session(shop.registry.engine) as session, session.begin():
            session.connection().exec_driver_sql("CREATE TABLE IF NOT EXISTS effect (number int, attempt int, pid int)")
            for number in range(8):
                effect.enqueue(session, now=shop.registry.clock.now(), number=number)

        def done() -> float:
            try:
                return read(port)("commerce_job_runs_total", queue="default", name="test.effect", outcome="done")
            except OSError:
                assert worker.popen.poll() is None, worker.output
                return 0.0

        wait_until(lambda: done() == 8)
        assert read(port)("commerce_job_wait_seconds_count", queue="default") >= 8
        second = subprocess.run([sys.executable, *COMMERCE, *options], env=environment, capture_output=True, text=True)
        assert second.returncode == 1
        assert f"Cannot show metrics on 127.0.0.1:{port}" in second.stderr
    finally:
        worker.stop()
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE IF EXISTS effect")
        close(shop.registry)
    assert list((tmp_path / "temporary").iterdir()) == []


PROGRAM = """
import sys
from commerce_core.metrics import Metrics
metrics = Metrics()
counted = metrics.counter("counted_total", "Counted.")
open_now = metrics.gauge("open", "Open.")
counted.inc(); open_now.inc()
print(metrics.text()[1].decode() + "---", flush=True)
sys.stdin.read()
"""


def test_whoever_takes_the_place_of_the_dead_counts_on_and_holds_nothing_of_theirs_open() -> None:
    with counting_together() as folder:
        assert folder is not None
        for number in range(1, 4):
            with subprocess.Popen(
                [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as process:
                assert process.stdout is not None
                reading = Reading("".join(iter(process.stdout.readline, "---\n")))
                process.kill()
            assert (reading("counted_total"), reading("open")) == (number, 1)
        assert len(list(folder.glob("*.lock"))) == 1
        forget_the_dead(folder)
        assert list(folder.glob("gauge_*")) == []
    assert not folder.exists()


def test_what_a_killed_server_has_left_behind_is_removed_and_what_is_in_use_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / "commerce-metrics-left"
    left.mkdir()
    (left / "owner").touch()
    os.utime(left / "owner", (0, 0))
    with counting_together() as used:
        assert used is not None
        os.utime(used / "owner", (0, 0))
        assert list(tmp_path.iterdir()) == [used]
        with counting_together() as other:
            assert {*tmp_path.iterdir()} == {used, other}


def test_a_server_that_may_write_nowhere_serves_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with counting_together() as folder:
        assert (folder, shared_folder()) == (None, None)
