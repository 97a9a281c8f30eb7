"""A web worker never outlives its server for long, whatever state it is in."""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil  # type: ignore[import-untyped]
import pytest

from commerce_core.child_process import tied

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
