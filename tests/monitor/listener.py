"""A stand-in for Slack's incoming webhooks and PagerDuty's Events API: holds what it is sent against what they take."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ROUTING_KEY = "0123456789abcdef0123456789abcdef"


class Listener(ThreadingHTTPServer):
    """`fails` are statuses of the next answers. `wrong` is what it did not understand."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.slack: list[dict[str, Any]] = []
        self.pagerduty: list[dict[str, Any]] = []
        self.wrong: list[str] = []
        self.fails: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def heard(self, path: str, body: Any) -> None:
        if path == "/services/T0/B0/xyz":
            self.wrong += mistakes_for_slack(body)
            self.slack.append(body)
        elif path == "/v2/enqueue":
            self.wrong += mistakes_for_pagerduty(body)
            self.pagerduty.append(body)
        else:
            self.wrong.append(path)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Listener)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = server.fails.pop(0) if server.fails else 202 if self.path == "/v2/enqueue" else 200
        if status < 300:
            if self.headers["Content-Type"] != "application/json":
                server.wrong.append(f"content type {self.headers['Content-Type']}")
            server.heard(self.path, json.loads(body))
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


def mistakes_for_slack(body: dict[str, Any]) -> Iterator[str]:
    if not isinstance(body.get("text"), str) or not body["text"]:
        yield "slack: no text"
    for attachment in body.get("attachments", []):
        if not str(attachment["color"]).startswith("#"):
            yield f"slack: colour {attachment['color']}"
        for each in attachment["fields"]:
            if each.keys() != {"title", "value", "short"} or not all(
                isinstance(each[key], str) for key in ("title", "value")
            ):
                yield f"slack: field {each}"
    for character in ("<", ">"):
        if character in json.dumps(body):
            yield f"slack: {character} is not escaped"


def mistakes_for_pagerduty(body: dict[str, Any]) -> Iterator[str]:
    if body.get("routing_key") != ROUTING_KEY:
        yield "pagerduty: whose is it?"
    if body.get("event_action") not in ("trigger", "acknowledge", "resolve"):
        yield f"pagerduty: action {body.get('event_action')}"
    if not 0 < len(body.get("dedup_key", "")) <= 255:
        yield "pagerduty: dedup_key"
    if body["event_action"] == "trigger":
        payload = body["payload"]
        if not 0 < len(payload["summary"]) <= 1024 or not payload["source"]:
            yield "pagerduty: summary and source are required"
        if payload["severity"] not in ("critical", "error", "warning", "info"):
            yield f"pagerduty: severity {payload['severity']}"


@contextmanager
def listening() -> Iterator[Listener]:
    server = Listener()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
