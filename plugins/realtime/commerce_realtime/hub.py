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
# What waits to be written to crowds; more, and nothing else has its turn until the oldest is.
MOST_LETTERS = 1_000


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
    """Writes frames to many, in order.

    What a crowd is still to be told is bounded: of each state the newest waits; and when too much waits that is no
    state, the oldest is written before anything else is heard.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: deque[_Letter] = deque()
        # The letters with a key of which nothing is written yet.
        self._states: dict[Channel, dict[Hashable, _Letter]] = {}
        self.written = 0

    def send(
        self,
        channel: Channel,
        frame: bytes,
        *,
        key: Hashable | None = None,
        skip: Connection | None = None,
        is_whole: bool = False,
    ) -> None:
        """Write a frame to all who are subscribed now, but for `skip`.

        A frame with a `key` takes the place of one that waits with the same key, unless one that `is_whole`, a
        snapshot, has come in between: no newer state overtakes it.
        """
        if not self._queue and len(channel.subscribers) <= PORTION:
            self._write(channel, list(channel.subscribers), frame, key, skip)
            return
        letter = _Letter(channel, frame, key, skip)
        if key is None:
            letter.begin()
        else:
            states = self._states.setdefault(channel, {})
            if is_whole:
                states.clear()
            elif key in states:
                states[key].frame = frame
                return
            states[key] = letter
        self._queue.append(letter)
        if len(self._queue) == 1:
            self._loop.call_soon(self._go_on)
        elif len(self._queue) > MOST_LETTERS:
            self._write_on(None)

    def _go_on(self) -> None:
        try:
            self._write_on(PORTION)
        finally:
            if self._queue:
                self._loop.call_soon(self._go_on)

    def _write_on(self, most: int | None) -> None:
        """Write the oldest letter to up to so many more; None: to all."""
        letter = self._queue[0]
        if letter.receivers is None:
            states = self._states.get(letter.channel, {})
            if states.get(letter.key) is letter:
                del states[letter.key]
            if not states:
                self._states.pop(letter.channel, None)
        receivers = letter.begin()
        done, letter.done = letter.done, len(receivers) if most is None else letter.done + most
        try:
            self._write(letter.channel, receivers[done : letter.done], letter.frame, letter.key, letter.skip)
        finally:
            if letter.done >= len(receivers) and self._queue and self._queue[0] is letter:
                self._queue.popleft()

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

    def __init__(self, channel: Channel, frame: bytes, key: Hashable | None, skip: Connection | None) -> None:
        self.channel, self.frame, self.key, self.skip = channel, frame, key, skip
        self.receivers: list[Connection] | None = None
        self.done = 0

    def begin(self) -> list[Connection]:
        """Who gets it: whoever is subscribed when this is first asked."""
        if self.receivers is None:
            self.receivers = list(self.channel.subscribers)
        return self.receivers
