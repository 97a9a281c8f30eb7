"""An HTTP client that keeps one connection open, as a shopper's browser does. HTTP/1.1, JSON, nothing more."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ANSWER_SECONDS = 120.0
# The server hangs up on who has said nothing for half a minute; a browser opens another connection before that.
IDLE_SECONDS = 20.0


_ONCE = {"Connection": "close"}


class BrokenConnection(Exception):
    """The server hung up, or is not there; whether the request had an effect is not known."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any


class Browser:
    """One connection to one port of this machine, opened anew when it broke; or one for each request."""

    def __init__(self, port: int, *, keep_alive: bool = True) -> None:
        self.port = port
        self.keep_alive = keep_alive
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._answered_at: float | None = None

    async def connect(self) -> None:
        if self._answered_at is not None and time.monotonic() > self._answered_at + IDLE_SECONDS:
            self.close()
        if self._streams is None:
            self._answered_at = None
            self._streams = await asyncio.open_connection("127.0.0.1", self.port)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def send(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """Raises BrokenConnection."""
        asked_at = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self.connect()
                assert self._streams is not None
                reader, writer = self._streams
                headers = headers or {}
                writer.write(_request(method, path, body, headers if self.keep_alive else {**headers, **_ONCE}))
                await writer.drain()
                asked_at = time.monotonic()
                answer = await self._read_answer(reader)
                self._answered_at = time.monotonic()
                return answer
        except (OSError, asyncio.IncompleteReadError) as error:
            idle = f"{asked_at - self._answered_at:.0f} s idle" if self._answered_at else "new"
            self.close()
            raise BrokenConnection(f"{method} {path}: {error!r}, on a connection that was {idle}") from error

    async def _read_answer(self, reader: asyncio.StreamReader) -> Answer:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection") == "close":
            self.close()
        try:
            return Answer(int(head[0].split()[1]), json.loads(body) if body else None)
        except ValueError:
            raise AssertionError(f"this is no answer of the shop's: {head} {body!r}") from None


def _request(method: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: shop", f"Content-Length: {len(body)}"]
    if body:
        lines.append("Content-Type: application/json")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
