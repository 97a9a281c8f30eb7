"""The WSGI application for a server that takes a factory: `commerce_core.wsgi:application`.

The .ini file's path comes from COMMERCE_CONFIG, because a server's worker process gets no arguments.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from typing import Any

import plaster

from commerce_core.child_process import end_with_parent

CONFIG_VARIABLE = "COMMERCE_CONFIG"


def application() -> Any:
    """Build the application that COMMERCE_CONFIG describes."""
    server = multiprocessing.parent_process()
    if server is not None and server.pid is not None:
        # A worker ends when its server dies, and finishes its requests first: none may keep the port.
        end_with_parent(server.pid, signal.SIGTERM)
    return plaster.get_loader(os.environ[CONFIG_VARIABLE], protocols=["wsgi"]).get_wsgi_app("main")
