"""Who is subscribed to what, in this process; and writing to them.

To leave costs as much as one has channels. An event reaches those who are subscribed when it is sent, in its order; a
crowd is written to in portions, between which everything else has its turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING

from commerce_realtime.wire import Kind, kind_of

if TYPE_CHECKING:
    import asyncio

    from commerce_realtime.apps import App
    from commerce_realtime.connection import Connection

# Writes between two looks at everything else: five milliseconds.
PORTION = 500


class Channel:
    """A channel of one app that somebody is subscribed to."""

    __slots__ = ("kind", "members", "name", "subscribers")

    def __init__(self, name: str) -> None:
        self.name = name
        self.kind: Kind = kind_of(name)
        # In the order in which they came.
        self.subscribers: dict[Connection, None] = {}
        # Who a connection is, where there are members: the user's id.
        self.members: dict[Connection, str] | None = {} if self.kind.has_members else None


class AppHub:
    """The channels and sockets of one app."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.channels: dict[str, Channel] = {}
        self.sockets: dict[str, Connection] = {}
        # The connections of each user who has signed in.
        self.users: dict[str, set[Connection]] = {}

    def subscribe(self, connection: Connection, name: str) -> Channel:
        """Put a connection into a channel."""
        channel = self.channels.get(name)
        if channel is None:
            channel = self.channels[name] = Channel(name)
        channel.subscribers[connection] = None
        connection.channels[name] = channel
        return channel

    def unsubscribe(self, connection: Connection, name: str) -> Channel | None:
        """Take it out again; the channel, if it was in it."""
        channel = connection.channels.pop(name, None)
        if channel is not None:
            channel.subscribers.pop(connection, None)
            if not channel.subscribers:
                self.channels.pop(name, None)
        return channel

    def sign_in(self, connection: Connection, user_id: str) -> None:
        connection.user_id = user_id
        self.users.setdefault(user_id, set()).add(connection)

    def sign_out(self, connection: Connection) -> None:
        if connection.user_id is not None:
            signed_in = self.users.get(connection.user_id, set())
            signed_in.discard(connection)
            if not signed_in:
                self.users.pop(connection.user_id, None)


class Delivery:
    """Writes frames to many, in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: deque[_Letter] = deque()
        self.written = 0

    def send(
        self, channel: Channel, frame: bytes, *, key: Hashable | None = None, skip: Connection | None = None
    ) -> None:
        """Write a frame to all who are subscribed now, but for `skip`."""
        if not self._queue and len(channel.subscribers) <= PORTION:
            self._write(channel, list(channel.subscribers), frame, key, skip)
            return
        self._queue.append(_Letter(channel, list(channel.subscribers), frame, key, skip))
        if len(self._queue) == 1:
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        letter = self._queue[0]
        until = letter.done + PORTION
        self._write(letter.channel, letter.receivers[letter.done : until], letter.frame, letter.key, letter.skip)
        letter.done = until
        if until >= len(letter.receivers):
            self._queue.popleft()
        if self._queue:
            self._loop.call_soon(self._go_on)

    def _write(
        self,
        channel: Channel,
        receivers: Iterable[Connection],
        frame: bytes,
        key: Hashable | None,
        skip: Connection | None,
    ) -> None:
        subscribers = channel.subscribers
        written = 0
        for connection in receivers:
            # Who has left meanwhile wants no more of it.
            if connection is not skip and connection in subscribers:
                connection.send(frame, key)
                written += 1
        self.written += written


class _Letter:
    __slots__ = ("channel", "done", "frame", "key", "receivers", "skip")

    def __init__(
        self,
        channel: Channel,
        receivers: list[Connection],
        frame: bytes,
        key: Hashable | None,
        skip: Connection | None,
    ) -> None:
        self.channel, self.receivers, self.frame, self.key, self.skip = channel, receivers, frame, key, skip
        self.done = 0
