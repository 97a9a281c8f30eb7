"""The port on which a worker shows its metrics: there is no web server in it, and its processes are several."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from commerce_core.api.metrics import may_read
from commerce_core.api.proxies import read_address
from commerce_core.metrics import Metrics
from commerce_core.settings import MetricsSettings


class MetricsServer(ThreadingHTTPServer):
    """Listens from the start, so that it is known at once if the port is taken; answers in the process that serves."""

    daemon_threads = True
    metrics: Metrics
    settings: MetricsSettings

    def __init__(self, host: str, port: int) -> None:
        """Raises OSError."""
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def serve(self, registry: Any) -> None:
        """Answer from now on, in a thread, with the metrics of this application and its siblings."""
        self.metrics, self.settings = registry.metrics, registry.settings_object.metrics
        threading.Thread(target=self.serve_forever, name="metrics", daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    timeout = 10
    server_version, sys_version = "commerce", ""

    def do_GET(self) -> None:
        peer = self.client_address[0]
        proxied = self.headers.get("X-Forwarded-For") is not None
        address = None if proxied else read_address(peer) or peer
        if self.path.partition("?")[0] != "/metrics":
            return self._answer(404, "text/plain", b"See /metrics.\n")
        if not may_read(self.server.settings, address, self.headers.get("Authorization", "")):
            return self._answer(403, "text/plain", b"See metrics.allowed and metrics.token in the settings.\n")
        return self._answer(200, *self.server.metrics.text(self.headers.get("Accept", "")))

    def _answer(self, status: int, media_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """A line for every reading is of use to nobody."""
