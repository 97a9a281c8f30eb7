"""The WSGI application for a server that takes a factory: `commerce_core.wsgi:application`.

The .ini file's path comes from COMMERCE_CONFIG, because a server's worker process gets no arguments.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import time
from typing import Any

import plaster
import structlog

from commerce_core.log import first_line

CONFIG_VARIABLE = "COMMERCE_CONFIG"
STOP_SECONDS = 15  # that a worker has to finish its requests
DATABASE_SECONDS = 60.0  # that a worker waits for the database when it starts
_LOOK_SECONDS = 0.25
_log = structlog.get_logger("commerce.web")


def application() -> Any:
    """Build the application that COMMERCE_CONFIG describes.

    Waits for a database that is away: the server gives up with all of its workers if one of them dies at its start.

    What has been made until then stays, so garbage is never looked for in it: every request would wait for 0.2 s.
    """
    gc.disable()
    try:
        return _application()
    finally:
        gc.freeze()
        gc.enable()


def _application() -> Any:
    from commerce_core.api.errors import is_unavailable  # the server's own process needs none of that

    server = multiprocessing.parent_process()
    if server is not None and server.pid is not None:
        # Until it listens, a worker has nothing to finish; and would have its server's way of hearing SIGTERM.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        threading.Thread(target=end_with_server, args=(server.pid, STOP_SECONDS), daemon=True).start()
    loader = plaster.get_loader(os.environ[CONFIG_VARIABLE], protocols=["wsgi"])
    deadline = time.monotonic() + DATABASE_SECONDS
    while True:
        try:
            return loader.get_wsgi_app("main")
        except Exception as error:
            if not is_unavailable(error) or time.monotonic() > deadline:
                raise
            _log.warning("the database is away; trying again", error=first_line(error))
        time.sleep(_LOOK_SECONDS)


def end_with_server(server_pid: int, patience: float) -> None:
    """Wait until the server has died; then let this worker finish its requests and end, so that none keeps the port.

    The kernel ends it after `patience` seconds: a thread could not, should the interpreter hang while it shuts down.
    """
    while os.getppid() == server_pid:
        time.sleep(_LOOK_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, patience)
    os.kill(os.getpid(), signal.SIGTERM)
