"""A web worker waits for its database when it starts, and never outlives its server for long."""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from commerce_core import wsgi
from commerce_core.child_process import tied
from commerce_core.migrations import MigrationsPending

# A server and its worker: a process, and its fork.
PROGRAM = """
import ctypes, multiprocessing, os, signal, threading
from commerce_core.wsgi import end_with_server

def finish(*_):
    os._exit(0)

def hang(*_):
    ctypes.PyDLL(None).sleep(600)  # and keeps the interpreter's lock

def work():
    signal.signal(signal.SIGTERM, {handler})
    server = multiprocessing.parent_process().pid
    threading.Thread(target=end_with_server, args=(server, {patience}), daemon=True).start()
    print(os.getpid(), flush=True)
    while True:
        signal.pause()

multiprocessing.get_context("fork").Process(target=work).start()
signal.pause()
"""


@pytest.mark.parametrize(
    ("handler", "patience"),
    [
        pytest.param("finish", 600, id="asked to, it ends"),
        pytest.param("hang", 0.5, id="it hangs, and is ended"),
        pytest.param("signal.SIG_IGN", 0.5, id="it does not listen, and is ended"),
    ],
)
def test_a_worker_ends_after_its_server(handler: str, patience: float) -> None:
    program = PROGRAM.format(handler=handler, patience=patience)
    with subprocess.Popen(tied([sys.executable, "-c", program]), stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        worker = psutil.Process(int(server.stdout.readline()))
        server.send_signal(signal.SIGKILL)
        gone, _ = psutil.wait_procs([worker], timeout=60)
    assert gone == [worker]


class Loader:
    """Of a shop whose database is away for a few attempts."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def get_wsgi_app(self, _name: str) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "the application"


AWAY = OperationalError("SELECT 1", {}, psycopg.OperationalError("connection refused"))


def test_a_worker_that_starts_waits_for_a_database_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(wsgi.CONFIG_VARIABLE, "shop.ini")
    monkeypatch.setattr(wsgi, "_LOOK_SECONDS", 0)
    loader = Loader(AWAY, AWAY)
    monkeypatch.setattr("plaster.get_loader", lambda *_, **__: loader)
    assert wsgi.application() == "the application"

    loader = Loader(AWAY)
    monkeypatch.setattr(wsgi, "DATABASE_SECONDS", -1)
    with pytest.raises(OperationalError):
        wsgi.application()


def test_what_waiting_does_not_mend_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(wsgi.CONFIG_VARIABLE, "shop.ini")
    loader = Loader(MigrationsPending("run commerce db upgrade"))
    monkeypatch.setattr("plaster.get_loader", lambda *_, **__: loader)
    with pytest.raises(MigrationsPending):
        wsgi.application()
