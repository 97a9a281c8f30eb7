"""REST: what browsers need to connect, and leave to listen to private channels."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import orjson

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view
from commerce_core.api.problems import Forbidden, InvalidInput, MalformedRequest, Unauthorized
from commerce_realtime import wire
from commerce_realtime.channels import ChannelRule, Leave
from commerce_realtime.levels import CATALOGUE, INVENTORY, OF_PRODUCT, OF_VARIANT
from commerce_realtime.schemas import ChannelAuth, RealtimeConfig, UserAuth
from commerce_realtime.settings import Settings
from commerce_realtime.signing import channel_auth, user_auth


@api_view(
    route_name="realtime_config",
    request_method="GET",
    permission=Permission.PUBLIC,
    returns=RealtimeConfig,
    cached=True,
)
def show_config(request: Any) -> RealtimeConfig:
    """How to reach the WebSocket server, which any client of the Pusher protocol can be configured with."""
    settings = _settings(request)
    return RealtimeConfig.model_construct(
        key=settings.key,
        host=settings.public_host,
        port=settings.public_port or settings.port,
        tls=settings.certificate is not None if settings.public_tls is None else settings.public_tls,
        path=settings.prefix,
        presence=settings.presence,
        channels={
            "everything": INVENTORY,
            "catalogue": CATALOGUE,
            "product": f"{OF_PRODUCT}{{id}}",
            "variant": f"{OF_VARIANT}{{id}}",
        },
    )


@api_view(
    route_name="realtime_auth",
    request_method="POST",
    permission=Permission.PUBLIC,
    returns=ChannelAuth,
    keyed=False,
    problems=(Forbidden,),
)
def authorize_channel(request: Any) -> ChannelAuth:
    """Leave for one socket (`socket_id`) to listen to one private channel (`channel_name`), sent as a form or JSON."""
    return _authorize(request)


@api_view(
    route_name="realtime_pusher_auth",
    request_method="POST",
    permission=Permission.PUBLIC,
    returns=ChannelAuth,
    keyed=False,
    problems=(Forbidden,),
)
def authorize_channel_for_pusher(request: Any) -> ChannelAuth:
    """The same as `/broadcasting/auth`, where pusher-js looks for it unless it is told otherwise."""
    return _authorize(request)


@api_view(
    route_name="realtime_user_auth",
    request_method="POST",
    permission=Permission.PUBLIC,
    returns=UserAuth,
    keyed=False,
    problems=(Unauthorized,),
)
def authorize_user(request: Any) -> UserAuth:
    """Sign one socket (`socket_id`) in as who you are, sent as a form or JSON."""
    return _authorize_user(request)


@api_view(
    route_name="realtime_pusher_user_auth",
    request_method="POST",
    permission=Permission.PUBLIC,
    returns=UserAuth,
    keyed=False,
    problems=(Unauthorized,),
)
def authorize_user_for_pusher(request: Any) -> UserAuth:
    """The same as `/broadcasting/user-auth`, where pusher-js looks for it unless it is told otherwise."""
    return _authorize_user(request)


def _authorize(request: Any) -> ChannelAuth:
    socket_id, name = _field(request, "socket_id"), _field(request, "channel_name")
    # What is signed is put together of both: a socket's id that is none could be made to say anything.
    if not wire.SOCKET_ID.fullmatch(socket_id):
        raise InvalidInput.field("socket_id", "invalid", "must be that of a socket, such as 123.456")
    if not wire.is_channel_name(name) or not wire.kind_of(name).needs_auth:
        raise InvalidInput.field("channel_name", "invalid", "must be the name of a private or presence channel")
    request.realtime_socket_id = socket_id
    leave = _leave(request, name)
    if leave is False:
        raise Forbidden("This channel is not yours to listen to.")
    app = _settings(request).all_apps[0]
    if not wire.kind_of(name).has_members:
        return ChannelAuth.model_construct(auth=channel_auth(app, socket_id, name), channel_data=None)
    member = orjson.dumps(leave).decode()
    return ChannelAuth.model_construct(auth=channel_auth(app, socket_id, name, member), channel_data=member)


def _leave(request: Any, name: str) -> Leave:
    """What the first rule says that is about this channel; without one, nobody may."""
    settings = _settings(request)
    rules: tuple[ChannelRule, ...] = request.registry.realtime_channels
    for rule in rules:
        parts = rule.parts_of(name)
        if parts is not None and (rule.setting is None or getattr(settings, rule.setting)):
            leave = rule.may(request, **parts)
            has_members = wire.kind_of(name).has_members
            return leave if isinstance(leave, bool) != has_members else False
    return False


def _authorize_user(request: Any) -> UserAuth:
    socket_id = _field(request, "socket_id")
    if not wire.SOCKET_ID.fullmatch(socket_id):
        raise InvalidInput.field("socket_id", "invalid", "must be that of a socket, such as 123.456")
    if request.actor is None:
        raise Unauthorized("Sign in first.")
    user_data = orjson.dumps({"id": str(request.actor.user_id)}).decode()
    app = _settings(request).all_apps[0]
    return UserAuth.model_construct(auth=user_auth(app, socket_id, user_data), user_data=user_data)


def _settings(request: Any) -> Settings:
    settings: Settings = request.registry.plugins.settings_of("realtime")
    return settings


def _field(request: Any, name: str) -> str:
    """A field of the body, which clients send as a form, or as JSON."""
    value = _body(request).get(name)
    if not isinstance(value, str):
        raise InvalidInput.field(name, "missing", "is required")
    return value


def _body(request: Any) -> dict[str, Any]:
    if request.environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() == "application/json":
        try:
            body = orjson.loads(request.raw_body)
        except orjson.JSONDecodeError as error:
            raise MalformedRequest(f"The body is not valid JSON: {error}.") from None
        return body if isinstance(body, dict) else {}
    try:
        return dict(parse_qsl(request.raw_body.decode(), max_num_fields=20))
    except ValueError:
        raise MalformedRequest("The body is no form.") from None
