"""HTTP on the port of the WebSockets: the API for servers, health, metrics. Parsed by h11, answered by `api`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import h11
import orjson
import structlog

if TYPE_CHECKING:
    from commerce_realtime.server import Server

_log = structlog.get_logger("commerce.realtime")
# Ten events of 10 kB, written as JSON within JSON.
LONGEST_BODY = 400_000


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request that has come in as a whole. `query` is as it was sent, with repetitions."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes
    peer: str

    def parameter(self, name: str) -> str | None:
        """The first value of a parameter of the query."""
        return next((value for given, value in self.query if given.lower() == name), None)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What is answered; a body that is no bytes is written as JSON."""

    status: int = 200
    body: object = field(default_factory=dict)
    media_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else orjson.dumps(self.body)


class Refused(Exception):
    """An answer that is an error: a status and a text, in the form that server libraries show."""

    def __init__(self, status: int, text: str) -> None:
        self.answer = HttpAnswer(status, text.encode() + b"\n", "text/plain; charset=utf-8")
        super().__init__(text)


class Exchange:
    """One connection's requests, one after the other.

    Nothing more is read while one is answered, or while its client does not read: so nothing piles up.
    """

    def __init__(self, server: Server, transport: asyncio.Transport) -> None:
        self._server = server
        self._transport = transport
        self._peer = (transport.get_extra_info("peername") or ("",))[0]
        self._protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=8_192)
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._is_full = False
        # When the first byte of a request came that is not whole yet.
        self.begun_at: float | None = None

    @property
    def is_idle(self) -> bool:
        return self._task is None

    def feed(self, data: bytes) -> None:
        """Take in what has come, and answer what is complete."""
        if self.begun_at is None and self.is_idle:
            self.begun_at = self._server.now()
        self._protocol.receive_data(data)
        self._take_in()

    def pause(self) -> None:
        """The client does not read."""
        self._is_full = True
        self._read_on_if_idle()

    def resume(self) -> None:
        """It reads again."""
        self._is_full = False
        self._take_in()

    def _read_on_if_idle(self) -> None:
        if self._transport.is_closing():
            return
        if self._task is None and not self._is_full:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _take_in(self) -> None:
        try:
            self._go_on()
        except h11.RemoteProtocolError as error:
            self._send_last(HttpAnswer(error.error_status_hint, b"This is no HTTP.\n", "text/plain"))
        except Refused as refusal:
            self._send_last(refusal.answer)
        self._read_on_if_idle()

    def lost(self) -> None:
        """The other side has gone."""
        if self._task is not None:
            self._task.cancel()

    def _go_on(self) -> None:
        while self._task is None and not self._is_full:
            event = self._protocol.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return
            if isinstance(event, h11.Request):
                self._request, self._body = event, bytearray()
                if self._protocol.they_are_waiting_for_100_continue:
                    self._write(h11.InformationalResponse(status_code=100, headers=[]))
            elif isinstance(event, h11.Data):
                if not self._body:
                    self._server.api.signed_for(self._whole())  # or it is not taken in at all
                self._body += event.data
                if len(self._body) > LONGEST_BODY:
                    self._send_last(HttpAnswer(413, b"The body is too large.\n", "text/plain"))
                    return
            elif isinstance(event, h11.EndOfMessage):
                self.begun_at = None
                self._task = asyncio.ensure_future(self._answer())
            elif isinstance(event, h11.ConnectionClosed):
                self._transport.close()
                return

    def _whole(self) -> HttpRequest:
        """The request, with as much of its body as has come."""
        assert self._request is not None
        target = self._request.target.decode("ascii", "replace")
        path, _, query = target.partition("?")
        return HttpRequest(
            self._request.method.decode("ascii", "replace").upper(),
            path,
            parse_qsl(query, keep_blank_values=True),
            {name.decode().lower(): value.decode("latin-1") for name, value in self._request.headers},
            bytes(self._body),
            self._peer,
        )

    async def _answer(self) -> None:
        request = self._whole()
        try:
            answer = await self._server.api.answer(request)
        except Refused as refusal:
            answer = refusal.answer
        except Exception as error:
            _log.error("realtime failed on a request", path=request.path, exc_info=error)
            answer = HttpAnswer(500, b"Something went wrong.\n", "text/plain")
        self._task = None
        self._send(answer)
        if self._protocol.our_state is h11.MUST_CLOSE or self._server.is_draining:
            self._transport.close()
        else:
            self._protocol.start_next_cycle()
            if self._protocol.trailing_data[0]:
                self.begun_at = self._server.now()
            self._take_in()

    def _send(self, answer: HttpAnswer) -> None:
        content = answer.content
        headers = [("Content-Type", answer.media_type), ("Content-Length", str(len(content))), *answer.headers]
        if self._server.is_draining:
            headers.append(("Connection", "close"))
        self._write(h11.Response(status_code=answer.status, headers=headers, reason=_reason(answer.status)))
        is_head = self._request is not None and self._request.method == b"HEAD"
        self._write(h11.Data(data=b"" if is_head else content))
        self._write(h11.EndOfMessage())

    def _send_last(self, answer: HttpAnswer) -> None:
        if self._protocol.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._send(answer)
        self._transport.close()

    def _write(self, event: h11.Event) -> None:
        data = self._protocol.send(event)
        if data:
            self._transport.write(data)


def plain_answer(status: int, text: str, *, retry_after: int | None = None) -> bytes:
    """A whole answer, after which the connection is closed."""
    body = f"{text}\n".encode()
    lines = [
        f"HTTP/1.1 {status} {_reason(status).decode()}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    if retry_after is not None:
        lines.append(f"Retry-After: {retry_after}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _reason(status: int) -> bytes:
    return HTTPStatus(status).phrase.encode()
