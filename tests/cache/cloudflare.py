"""A Cloudflare of the tests' own: it remembers what was purged, knows its limits, and misbehaves when told to."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ZONE = "0123456789abcdef"
TOKEN = "a-token-for-tests-only"
MOST = 30


class FakeCloudflare(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.purged: list[tuple[str, list[str]]] = []
        self.calls = 0
        # What goes wrong with the next calls: `hang up`, `429`, `500`, `302`, `not json`.
        self.mischief: deque[str] = deque()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/client/v4"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class _Handler(BaseHTTPRequestHandler):
    server: FakeCloudflare

    def do_POST(self) -> None:
        server = self.server
        server.calls += 1
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        mischief = server.mischief.popleft() if server.mischief else None
        if mischief == "hang up":
            self.connection.close()
        elif mischief == "429":
            self._answer(429, {"success": False, "errors": []}, {"Retry-After": "90"})
        elif mischief == "500":
            self._answer(500, {})
        elif mischief == "302":
            self._answer(302, {}, {"Location": f"{server.url}/elsewhere"})
        elif mischief == "not json":
            self._answer(200, None)
        elif self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._answer(403, {"success": False, "errors": [{"code": 10000, "message": "Authentication error"}]})
        elif self.path != f"/client/v4/zones/{ZONE}/purge_cache":
            self._answer(404, {"success": False, "errors": [{"code": 7003, "message": "no such zone"}]})
        else:
            ((kind, things),) = body.items()
            if kind not in ("tags", "files") or not 1 <= len(things) <= MOST:
                self._answer(400, {"success": False, "errors": [{"code": 1094, "message": "too many"}]})
            else:
                server.purged.append((kind, things))
                self._answer(200, {"success": True, "errors": [], "result": {"id": ZONE}})

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        content = b"<html>" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def fake_cloudflare() -> Iterator[FakeCloudflare]:
    with FakeCloudflare() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
