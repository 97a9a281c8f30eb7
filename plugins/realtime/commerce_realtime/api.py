"""The HTTP API, which server libraries use: events, channels, users; and health and metrics."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson

from commerce_core.api.metrics import may_read
from commerce_realtime import signing, wire
from commerce_realtime.exchange import HttpAnswer, HttpRequest, Refused

if TYPE_CHECKING:
    from commerce_realtime.hub import AppHub
    from commerce_realtime.server import Server

MOST_CHANNELS = 100
MOST_EVENTS = 10
LONGEST_DATA = 10_000
# How far a request's clock may be off; longer it cannot be sent again.
CLOCK_SECONDS = 600


class Api:
    """Answers requests."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._prefix = server.settings.prefix
        server.peers.answers["channels"] = self._channels_here

    async def answer(self, request: HttpRequest) -> HttpAnswer:
        """The answer to a request. Raises Refused."""
        path = request.path.removeprefix(self._prefix)
        if path in ("/up", "/healthz", "/metrics"):
            if request.method not in ("GET", "HEAD"):
                raise Refused(405, "Read this with GET.")
            if path == "/metrics":
                return self._metrics(request)
            # Who answers is alive. To be started again helps nobody who drains, or whose bus is away.
            return self._readiness() if path == "/up" else HttpAnswer(body={"health": "OK"})
        hub, parts = self.signed_for(request)
        self._check_body(request)
        match request.method, parts:
            case "POST", ["events"]:
                return await self._trigger(hub, request)
            case "POST", ["batch_events"]:
                return await self._trigger_batch(hub, request)
            case "GET", ["channels"]:
                return await self._list_channels(hub, request)
            case "GET", ["channels", name]:
                return HttpAnswer(body=await self._described(hub, name, _wanted(request)))
            case "GET", ["channels", name, "users"]:
                return self._list_users(hub, name)
            case "POST", ["users", user_id, "terminate_connections"]:
                self._server.terminate(hub.app.id, user_id)
                return HttpAnswer()
        raise Refused(404, "There is nothing here.")

    # --- Health ---

    def _readiness(self) -> HttpAnswer:
        server = self._server
        if server.is_draining:
            return HttpAnswer(503, {"health": "DRAINING"})
        if server.bus_lost_for > server.settings.bus_lost_seconds:
            return HttpAnswer(503, {"health": "DEAF"})
        return HttpAnswer(body={"health": "OK"})

    def _metrics(self, request: HttpRequest) -> HttpAnswer:
        settings = self._server.registry.settings_object.metrics
        address = None if "x-forwarded-for" in request.headers else request.peer
        if not may_read(settings, address, request.headers.get("authorization", "")):
            raise Refused(403, "See metrics.allowed and metrics.token in the settings.")
        media_type, text = self._server.registry.metrics.text(request.headers.get("accept", ""))
        return HttpAnswer(200, text, media_type)

    # --- Who asks ---

    def signed_for(self, request: HttpRequest) -> tuple[AppHub, list[str]]:
        """The app that a request was signed for a moment ago, and the rest of the path. Raises Refused.

        The body counts for nothing here, so that none is taken in from somebody who may not send any: what is signed
        is its digest.
        """
        parts = [unquote(part) for part in request.path.removeprefix(self._prefix).split("/")[1:]]
        if parts[:1] == ["users"] and len(parts) == 3:  # as one server library has it: the key says whose users
            parts = ["apps", self._id_by_key(request), *parts]
        if parts[:1] != ["apps"] or len(parts) < 3:
            raise Refused(404, "There is nothing here.")
        hub = self._server.apps.get(parts[1])
        if hub is None:
            raise Refused(404, "There is no such app.")
        self._check_signature(hub, request)
        return hub, parts[2:]

    def _id_by_key(self, request: HttpRequest) -> str:
        key = request.parameter("auth_key")
        return next((hub.app.id for hub in self._server.apps.values() if hub.app.key == key), "")

    def _check_signature(self, hub: AppHub, request: HttpRequest) -> None:
        """Raise Refused unless the request was signed for this app, a moment ago."""
        if request.parameter("auth_key") != hub.app.key:
            raise Refused(401, "auth_key is not the key of this app.")
        if request.parameter("auth_version") != "1.0":
            raise Refused(401, "auth_version is not 1.0.")
        stamp = request.parameter("auth_timestamp") or ""
        if not (stamp.isascii() and stamp.isdigit()) or abs(time.time() - int(stamp[:15])) > CLOCK_SECONDS:
            raise Refused(401, f"auth_timestamp is not within {CLOCK_SECONDS} seconds of now.")
        wanted = signing.request_signature(hub.app, request.method, request.path, request.query)
        if not signing.is_same(request.parameter("auth_signature"), wanted):
            raise Refused(401, "auth_signature is not valid.")

    def _check_body(self, request: HttpRequest) -> None:
        """Raise Refused unless the body is the one that was signed."""
        digest = request.parameter("body_md5")
        if (request.body or digest) and digest != hashlib.md5(request.body, usedforsecurity=False).hexdigest():
            raise Refused(401, "body_md5 is not that of the body.")

    # --- Events ---

    async def _trigger(self, hub: AppHub, request: HttpRequest) -> HttpAnswer:
        body = _json(request)
        event = _event(body, _channels(body))
        self._publish(hub, [event])
        wanted = _words(body.get("info"))
        if not wanted:
            return HttpAnswer()
        described = {name: await self._described(hub, name, wanted) for name in event[0]}
        return HttpAnswer(body={"channels": described})

    async def _trigger_batch(self, hub: AppHub, request: HttpRequest) -> HttpAnswer:
        batch = _json(request).get("batch")
        if not isinstance(batch, list) or not 0 < len(batch) <= MOST_EVENTS:
            raise Refused(400, f"batch is a list of 1 to {MOST_EVENTS} events.")
        if not all(isinstance(one, dict) for one in batch):
            raise Refused(400, "Each event of a batch is an object.")
        events = [_event(one, [_one_channel(one)]) for one in batch]
        self._publish(hub, events)
        if not any(one.get("info") for one in batch):
            return HttpAnswer()
        described = [
            await self._described(hub, event[0][0], wanted) if (wanted := _words(one.get("info"))) else {}
            for one, event in zip(batch, events, strict=True)
        ]
        return HttpAnswer(body={"batch": described})

    def _publish(self, hub: AppHub, events: list[tuple[list[str], str, str, str | None]]) -> None:
        """Deliver events once they have been answered. Raises Refused where the others could not be told."""
        if not self._server.bus.is_there:
            raise Refused(503, "The other processes cannot be told at the moment; try again.")
        for names, event, data, skip in events:
            self._server.loop.call_soon(self._server.publish, hub.app.id, names, event, data, skip)

    # --- Channels, over all processes ---

    async def _list_channels(self, hub: AppHub, request: HttpRequest) -> HttpAnswer:
        prefix = request.parameter("filter_by_prefix") or ""
        wanted = _wanted(request)
        if "user_count" in wanted and not wire.kind_of(prefix).has_members:
            raise Refused(400, "user_count is of presence channels only: filter_by_prefix=presence-")
        counts = await self._counts(hub, prefix, None)
        return HttpAnswer(
            body={
                "channels": {
                    name: self._with(hub, name, count, wanted, always=False) for name, count in sorted(counts.items())
                }
            }
        )

    async def _described(self, hub: AppHub, name: str, wanted: set[str]) -> dict[str, Any]:
        _check_name(name)
        if "user_count" in wanted and not wire.kind_of(name).has_members:
            raise Refused(400, "user_count is of presence channels only.")
        counts = await self._counts(hub, "", name)
        described = self._with(hub, name, counts.get(name, 0), wanted, always=True)
        if "cache" in wanted and wire.kind_of(name).is_cached:
            described["cache"] = self._server.cached.described(hub.app.id, name)
        return described

    def _list_users(self, hub: AppHub, name: str) -> HttpAnswer:
        _check_name(name)
        if not wire.kind_of(name).has_members:
            raise Refused(400, "Only presence channels have users.")
        ids = self._server.presence.ids(hub.app.id, name)
        return HttpAnswer(body={"users": [{"id": user_id} for user_id in ids]})

    def _with(self, hub: AppHub, name: str, count: int, wanted: set[str], *, always: bool) -> dict[str, Any]:
        described: dict[str, Any] = {"occupied": count > 0} if always else {}
        if "subscription_count" in wanted:
            described["subscription_count"] = count
        if "user_count" in wanted:
            described["user_count"] = len(self._server.presence.ids(hub.app.id, name))
        return described

    async def _counts(self, hub: AppHub, prefix: str, name: str | None) -> dict[str, int]:
        """How many are subscribed to each channel of a prefix, or to one."""
        counts = self._channels_here(hub.app.id, prefix, name)
        for answer in await self._server.peers.ask("channels", hub.app.id, prefix, name):
            for channel, count in answer.items():
                counts[channel] = counts.get(channel, 0) + count
        return counts

    def _channels_here(self, app: str, prefix: str, name: str | None) -> dict[str, int]:
        hub = self._server.apps.get(app)
        if hub is None:
            return {}
        names = [name] if name is not None else [each for each in hub.channels if each.startswith(prefix)]
        return {each: len(hub.channels[each].subscribers) for each in names if each in hub.channels}


def _json(request: HttpRequest) -> dict[str, Any]:
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        raise Refused(400, "The body is not JSON.") from None
    if not isinstance(body, dict):
        raise Refused(400, "The body is an object.")
    return body


def _event(body: dict[str, Any], channels: list[str]) -> tuple[list[str], str, str, str | None]:
    """Channels, name, data and the socket to leave out. Raises Refused."""
    name, data, skip = body.get("name"), body.get("data"), body.get("socket_id")
    if not isinstance(name, str) or not 0 < len(name) <= wire.LONGEST_EVENT_NAME:
        raise Refused(400, f"name is a text of 1 to {wire.LONGEST_EVENT_NAME} characters.")
    if name.startswith(("pusher:", "pusher_internal:")):
        raise Refused(400, "Names that begin with pusher: are the protocol's own.")
    if not isinstance(data, str):
        raise Refused(400, "data is a text: what it carries is written as JSON in it.")
    if len(data.encode()) > LONGEST_DATA:
        raise Refused(413, f"data has more than {LONGEST_DATA} bytes.")
    if skip is not None and not (isinstance(skip, str) and wire.SOCKET_ID.fullmatch(skip)):
        raise Refused(400, "socket_id is not that of a socket.")
    return channels, name, data, skip


def _channels(body: dict[str, Any]) -> list[str]:
    names = body.get("channels", [body["channel"]] if "channel" in body else None)
    if not isinstance(names, list) or not 0 < len(names) <= MOST_CHANNELS:
        raise Refused(400, f"channels is a list of 1 to {MOST_CHANNELS} names.")
    for name in names:
        _check_name(name)
    return list(dict.fromkeys(names))


def _one_channel(body: dict[str, Any]) -> str:
    _check_name(body.get("channel"))
    return str(body["channel"])


def _check_name(name: object) -> None:
    of_user = isinstance(name, str) and name.startswith(wire.OF_USER) and len(name) <= 164
    if not of_user and not wire.is_channel_name(name):
        raise Refused(400, "This is no name of a channel.")


def _wanted(request: HttpRequest) -> set[str]:
    return _words(request.parameter("info"))


def _words(text: object) -> set[str]:
    """What is asked for beside the rest: words with commas between."""
    return {word.strip() for word in text.split(",")} - {""} if isinstance(text, str) else set()
