"""A crowd of subscribers in one process, one epoll loop; and two bare servers, which show what sockets alone cost."""

from __future__ import annotations

import asyncio
import re
import select
import socket
import struct
import time
from multiprocessing.connection import Connection
from typing import Any

_HEAD = (
    b"GET /app/shop?protocol=7&client=bench&version=1 HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
# The kernel's time of arrival.
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")
_VERSION = re.compile(rb'event":"inventory\.updated".*?version\\":(\d+)', re.DOTALL)
_SENT_AT = re.compile(rb'"ns":(\d+)')


class Crowd:
    """Sockets that are subscribed to a channel each. Nothing is parsed while it is measured."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._sockets: dict[int, tuple[socket.socket, str]] = {}
        self._received: list[tuple[int, int, bytes]] = []

    def connect(self, port: int, channels: list[str], *, is_bare: bool, reads: bool) -> float:
        """Connect and subscribe, all at once; seconds until the last one has what it begins with."""
        started = time.monotonic()
        waiting: dict[int, tuple[socket.socket, str, bytearray, int]] = {}
        for channel in channels:
            each = socket.socket()
            each.setblocking(False)
            each.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            if not reads:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            each.connect_ex(("127.0.0.1", port))
            waiting[each.fileno()] = each, channel, bytearray(), 0
            self._poll.register(each, select.EPOLLOUT)
        while waiting:
            for number, _ in self._poll.poll(10):
                if number not in waiting:  # it has all it begins with, and something more
                    self._sockets[number][0].recv(65_536)
                    continue
                each, channel, data, step = waiting[number]
                if step == 0:
                    each.send(_HEAD)
                    self._poll.modify(each, select.EPOLLIN)
                    waiting[number] = each, channel, data, 1
                    continue
                data += each.recv(65_536)
                wanted = b"\r\n\r\n" if is_bare else (b"", b"connection_established", b"inventory.snapshot")[step]
                if wanted not in data:
                    continue
                if step == 1 and not is_bare:
                    each.send(_text(b'{"event":"pusher:subscribe","data":{"channel":"%s"}}' % channel.encode()))
                    waiting[number] = each, channel, data, 2
                    continue
                del waiting[number]
                self._sockets[number] = each, channel
                if not reads:
                    self._poll.unregister(each)
        return time.monotonic() - started

    def receive(self, pipe: Connection) -> None:
        """Take in whatever comes, until something is said through the pipe."""
        self._received.clear()
        self._poll.register(pipe.fileno(), select.EPOLLIN)
        while True:
            for number, _ in self._poll.poll():
                if number == pipe.fileno():
                    self._poll.unregister(number)
                    return
                data, more, _, _ = self._sockets[number][0].recvmsg(262_144, 64)
                # When it was there, not when this loop came round to it.
                at = _TIMESPEC.unpack(more[0][2]) if more else divmod(time.time_ns(), 10**9)
                self._received.append((number, at[0] * 10**9 + at[1], data))

    def latencies(self, committed: dict[tuple[str, int], int] | None) -> list[float]:
        """Milliseconds from the commit, or from being sent, until each message was there."""
        found: list[float] = []
        for number, at, data in self._received:
            if committed is None:
                found += [(at - int(sent)) / 1e6 for sent in _SENT_AT.findall(data)]
            else:
                variant = self._sockets[number][1].rpartition(".")[2]
                for version in _VERSION.findall(data):
                    commit = committed.get((variant, int(version)))
                    if commit is not None:
                        found.append((at - commit) / 1e6)
        return sorted(found)

    def leave(self) -> None:
        for each, _ in self._sockets.values():
            each.close()
        self._sockets.clear()
        self._poll.close()
        self._poll = select.epoll()


def run_crowd(pipe: Connection) -> None:
    """Do what is said through the pipe, and answer."""
    crowd = Crowd()
    while True:
        what, *about = pipe.recv()
        if what == "connect":
            pipe.send(crowd.connect(about[0], about[1], **about[2]))
        elif what == "receive":
            crowd.receive(pipe)
        elif what == "latencies":
            pipe.send(crowd.latencies(about[0]))
        elif what == "leave":
            crowd.leave()
            pipe.send(None)
        else:
            return


def _text(payload: bytes) -> bytes:
    """A frame with a mask of zeros."""
    return bytes([0x81, 0x80 | len(payload)]) + bytes(4) + payload


# --- Bare servers: nothing but a frame of the same size to everybody, ten times a second ---


def run_bare(pipe: Connection, kind: str, times_a_second: float) -> None:
    """`library`: websockets' own server and broadcast. `frame`: one prepared frame, written to every transport."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_library(pipe, times_a_second) if kind == "library" else _prepared(pipe, times_a_second))


def _message() -> str:
    return '{"event":"x","data":"%s","ns":%d}' % ("x" * 350, time.time_ns())  # noqa: UP031


async def _library(pipe: Connection, times_a_second: float) -> None:
    from websockets.asyncio.server import ServerConnection, broadcast, serve

    everybody: set[ServerConnection] = set()

    async def handle(connection: ServerConnection) -> None:
        everybody.add(connection)
        await connection.wait_closed()

    async with serve(handle, "127.0.0.1", 0, compression=None, ping_interval=None, backlog=4_096) as server:
        pipe.send(server.sockets[0].getsockname()[1])
        while True:
            await asyncio.sleep(1 / times_a_second)
            broadcast(everybody, _message())


async def _prepared(pipe: Connection, times_a_second: float) -> None:
    from websockets.frames import Frame, Opcode
    from websockets.server import ServerProtocol

    everybody: list[Any] = []

    class Bare(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.protocol, self.transport = ServerProtocol(), transport

        def data_received(self, data: bytes) -> None:
            self.protocol.receive_data(data)
            for request in self.protocol.events_received():
                self.protocol.send_response(self.protocol.accept(request))  # type: ignore[arg-type]
                self.transport.write(b"".join(self.protocol.data_to_send()))
                everybody.append(self.transport)

    server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", 0, backlog=4_096)
    pipe.send(server.sockets[0].getsockname()[1])
    while True:
        await asyncio.sleep(1 / times_a_second)
        frame = Frame(Opcode.TEXT, _message().encode()).serialize(mask=False)
        for transport in everybody:
            transport.write(frame)
