"""The supervisor's table of children, with small real processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial

import pytest

from commerce_core.child_process import tied
from commerce_core.cli.supervisor import Child, Supervisor

STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor(grace_seconds=0.3)
    yield supervisor
    supervisor.stop()


def run_python(code: str, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    return subprocess.Popen(tied([sys.executable, "-c", code]), stdout=stdout)


def tend_until_dead(supervisor: Supervisor, child: Child) -> None:
    """Wait for the child's death, and have the supervisor notice. It was a quick one, however busy the machine is."""
    assert child.process is not None
    child.process.wait()
    child.started_at = time.monotonic()
    supervisor.tend()
    assert child.restart_at is not None


def test_dying_child_is_restarted_ever_more_slowly_and_said_so(
    supervisor: Supervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    child = Child("worker", partial(run_python, "raise SystemExit(3)"))
    supervisor.add(child)
    tend_until_dead(supervisor, child)
    assert "worker ended with exit code 3; restarting in 0.5 s" in capfd.readouterr().err
    child.restart_at = time.monotonic()
    supervisor.tend()
    assert "worker is running again" in capfd.readouterr().out
    tend_until_dead(supervisor, child)
    assert "worker ended with exit code 3; restarting in 1 s" in capfd.readouterr().err


def test_child_that_cannot_be_restarted_is_tried_again(
    supervisor: Supervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    def start() -> subprocess.Popen[bytes]:
        if child.deaths:
            raise OSError("no space left")
        return run_python("")

    child = Child("database", start)
    supervisor.add(child)
    tend_until_dead(supervisor, child)
    child.restart_at = time.monotonic()
    supervisor.tend()
    assert "database could not start: no space left; restarting in 1 s" in capfd.readouterr().err


def test_child_that_ignores_the_request_to_stop_is_killed(
    supervisor: Supervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    child = Child("web", partial(run_python, STUBBORN, stdout=subprocess.PIPE))
    supervisor.add(child)
    process = child.process
    assert process is not None
    assert process.stdout is not None
    with process.stdout as output:
        assert output.readline() == b"ready\n"
    supervisor.stop()
    assert process.returncode == -9
    assert "web did not stop within 0.3 s; killing it" in capfd.readouterr().err


def test_children_with_their_own_way_to_stop_are_stopped_last() -> None:
    supervisor = Supervisor()
    web = Child("web", partial(run_python, "import signal; signal.pause()"))
    web_ended_first: list[bool] = []
    database = Child(
        "database",
        partial(run_python, "import signal; signal.pause()"),
        lambda: web_ended_first.append(web.process is None),
    )
    supervisor.add(database)
    supervisor.add(web)
    process = database.process
    supervisor.stop()
    assert web_ended_first == [True]
    assert process is not None
    process.kill()
    process.wait()
