"""What goes over the wire: frames, the protocol's own events and errors, and what a channel's name says.

A frame is made once and written to every socket as it is: there is no compression, and a server masks nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import orjson
from websockets.frames import Frame, Opcode

# A socket's id, as server libraries check it.
SOCKET_ID = re.compile(r"\d{1,20}\.\d{1,20}", re.ASCII)
CHANNEL_NAME = re.compile(r"[A-Za-z0-9_\-=@,.;]{1,164}", re.ASCII)
OF_USER = "#server-to-user-"
_PREFIXES = re.compile(r"(private-|presence-|)(encrypted-|)(cache-|)")
LONGEST_EVENT_NAME = 200


class Code(IntEnum):
    """Codes of errors and closes. 4000 to 4099: do not come back. 4100 to 4199: soon. 4200 to 4299: at once."""

    UNKNOWN_APP = 4001
    BAD_VERSION = 4006
    UNSUPPORTED_PROTOCOL = 4007
    NO_PROTOCOL = 4008
    UNAUTHORIZED = 4009
    TOO_SLOW = 4100
    COME_BACK = 4200
    SILENT = 4201
    TOO_MUCH = 4301


@dataclass(frozen=True, slots=True)
class Kind:
    """What the name of a channel says about it: the prefix counts with its dash only."""

    needs_auth: bool
    has_members: bool
    is_encrypted: bool
    is_cached: bool


def kind_of(name: str) -> Kind:
    """The kind of a channel of this name."""
    found = _PREFIXES.match(name)
    assert found is not None  # it matches nothing, at the least
    access, encrypted, cached = found.groups()
    if encrypted and access != "private-":
        # There are only private ones: `encrypted-` says nothing elsewhere.
        return Kind(bool(access), access == "presence-", False, False)
    return Kind(bool(access), access == "presence-", bool(encrypted), bool(cached))


def is_channel_name(name: object) -> bool:
    """Whether a channel can be called so; those of users are another matter."""
    return isinstance(name, str) and CHANNEL_NAME.fullmatch(name) is not None


def text_frame(payload: bytes) -> bytes:
    """A text message as bytes for a socket."""
    return Frame(Opcode.TEXT, payload).serialize(mask=False)


def message(event: str, channel: str | None = None, data: Any = None, **more: Any) -> bytes:
    """A frame with an event. `data` that is no text is written as JSON, in a text."""
    content: dict[str, Any] = {"event": event}
    if channel is not None:
        content["channel"] = channel
    if data is not None:
        content["data"] = data if isinstance(data, str) else orjson.dumps(data).decode()
    return text_frame(orjson.dumps(content | more))


def error(code: int | None, text: str) -> bytes:
    """A frame with `pusher:error`."""
    return message("pusher:error", data={"code": code, "message": text})


def established(socket_id: str, activity_timeout: int) -> bytes:
    """The first frame that a client gets."""
    data = {"socket_id": socket_id, "activity_timeout": activity_timeout}
    return message("pusher:connection_established", data=data)


def subscribed(channel: str, data: Any = None) -> bytes:
    """The answer to a subscription."""
    return message("pusher_internal:subscription_succeeded", channel, {} if data is None else data)


def subscription_error(channel: object, kind: str, text: str, status: int) -> bytes:
    """The answer to a subscription that is refused. Its data is an object, as clients expect of this event alone."""
    content = {
        "event": "pusher:subscription_error",
        "channel": channel if isinstance(channel, str) else "",
        "data": {"type": kind, "error": text, "status": status},
    }
    return text_frame(orjson.dumps(content))


PING = message("pusher:ping", data={})
PONG = message("pusher:pong", data={})
# A ping of the WebSocket's own, for clients that have sent one themselves.
WEBSOCKET_PING = Frame(Opcode.PING, b"").serialize(mask=False)
