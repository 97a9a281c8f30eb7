"""One socket: from the first byte to the last, on the library's layer without I/O.

Own, because a protocol object without tasks and streams takes a third of the memory; because the HTTP API shares the
port; and because one frame is written to thousands of sockets as it is. What a message means is none of this file's.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Hashable
from typing import TYPE_CHECKING, cast

import structlog
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from commerce_realtime import wire
from commerce_realtime.exchange import Exchange, plain_answer
from commerce_realtime.outbox import Outbox
from commerce_realtime.wire import Code

if TYPE_CHECKING:
    from commerce_realtime.apps import App
    from commerce_realtime.hub import Channel
    from commerce_realtime.rates import Bucket
    from commerce_realtime.server import Server

LONGEST_HEAD = 8_192
# For the other side to take a close, and to close the socket.
CLOSE_SECONDS = 5.0
# Messages that wait for the answer to the one before, and fragments of a message.
MOST_WAITING = 200
MOST_FRAGMENTS = 100
# Answers to pings go out past the outbox: unsent bytes beyond the limit for it, after which a socket is cut.
MOST_UNSENT = 262_144
_log = structlog.get_logger("commerce.realtime")
_IS_UPGRADE = re.compile(rb"^upgrade:[^\r\n]*websocket", re.IGNORECASE | re.MULTILINE)
# The library would write a line for each connection.
_library_log = logging.getLogger("commerce.realtime.websockets")
_library_log.setLevel(logging.WARNING)


class Connection(asyncio.Protocol):
    """A socket. It is a WebSocket once `is_open`; what is sent then goes out as it is, or waits in the `outbox`."""

    __slots__ = (
        "_exchange",
        "_head",
        "_parts",
        "_ws",
        "app",
        "channels",
        "client_events",
        "counted",
        "heard_at",
        "is_open",
        "is_pinged",
        "leave_until",
        "outbox",
        "sends_pings",
        "server",
        "socket_id",
        "transport",
        "user_id",
        "waiting",
    )

    app: App
    socket_id: str
    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self.server = server
        self.is_open = False
        self.channels: dict[str, Channel] = {}
        self.user_id: str | None = None
        # When leave to listen to private channels has to be asked for anew; None while there was no need for any.
        self.leave_until: float | None = None
        self.outbox: Outbox | None = None
        # Messages that have come while one before them waits for something.
        self.waiting: deque[bytes] | None = None
        self.client_events: Bucket | None = None
        self.counted = 0
        self.heard_at = 0.0
        self.is_pinged = self.sends_pings = False
        self._head: bytes | None = b""
        self._ws: ServerProtocol | None = None
        self._exchange: Exchange | None = None
        self._parts: list[bytes] | None = None

    # --- What asyncio calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=self.server.settings.max_buffered_bytes)
        self.server.has_connected(self)

    def data_received(self, data: bytes) -> None:
        self.heard_at = self.server.now()
        self.is_pinged = False
        if self._ws is not None:
            self._ws.receive_data(data)
            self._take_in()
        elif self._exchange is not None:
            self._exchange.feed(data)
        elif self._head is not None:
            self._read_head(self._head + data)

    def eof_received(self) -> None:
        if self._ws is not None:
            self._ws.receive_eof()
            self._take_in()

    def pause_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.pause()
        if self.outbox is None and self.is_open:
            self.outbox = Outbox(self.server.now(), self.server.settings.max_waiting)
            self.server.slow.add(self)

    def resume_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.resume()
        outbox, self.outbox = self.outbox, None
        self.server.slow.discard(self)
        if outbox is None or not self.is_open:
            return
        self.server.meters.conflated(outbox.dropped)
        # It may be too much again, before all of it is out.
        for frame, key in outbox.take():
            self.send(frame, key)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave(1006)
        if self._exchange is not None:
            self._exchange.lost()
        self.server.has_gone(self)

    # --- What everybody calls ---

    def send(self, frame: bytes, key: Hashable | None = None) -> None:
        """Write a frame; of those that have one `key`, a client that does not read gets the newest only."""
        if self.outbox is None:
            self.transport.write(frame)
        elif self.is_open and not self.outbox.put(frame, key):
            self.close(Code.TOO_SLOW, "Too slow")

    def refuse(self, code: Code, text: str) -> None:
        """Say what is wrong, and close with the same code."""
        self.send(wire.error(code, text))
        self.close(code, text)

    def close(self, code: int, reason: str = "") -> None:
        """Close with a code; if the other side does not, the socket is cut soon."""
        if not self.is_open or self._ws is None:
            return
        self._leave(code)
        if self._ws.state is State.OPEN:  # or the client has closed it in the same breath, and has been answered
            self._ws.send_close(code, reason)
        self._flush()
        self.server.is_closing(self, CLOSE_SECONDS)

    def abort(self) -> None:
        """Cut the socket."""
        self._leave(1006)
        self.transport.abort()

    def ping(self) -> None:
        """Ask whether somebody is there, in the way that the client has shown to understand."""
        self.is_pinged = True
        self.send(wire.WEBSOCKET_PING if self.sends_pings else wire.PING, "ping")

    @property
    def waits_since(self) -> float | None:
        """Since when a connection for HTTP waits for its client to ask, or to have asked; None: it does not."""
        exchange = self._exchange
        if exchange is None or not exchange.is_idle:
            return None
        return self.heard_at if exchange.begun_at is None else exchange.begun_at

    # --- The opening ---

    def _read_head(self, head: bytes) -> None:
        self._head = head
        if b"\r\n\r\n" not in head and b"\n\n" not in head:
            if len(head) > LONGEST_HEAD:
                self._answer_plainly(431, "The request's head is too large.")
            return
        if len(head.partition(b"\r\n\r\n")[0]) > LONGEST_HEAD:
            self._answer_plainly(431, "The request's head is too large.")
        elif _IS_UPGRADE.search(head.partition(b"\r\n\r\n")[0]):
            # A client says nothing more until it is let in.
            self._head = None
            self.server.gate.ask(self, head)
        else:
            self._head = None
            self._exchange = Exchange(self.server, self.transport)
            self.server.is_http(self)
            self._exchange.feed(head)

    def _answer_plainly(self, status: int, text: str, *, retry_after: int | None = None) -> None:
        self._head = None
        self.transport.write(plain_answer(status, text, retry_after=retry_after))
        self.transport.close()

    def turn_away(self, seconds: int) -> None:
        """Answer an upgrade with 503: the client comes back later, and not at once."""
        self.server.meters.turned_away()
        self._answer_plainly(503, "There are too many connections.", retry_after=seconds)

    def open(self, head: bytes) -> None:
        """Shake hands, if the address is one of ours."""
        self._ws = ServerProtocol(max_size=self.server.settings.max_message_bytes, logger=_library_log)
        self._ws.receive_data(head)
        events = self._ws.events_received()
        if not events or not isinstance(events[0], Request):  # the library has answered it
            return self._flush()
        request = events[0]
        key = self.server.key_in(request.path.partition("?")[0])
        if key is None:
            self._ws.send_response(self._ws.reject(404, "There is nothing here.\n"))
            return self._flush()
        response: Response = self._ws.accept(request)
        self._ws.send_response(response)
        self._flush()
        if response.status_code == 101:
            self.is_open = True
            self.server.has_opened(self, key, request)
            self._take_in()
        return None

    # --- What comes in ---

    def _take_in(self) -> None:
        assert self._ws is not None
        for event in self._ws.events_received():
            if self.is_open and isinstance(event, Frame):
                self._take_in_frame(event)
        self._flush()
        if self.outbox is not None and self._unsent() > self.server.settings.max_buffered_bytes + MOST_UNSENT:
            self.abort()
        if self.is_open and self._ws.close_sent is not None:
            # The library has closed it: the client wanted to, or has broken the rules.
            self._leave(self._ws.close_sent.code)
            self.server.is_closing(self, CLOSE_SECONDS)
        if self.is_open and self._ws.parser_exc is not None:
            self._leave(1006)

    def _take_in_frame(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.PING, Opcode.PONG):
            self.sends_pings = self.sends_pings or frame.opcode is Opcode.PING
            self.server.dialogue.is_too_much(self)
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            data = bytes(frame.data)
            if frame.fin and self._parts is None:
                self._hear(data)
            else:
                self._parts = self._parts or []
                self._parts.append(data)
                if len(self._parts) > MOST_FRAGMENTS:
                    self.close(1009, "Too many fragments")
                elif frame.fin:
                    data, self._parts = b"".join(self._parts), None
                    self._hear(data)

    def _hear(self, data: bytes) -> None:
        if self.waiting is None:
            try:
                self.server.dialogue.hear(self, data)
            except Exception as error:
                _log.error("realtime failed on a message", exc_info=error)
                self.close(Code.COME_BACK, "Something went wrong")
        elif len(self.waiting) < MOST_WAITING:
            self.waiting.append(data)
        else:
            self.refuse(Code.TOO_MUCH, "Too many messages")

    def hear_what_waits(self) -> None:
        """Go on with the messages that have come while one waited for something."""
        waiting, self.waiting = self.waiting, None
        while waiting and self.is_open:
            if self.waiting is None:
                self._hear(waiting.popleft())
            else:  # the one before waits, too
                self.waiting.extendleft(reversed(waiting))
                return

    # --- What goes out ---

    def _flush(self) -> None:
        assert self._ws is not None
        for data in self._ws.data_to_send():
            if data:
                self.transport.write(data)
            else:
                self.transport.close()
                self.server.is_closing(self, CLOSE_SECONDS)

    def _unsent(self) -> int:
        return self.transport.get_write_buffer_size()

    def _leave(self, code: int) -> None:
        """It is no WebSocket any more: nobody is to send anything."""
        if self.is_open:
            self.is_open = False
            self.server.has_closed(self, code)
