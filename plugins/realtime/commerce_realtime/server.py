"""The server of one process: it puts the parts together, and sees to connections that are silent, slow or late."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import ssl
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import structlog

from commerce_realtime import wire
from commerce_realtime.api import Api
from commerce_realtime.bus import Bus
from commerce_realtime.cached import CachedEvents
from commerce_realtime.connection import Connection
from commerce_realtime.dialogue import COUNTED_SECONDS, Dialogue
from commerce_realtime.feed import Feed
from commerce_realtime.gate import Gate
from commerce_realtime.hub import AppHub, Channel, Delivery
from commerce_realtime.lines import Exchange
from commerce_realtime.meters import Meters
from commerce_realtime.news import News
from commerce_realtime.peers import Peers
from commerce_realtime.presence import Presence
from commerce_realtime.settings import Settings
from commerce_realtime.wire import Code

if TYPE_CHECKING:
    from websockets.http11 import Request

BACKLOG = 4_096
_SWEEP_SECONDS = 1.0
_SWEPT_AT_ONCE = 1_000
# Unsent bytes that the kernel keeps for a socket.
_KERNEL_BUFFER = 131_072
# After so long without an acknowledgement the other side is not there any more.
_UNACKNOWLEDGED_MS = 30_000
_KEEP_ALIVE_SECONDS = 75.0
_MORE_SOCKETS = 1_000
_DRAINED_PER_SECOND = 100
_log = structlog.get_logger("commerce.realtime")


class Server:
    """One process's sockets, channels and bus."""

    def __init__(self, registry: Any, settings: Settings) -> None:
        self.registry = registry
        self.settings = settings
        self.engine = registry.engine
        self.clock = registry.clock
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time
        self.is_draining = False
        self.meters = Meters(registry.metrics)
        self.apps = {app.id: AppHub(app) for app in settings.all_apps}
        self._by_key = {hub.app.key: hub for hub in self.apps.values()}
        self.delivery = Delivery(self.loop)
        # All that are open; those that have connected and not yet opened, and those that are being closed, with the
        # time until which they may; those whose clients do not read.
        self.connections: set[Connection] = set()
        self.deadlines: dict[Connection, float] = {}
        self.slow: set[Connection] = set()
        self._exchanges: set[Connection] = set()
        # There is room for some who are told that there is none, and for the HTTP API.
        self._most_sockets = settings.max_connections + _MORE_SOCKETS
        self.gate = Gate(self)
        self.presence = Presence(
            self.loop,
            self.apps,
            self.delivery,
            grace_seconds=settings.presence_grace_seconds,
            most_members=settings.max_members,
        )
        self.peers = Peers(self.now, settings.lease_seconds, self.presence.hear_gone)
        self.cached = CachedEvents(self.now, self.peers)
        self.feed = Feed(self, self.apps[settings.app_id])
        self.dialogue = Dialogue(self)
        self.bus = self.peers.bus = self.presence.bus = Bus(
            Exchange(settings.bus, registry.database_url, registry.settings_object.redis.url),
            beat_seconds=settings.lease_seconds / 5,
            hear=self._hear,
            has_come=self._bus_has_come,
            has_gone=self._bus_has_gone,
            has_missed=self._bus_has_missed,
        )
        self.api = Api(self)
        self._listener: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._listener is not None
        return int(self._listener.sockets[0].getsockname()[1])

    @property
    def bus_lost_for(self) -> float:
        """Seconds; 0 while it is there."""
        return 0.0 if self.bus.is_there else time.monotonic() - self.bus.lost_at

    async def start(self) -> None:
        """Listen. Raises OSError where that cannot be."""
        settings = self.settings
        tls = None
        if settings.certificate is not None:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(settings.certificate, settings.certificate_key)
        self._listener = await self.loop.create_server(
            lambda: Connection(self),
            settings.host,
            settings.port,
            ssl=tls,
            ssl_handshake_timeout=settings.open_seconds if tls is not None else None,
            backlog=BACKLOG,
            reuse_port=settings.share_port or None,
        )
        self.bus.start()
        self._tasks = [self.feed.run(), asyncio.create_task(self._sweep()), asyncio.create_task(self._check())]

    async def stop(self, at_once: asyncio.Event) -> None:
        """Listen no more, send clients away over `drain_seconds`, and leave; sooner, when `at_once` is set."""
        self.is_draining = True
        if self._listener is not None:
            self._listener.close()
        connections = list(self.connections)
        seconds = min(self.settings.drain_seconds, len(connections) / _DRAINED_PER_SECOND)
        started = self.now()
        for number, connection in enumerate(connections, 1):
            connection.close(Code.COME_BACK, "The server restarts")
            late = started + seconds * number / len(connections) - self.now()
            if late > 0.001 and not at_once.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(at_once.wait(), late)
        await self._until_closed()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.bus.stop("bye")
        for connection in [*self.connections, *self.deadlines, *self._exchanges]:
            connection.abort()
        await asyncio.sleep(0)

    async def _until_closed(self) -> None:
        """A moment for clients to answer the close."""
        deadline = self.now() + 1.0
        while self.deadlines and self.now() < deadline:
            await asyncio.sleep(0.01)

    # --- What connections tell ---

    def has_connected(self, connection: Connection) -> None:
        if len(self.connections) + len(self.deadlines) + len(self._exchanges) > self._most_sockets:
            connection.abort()
            return
        self.deadlines[connection] = self.now() + self.settings.open_seconds
        handle: socket.socket = connection.transport.get_extra_info("socket")
        if handle.family in (socket.AF_INET, socket.AF_INET6):
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BUFFER)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)

    def is_http(self, connection: Connection) -> None:
        self.deadlines.pop(connection, None)
        self._exchanges.add(connection)

    def key_in(self, path: str) -> str | None:
        """The app's key in the address of a WebSocket; None for another address."""
        head, _, key = path.rpartition("/")
        return key if head == f"{self.settings.prefix}/app" else None

    def has_opened(self, connection: Connection, key: str, request: Request) -> None:
        """The hands are shaken: say hello, or what is wrong."""
        self.deadlines.pop(connection, None)
        hub = self._by_key.get(key)
        query = dict(parse_qsl(request.path.partition("?")[2]))
        connection.socket_id = f"{secrets.randbelow(10**10)}.{secrets.randbelow(10**10)}"
        connection.app = (hub or next(iter(self.apps.values()))).app
        connection.heard_at = self.now()
        refusal = self.dialogue.refusal(hub, request, query)
        if refusal is not None:
            connection.refuse(*refusal)
            return
        self.connections.add(connection)
        self.hub_of(connection).sockets[connection.socket_id] = connection
        self.meters.opened()
        connection.send(wire.established(connection.socket_id, self.settings.activity_timeout))

    def has_closed(self, connection: Connection, code: int) -> None:
        """A WebSocket is none any more. As much work as it has channels."""
        self.connections.discard(connection)
        self.slow.discard(connection)
        hub = self.hub_of(connection)
        hub.sockets.pop(connection.socket_id, None)
        hub.sign_out(connection)
        for name in list(connection.channels):
            self.leave(connection, name)
        connection.waiting = None
        self.meters.closed(code)

    def has_gone(self, connection: Connection) -> None:
        """The socket is closed."""
        self.deadlines.pop(connection, None)
        self.slow.discard(connection)
        self._exchanges.discard(connection)

    def is_closing(self, connection: Connection, seconds: float) -> None:
        self.deadlines[connection] = self.now() + seconds

    # --- What the protocol needs ---

    def hub_of(self, connection: Connection) -> AppHub:
        return self.apps[connection.app.id]

    def leave(self, connection: Connection, name: str) -> None:
        """Take a connection out of a channel, if it is in it."""
        channel = self.hub_of(connection).unsubscribe(connection, name)
        self.feed.leave(connection, name)
        if channel is not None and channel.members is not None:
            user_id = channel.members.pop(connection, None)
            if user_id is not None:
                self.presence.leave(connection.app.id, name, user_id)

    def relay(self, connection: Connection, channel: Channel, event: str, data: str, user_id: str | None) -> None:
        """An event of a client, to everybody else in its channel."""
        self._deliver_relayed(channel, event, data, user_id, connection)
        self.bus.tell("relay", connection.app.id, channel.name, event, data, user_id)

    def publish(self, app: str, names: list[str], event: str, data: str, skip: str | None = None) -> None:
        """An event of a program, to everybody in these channels, here and in the other processes."""
        self._deliver(app, names, event, data, skip)
        self.bus.tell("event", app, names, event, data, skip)

    def terminate(self, app: str, user_id: str) -> None:
        """Close the connections of a user, here and in the other processes."""
        self._terminate(app, user_id)
        self.bus.tell("terminate", app, user_id)

    def _deliver(self, app: str, names: list[str], event: str, data: str, skip: str | None) -> None:
        hub = self.apps.get(app)
        if hub is None:
            return
        skipped = hub.sockets.get(skip) if skip is not None else None
        for name in names:
            if wire.kind_of(name).is_cached:
                self.cached.keep(app, name, event, data)
            channel = hub.channels.get(name)
            if channel is not None:
                self.delivery.send(channel, wire.message(event, name, data), skip=skipped)

    def _deliver_relayed(
        self, channel: Channel, event: str, data: str, user_id: str | None, skip: Connection | None
    ) -> None:
        more = {} if user_id is None else {"user_id": user_id}
        self.delivery.send(channel, wire.message(event, channel.name, data, **more), skip=skip)

    def _terminate(self, app: str, user_id: str) -> None:
        hub = self.apps.get(app)
        for connection in list(hub.users.get(user_id, ())) if hub else ():
            connection.refuse(Code.UNAUTHORIZED, "You were signed out")

    # --- What the bus tells ---

    def _hear(self, heard: News) -> None:
        if self.peers.hear(heard):
            return
        body = heard.body
        if heard.kind == "stock":
            self.feed.hear(body[0])
            self.meters.reach(max(0.0, (self.clock.now() - datetime.fromisoformat(body[0][-1][5])).total_seconds()))
        elif heard.kind == "catalogue":
            self.feed.hear_catalogue(body[0])
        elif heard.kind == "event":
            self._deliver(body[0] or self.settings.app_id, *body[1:])
        elif heard.kind == "relay":
            app, name, event, data, user_id = body
            channel = self.apps[app].channels.get(name) if app in self.apps else None
            if channel is not None:
                self._deliver_relayed(channel, event, data, user_id, None)
        elif heard.kind == "join":
            self.presence.hear_join(heard.process, *body)
        elif heard.kind == "leave":
            self.presence.hear_leave(heard.process, *body)
        elif heard.kind == "members":
            self.presence.hear_members(heard.process, *body)
        elif heard.kind == "hello":
            self.bus.tell("members", self.presence.members_here())
        elif heard.kind == "terminate":
            self._terminate(*body)

    def _bus_has_come(self) -> None:
        self.meters.bus_is_there(1)
        self.peers.give_time()
        self.bus.tell("members", self.presence.members_here())
        self.bus.tell("hello")
        self.feed.resync()

    def _bus_has_gone(self) -> None:
        self.meters.bus_is_there(0)
        self.meters.lost()
        self.feed.distrust()

    def _bus_has_missed(self) -> None:
        self.meters.missed()
        self.bus.tell("hello")
        self.feed.resync()

    # --- What comes back ---

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(self.settings.check_seconds)
            self.feed.check()

    async def _sweep(self) -> None:
        """Look after every connection: cut who is late, ask who is silent, close who is slow."""
        counted_at = self.now()
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = self.now()
            starts_counting = now - counted_at >= COUNTED_SECONDS
            if starts_counting:
                counted_at = now
            for connection, deadline in list(self.deadlines.items()):
                if now > deadline:
                    self.deadlines.pop(connection, None)
                    connection.abort()
            for connection in list(self.slow):
                if connection.outbox is not None and now - connection.outbox.since > self.settings.slow_seconds:
                    connection.close(Code.TOO_SLOW, "Too slow")
            for connection in list(self._exchanges):
                since = connection.waits_since
                if since is not None and now - since > _KEEP_ALIVE_SECONDS:
                    connection.abort()
            self.peers.sweep()
            everybody = list(self.connections)
            for start in range(0, len(everybody), _SWEPT_AT_ONCE):
                for connection in everybody[start : start + _SWEPT_AT_ONCE]:
                    self._look_after(connection, now, starts_counting=starts_counting)
                await asyncio.sleep(0)
            self._measure()

    def _look_after(self, connection: Connection, now: float, *, starts_counting: bool) -> None:
        if starts_counting:
            connection.counted = 0
        if connection.leave_until is not None and now > connection.leave_until:
            connection.close(Code.COME_BACK, "Ask for leave again")
        silent = now - connection.heard_at - self.settings.ping_seconds
        if silent > 0 and connection.is_open:
            if not connection.is_pinged:
                connection.ping()
            elif silent > self.settings.pong_seconds:
                connection.close(Code.SILENT, "No pong")

    def _measure(self) -> None:
        meters = self.meters
        meters.connections(len(self.connections))
        meters.subscriptions(
            sum(len(channel.subscribers) for hub in self.apps.values() for channel in hub.channels.values())
        )
        meters.channels(sum(len(hub.channels) for hub in self.apps.values()))
        meters.waiting(self.gate.waiting)
        meters.slow(len(self.slow))
        meters.peers(len(self.peers.others))
        meters.bus_lag(self.bus.lag)
        written, self.delivery.written = self.delivery.written, 0
        meters.delivered(written)
