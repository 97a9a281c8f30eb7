"""An integrator's server: it checks signatures, remembers what it has taken, and misbehaves when told to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

METADATA = "http://169.254.169.254/latest/meta-data/"


class Receiver(ThreadingHTTPServer):
    """`mischief` is what comes next: a status, `hang`, `drip`, `hang up`, `huge`, `redirect`, `retry later`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.secret = ""
        self.mischief: deque[str | int] = deque()
        # Every call, and of those the messages that were taken.
        self.calls: list[dict[str, str]] = []
        self.taken: list[dict[str, Any]] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks?shop=1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


def signed_by(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Whether one of the signatures is this secret's: written from the standard, not from the shop's code."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return expected in headers["webhook-signature"].split(" ")


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        server = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        mischief = server.mischief.popleft() if server.mischief else 200
        server.calls.append({**headers, "path": self.path})
        if mischief == "hang":
            server.released.wait(300)
        elif mischief == "drip":
            self.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
            while not server.released.wait(0.02):
                self.wfile.write(b"x")
        elif mischief == "hang up":
            self.connection.close()
        elif mischief == "redirect":
            self._answer(307, b"", {"Location": METADATA})
        elif mischief == "retry later":
            self._answer(503, b"", {"Retry-After": "7200"})
        elif isinstance(mischief, int) and mischief != 200:
            self._answer(mischief, b"no\x00thing")
        elif not signed_by(server.secret, headers, body):
            self._answer(401, b"wrong signature")
        else:
            message = json.loads(body)
            assert message["id"] == headers["webhook-id"]
            server.taken.append(message)
            self._answer(200, b"x" * 10_000_000 if mischief == "huge" else b"thanks")

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def running(certificate: Path | None = None) -> Iterator[Receiver]:
    """A receiver, behind TLS with a certificate and its key."""
    with Receiver() as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()
