"""A WSGI server of threads on 127.0.0.1, which lets the application cut a connection."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from commerce_stripe_payments.testing.app import CONNECTION


class _Handler(WSGIRequestHandler):
    def get_environ(self) -> dict[str, Any]:
        return {**super().get_environ(), CONNECTION: self.connection}

    def log_message(self, *_: Any) -> None:
        pass


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """Serves from `start` to `stop`. Port 0 takes a free one."""

    # Nobody may be left behind: `stop` waits for those who are still being answered.
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, application: Callable[..., Any], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.set_app(application)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), name="fake-stripe")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def server_bind(self) -> None:
        # Not WSGIServer's: that asks the network for the machine's name.
        socketserver.TCPServer.server_bind(self)
        self.server_name = "127.0.0.1"
        self.server_port = self.server_address[1]
        self.setup_environ()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is none of our business."""
