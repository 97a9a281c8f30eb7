"""The WSGI application for a server that takes a factory: `commerce_core.wsgi:application`.

The .ini file's path comes from COMMERCE_CONFIG, because a server's worker process gets no arguments.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from typing import Any

import plaster

from commerce_core.child_process import end_with_parent

CONFIG_VARIABLE = "COMMERCE_CONFIG"
STOP_SECONDS = 15  # that a worker has to finish its requests


def application() -> Any:
    """Build the application that COMMERCE_CONFIG describes."""
    server = multiprocessing.parent_process()
    if server is not None and server.pid is not None:
        # A worker ends when its server dies, and finishes its requests first: none may keep the port.
        end_with_parent(server.pid, signal.SIGTERM)
        threading.Thread(target=_end_after, args=(server.pid,), daemon=True).start()
    return plaster.get_loader(os.environ[CONFIG_VARIABLE], protocols=["wsgi"]).get_wsgi_app("main")


def _end_after(server_pid: int) -> None:
    """A worker that does not come to its end is ended by its server; and where that has died, by this thread."""
    while os.getppid() == server_pid:
        time.sleep(1)
    time.sleep(STOP_SECONDS)
    os._exit(1)
