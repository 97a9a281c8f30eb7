"""What clients say, and what they are answered: ping, subscribe, unsubscribe, sign in, events of their own."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson
from websockets.http11 import Request

from commerce_realtime import signing, wire
from commerce_realtime.origins import is_allowed
from commerce_realtime.rates import Bucket
from commerce_realtime.wire import Code

if TYPE_CHECKING:
    from commerce_realtime.connection import Connection
    from commerce_realtime.hub import AppHub
    from commerce_realtime.server import Server

# Over which a client's messages are counted.
COUNTED_SECONDS = 10.0
_PROTOCOLS = range(5, 8)
LONGEST_USER_ID = 128
LONGEST_USER_INFO = 1_000
# A client that goes on, though it is told that it sends too much, is sent away after so many times as much.
_MUCH_TOO_MUCH = 2


class Dialogue:
    """Answers the messages of connections, each connection's in order."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._settings = server.settings
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: dict[str, Callable[[Connection, dict[str, Any]], None]] = {
            "pusher:ping": self._ping,
            "pusher:pong": lambda connection, message: None,
            "pusher:subscribe": self._subscribe,
            "pusher:unsubscribe": self._unsubscribe,
            "pusher:signin": self._sign_in,
        }

    def refusal(self, hub: AppHub | None, request: Request, query: dict[str, str]) -> tuple[Code, str] | None:
        """Why a client cannot be here, as a code and a text."""
        if hub is None:
            return Code.UNKNOWN_APP, "There is no such app"
        protocol = query.get("protocol")
        if protocol is None:
            return Code.NO_PROTOCOL, "No protocol was named"
        if not (protocol.isascii() and protocol.isdigit() and int(protocol[:6]) in _PROTOCOLS):
            return Code.UNSUPPORTED_PROTOCOL, "This protocol is not supported"
        version = query.get("version")
        if version is not None and not version[:1].isdigit():
            return Code.BAD_VERSION, "This is no version"
        origins = request.headers.get_all("Origin")
        if not is_allowed(origins, self._settings.allowed_origins, without=self._settings.allow_no_origin):
            return Code.UNAUTHORIZED, "Origin not allowed"
        return None

    def is_too_much(self, connection: Connection) -> bool:
        """Count a message, or a ping, of a connection. Who goes on though told that it is too much is sent away."""
        connection.counted += 1
        most = self._settings.messages_per_second * COUNTED_SECONDS
        if most and connection.counted > most:
            if connection.counted > most * (1 + _MUCH_TOO_MUCH):
                connection.refuse(Code.TOO_MUCH, "Too many messages")
            elif connection.counted % 10 == 0 or connection.counted == most + 1:
                connection.send(wire.error(Code.TOO_MUCH, "Too many messages"))
            return True
        return False

    def hear(self, connection: Connection, data: bytes) -> None:
        """Answer one message."""
        if self.is_too_much(connection):
            return
        message = _read(data)
        if message is None:
            connection.send(wire.error(Code.COME_BACK, "Invalid message format"))
            return
        event = message["event"]
        answer = self._answers.get(event)
        if answer is not None:
            answer(connection, message)
        elif event.startswith("client-"):
            self._relay(connection, event, message)
        else:
            connection.send(wire.error(Code.COME_BACK, "Unknown event"))

    def _ping(self, connection: Connection, _message: dict[str, Any]) -> None:
        connection.send(wire.PONG, "pong")

    # --- Subscriptions ---

    def _subscribe(self, connection: Connection, message: dict[str, Any]) -> None:
        data = _data_of(message)
        name = data.get("channel")
        refused = self._refused_name(connection, name)
        if refused is not None:
            connection.send(wire.subscription_error(name, *refused))
            return
        assert isinstance(name, str)
        kind = wire.kind_of(name)
        channel_data = data.get("channel_data")
        if kind.needs_auth:
            text = channel_data if kind.has_members and isinstance(channel_data, str) else None
            if kind.has_members and text is None:
                connection.send(wire.subscription_error(name, "InvalidData", "channel_data is missing", 400))
                return
            wanted = signing.channel_auth(connection.app, connection.socket_id, name, text)
            if not signing.is_same(data.get("auth"), wanted):
                self._server.meters.unauthorized()
                connection.send(wire.subscription_error(name, "AuthError", "The signature is not valid", 401))
                return
            self._note_leave(connection)
        if kind.has_members:
            self._join(connection, name, channel_data)
            return
        if name not in connection.channels:
            self._server.hub_of(connection).subscribe(connection, name)
        connection.send(wire.subscribed(name))
        if kind.is_cached:
            self._send_cached(connection, name)
        else:
            self._server.feed.greet(connection, name)

    def _note_leave(self, connection: Connection) -> None:
        """Leave was given once, and a role can be taken away: after a while the client is sent to ask for it anew.

        Not all at the same moment, even if they have come at the same moment.
        """
        seconds = self._settings.leave_seconds
        if seconds and connection.leave_until is None:
            connection.leave_until = self._server.now() + seconds * random.uniform(0.8, 1.0)

    def _refused_name(self, connection: Connection, name: object) -> tuple[str, str, int] | None:
        """Type, text and status of the error for a channel that this connection cannot have."""
        if isinstance(name, str) and name.startswith(wire.OF_USER):
            if connection.user_id is not None and name == wire.OF_USER + connection.user_id:
                return None
            return "AuthError", "Sign in as this user first", 401
        if not wire.is_channel_name(name):
            return "InvalidChannel", "This is no name of a channel", 400
        if name not in connection.channels and len(connection.channels) >= self._settings.max_channels:
            return "LimitReached", f"At most {self._settings.max_channels} channels", 403
        return None

    def _join(self, connection: Connection, name: str, channel_data: Any) -> None:
        member = _member(channel_data)
        if member is None:
            connection.send(wire.subscription_error(name, "InvalidData", "channel_data names no member", 400))
            return
        user_id, user_info = member
        presence = self._server.presence
        if name not in connection.channels:
            if presence.is_full(connection.app.id, name, user_id):
                connection.send(wire.subscription_error(name, "LimitReached", "There are too many members", 403))
                return
            channel = self._server.hub_of(connection).subscribe(connection, name)
            assert channel.members is not None
            channel.members[connection] = user_id
            presence.join(connection, channel, user_id, user_info)
        connection.send(wire.subscribed(name, presence.shown(connection.app.id, name)))
        if wire.kind_of(name).is_cached:
            self._send_cached(connection, name)

    def _send_cached(self, connection: Connection, name: str) -> None:
        """The channel's last event: known here, or asked of the other processes while the connection waits."""
        found = self._server.cached.get(connection.app.id, name)
        if found is not None or not self._server.peers.others:
            connection.send(found or wire.message("pusher:cache_miss", name))
            return
        connection.waiting = deque()
        task = asyncio.ensure_future(self._ask_cached(connection, name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask_cached(self, connection: Connection, name: str) -> None:
        found = await self._server.cached.ask(connection.app.id, name)
        if name in connection.channels:
            connection.send(found or wire.message("pusher:cache_miss", name))
        connection.hear_what_waits()

    def _unsubscribe(self, connection: Connection, message: dict[str, Any]) -> None:
        name = _data_of(message).get("channel")
        if isinstance(name, str):
            self._server.leave(connection, name)

    # --- Users ---

    def _sign_in(self, connection: Connection, message: dict[str, Any]) -> None:
        data = _data_of(message)
        user_data = data.get("user_data")
        user_id = _user_id(user_data)
        if user_id is None or not signing.is_same(
            data.get("auth"), signing.user_auth(connection.app, connection.socket_id, str(user_data))
        ):
            self._server.meters.unauthorized()
            connection.refuse(Code.UNAUTHORIZED, "The signature is not valid")
            return
        if connection.user_id is not None and connection.user_id != user_id:
            connection.refuse(Code.UNAUTHORIZED, "You are somebody else already")
            return
        self._note_leave(connection)
        self._server.hub_of(connection).sign_in(connection, user_id)
        connection.send(wire.message("pusher:signin_success", data={"user_data": user_data}))

    # --- Events of clients ---

    def _relay(self, connection: Connection, event: str, message: dict[str, Any]) -> None:
        name = message.get("channel")
        channel = connection.channels.get(name) if isinstance(name, str) else None
        if self._settings.client_events == "none":
            connection.send(wire.error(Code.TOO_MUCH, "Events of clients are not enabled"))
            return
        if channel is None or not channel.kind.needs_auth or channel.kind.is_encrypted:
            connection.send(wire.error(Code.UNAUTHORIZED, "You cannot send events to this channel"))
            return
        if len(event) > wire.LONGEST_EVENT_NAME:
            connection.send(wire.error(Code.COME_BACK, "The name is too long"))
            return
        now = self._server.now()
        if connection.client_events is None:
            rate = self._settings.client_events_per_second
            connection.client_events = Bucket(rate, rate, now)
        if connection.client_events.available(now) < 1:
            connection.send(wire.error(Code.TOO_MUCH, "Too many events"))
            return
        connection.client_events.take(now)
        data = message.get("data")
        try:
            text = data if isinstance(data, str) else orjson.dumps({} if data is None else data).decode()
        except orjson.JSONEncodeError:  # what is nested deeply can be read, but not be written
            connection.send(wire.error(Code.COME_BACK, "Invalid message format"))
            return
        user_id = channel.members.get(connection) if channel.members is not None else None
        self._server.relay(connection, channel, event, text, user_id)


def _read(data: bytes) -> dict[str, Any] | None:
    """A message: an object with the name of an event. None if it is none."""
    try:
        message = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if isinstance(message, dict) and isinstance(message.get("event"), str):
        return message
    return None


def _data_of(message: dict[str, Any]) -> dict[str, Any]:
    """What a message carries, be it written as an object or as a text; nothing if it is neither."""
    data = message.get("data")
    if isinstance(data, str):
        try:
            data = orjson.loads(data)
        except orjson.JSONDecodeError:
            return {}
    return data if isinstance(data, dict) else {}


def _member(channel_data: object) -> tuple[str, Any] | None:
    """A user's id and what others see of them. None if that is not what it says."""
    try:
        content = orjson.loads(channel_data) if isinstance(channel_data, str) else None
    except orjson.JSONDecodeError:
        return None
    if not isinstance(content, dict):
        return None
    user_id = _identifier(content.get("user_id"))
    user_info = content.get("user_info")
    try:
        if user_id is None or len(orjson.dumps(user_info)) > LONGEST_USER_INFO:
            return None
    except orjson.JSONEncodeError:  # nested too deeply
        return None
    return user_id, user_info


def _user_id(user_data: object) -> str | None:
    try:
        content = orjson.loads(user_data) if isinstance(user_data, str) else None
    except orjson.JSONDecodeError:
        return None
    return _identifier(content.get("id")) if isinstance(content, dict) else None


def _identifier(value: object) -> str | None:
    """An id as text; clients send numbers, too."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    text = str(value)
    return text if 0 < len(text) <= LONGEST_USER_ID else None
