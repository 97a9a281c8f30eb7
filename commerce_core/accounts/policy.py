"""The security policy: who is asking, and whether they may."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from pyramid.config import Configurator
from pyramid.security import Allowed, Denied

from commerce_core.accounts.permissions import GUEST, PERMISSIONS_OF_ROLE
from commerce_core.accounts.tokens import TOKEN_PREFIX, Actor, authenticate
from commerce_core.api.problems import InvalidInput
from commerce_core.plugins.context import AuthenticationContext, Context


class TokenPolicy:
    """Bearer tokens. A token that is sent must be good, even where none is needed."""

    def identity(self, request: Any) -> Actor | None:
        actor: Actor | None = request.actor
        return actor

    def authenticated_userid(self, request: Any) -> str | None:
        return None if request.actor is None else request.actor.name

    def permits(self, request: Any, _context: Any, permission: str) -> Allowed | Denied:
        actor: Actor | None = request.actor
        if request.authentication_failure is not None:
            return Denied(request.authentication_failure)
        allowed = permission in GUEST if actor is None else actor.may(permission)
        if allowed or _is_added(request, actor, permission):
            return Allowed("by role")
        return Denied(permission)

    def remember(self, _request: Any, _userid: str, **_: Any) -> list[tuple[str, str]]:
        return []

    def forget(self, _request: Any, **_: Any) -> list[tuple[str, str]]:
        return []


def _is_added(request: Any, actor: Actor | None, permission: str) -> bool:
    """Whether a plugin's permission is for guests, or for a group that who asks belongs to."""
    added = request.registry.plugin_permissions
    if permission not in added:
        return False
    if actor is None and permission in added.of_role(None):
        return True
    groups = added.principals_for(permission)
    return bool(groups & request.principals) and (actor is None or actor.is_able(permission)) if groups else False


def _actor(request: Any) -> Actor | None:
    """Looked up once per request, on a connection of its own that is given back at once.

    Plugins are asked about everything but the core's own tokens. Raises TooManyRequests, without looking, for an
    address that has tried too many tokens that are none.
    """
    scheme, _, token = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    token = token.strip()
    is_bearer = scheme.lower() == "bearer" and bool(token)
    asks_plugins = bool(request.registry.plugins.runtime.authenticate) and not token.startswith(TOKEN_PREFIX)
    if not scheme and not asks_plugins:
        return None
    tries = is_bearer or (bool(scheme) and asks_plugins)
    if tries:
        request.limits.check("failed_authentication")
    actor = _ask_plugins(request) if asks_plugins else None
    if actor is None and is_bearer:
        with request.registry.engine.connect() as connection:
            actor = authenticate(connection, token, request.now)
    if actor is None and tries:
        request.limits.hit("failed_authentication")
    if actor is not None:
        request.actor_name = actor.name
        more = request.registry.plugin_permissions.of_role(actor.role)
        return replace(actor, more=more) if more else actor
    if scheme:
        request.authentication_failure = "The token is unknown, expired or revoked."
    return None


def _ask_plugins(request: Any) -> Actor | None:
    """Whom a plugin takes the requester for, if any does. Raises PluginFailed."""
    host = request.registry.plugins
    ctx = AuthenticationContext(host, request, request.registry.engine)
    try:
        found = host.runtime.authenticate.first(ctx)
    finally:
        ctx.close()
    if found is None:
        return None
    plugin, actor = found
    if not (isinstance(actor, Actor) and actor.role in PERMISSIONS_OF_ROLE):
        raise plugin.refuse(ctx, f"returned {actor!r}, which is no Actor of a role that there is")
    return actor


def _principals(request: Any) -> frozenset[str]:
    """The groups that plugins say who asks belongs to."""
    hooks = request.registry.plugins.runtime
    if not hooks.principals:
        return frozenset()
    ctx = Context(request.registry.plugins, session=request.db, request=request)
    return frozenset(str(name) for _, name in hooks.principals.collect(ctx))


def owner_of_cart_token(token: str) -> str:
    """What a guest with this cart token owns is owned by: of the token itself nothing is kept."""
    return f"guest:{hashlib.sha256(token.encode()).hexdigest()}"


def _guest_owner(request: Any) -> str | None:
    """Whom X-Cart-Token names, whoever else is signed in."""
    token = request.environ.get("HTTP_X_CART_TOKEN")
    if token is None:
        return None
    if not 16 <= len(token) <= 256 or not token.isascii():
        raise InvalidInput.field("X-Cart-Token", "invalid_token", "must be 16 to 256 ASCII characters")
    return owner_of_cart_token(token)


def _owner(request: Any) -> str | None:
    """Whose carts, holds and orders these are: the user's, or those of a guest's cart token; None without either."""
    if request.actor is not None:
        return str(request.actor.name)
    guest_owner: str | None = request.guest_owner
    return guest_owner


def includeme(config: Configurator) -> None:
    config.set_security_policy(TokenPolicy())
    config.set_default_permission("no view may go without a permission")
    config.add_request_method(_actor, "actor", reify=True)
    config.add_request_method(_principals, "principals", reify=True)
    config.add_request_method(_guest_owner, "guest_owner", reify=True)
    config.add_request_method(_owner, "owner", reify=True)
    config.add_request_method(lambda request: None, "authentication_failure", reify=True)
