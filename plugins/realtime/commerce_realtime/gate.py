"""Letting a crowd in at a pace, so that those who are in are served meanwhile.

When a server restarts, browsers come back all together. Up to the pace nobody waits; then they wait their turn, with
the handshake open; and who would wait for too long is turned away and comes back by itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from commerce_realtime.rates import Bucket

if TYPE_CHECKING:
    from commerce_realtime.connection import Connection
    from commerce_realtime.server import Server

# Handshakes between two looks at everything else: a few milliseconds.
AT_ONCE = 20
# Part of a second's handshakes that may come at once.
_BURST = 0.1
_COME_BACK_SECONDS = 5


class Gate:
    """Opens connections in the order in which they ask."""

    def __init__(self, server: Server) -> None:
        settings = server.settings
        self._server = server
        self._rate = settings.handshakes_per_second
        self._patience = settings.handshake_wait_seconds
        self._bucket = Bucket(self._rate, max(1.0, self._rate * _BURST), server.now())
        self._queue: deque[tuple[float, Connection, bytes]] = deque()
        self._timer: asyncio.Handle | None = None

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def ask(self, connection: Connection, head: bytes) -> None:
        """Open it, now or soon; or turn it away."""
        server = self._server
        if server.is_draining or len(server.connections) + len(self._queue) >= server.settings.max_connections:
            connection.turn_away(_COME_BACK_SECONDS)
        elif not self._rate or (not self._queue and self._bucket.available(server.now()) >= 1):
            self._bucket.take(server.now())
            connection.open(head)
        elif len(self._queue) >= self._rate * self._patience:
            connection.turn_away(_COME_BACK_SECONDS)
        else:
            self._queue.append((server.now(), connection, head))
            self._wait()

    def _wait(self) -> None:
        if self._timer is None and self._queue:
            missing = 1 - self._bucket.available(self._server.now())
            seconds = max(0.0, missing / self._rate)
            self._timer = self._server.loop.call_later(seconds, self._let_in)

    def _let_in(self) -> None:
        self._timer = None
        now = self._server.now()
        for _ in range(min(AT_ONCE, len(self._queue), max(1, int(self._bucket.available(now))))):
            since, connection, head = self._queue.popleft()
            if connection.transport.is_closing():
                continue
            # The server has begun to drain meanwhile, or the loop was busy with something else.
            if self._server.is_draining or now - since > self._patience * 2:
                connection.turn_away(_COME_BACK_SECONDS)
                continue
            self._bucket.take(now)
            connection.open(head)
        self._wait()
