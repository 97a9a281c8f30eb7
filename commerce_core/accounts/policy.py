"""The security policy: who is asking, and whether they may."""

from __future__ import annotations

import hashlib
from typing import Any

from pyramid.config import Configurator
from pyramid.security import Allowed, Denied

from commerce_core.accounts.permissions import GUEST
from commerce_core.accounts.tokens import Actor, authenticate
from commerce_core.api.problems import InvalidInput


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
        return Allowed("by role") if allowed else Denied(permission)

    def remember(self, _request: Any, _userid: str, **_: Any) -> list[tuple[str, str]]:
        return []

    def forget(self, _request: Any, **_: Any) -> list[tuple[str, str]]:
        return []


def _actor(request: Any) -> Actor | None:
    """Looked up once per request, on a connection of its own that is given back at once.

    Raises TooManyRequests, without looking, for an address that has tried too many tokens that are none.
    """
    scheme, _, token = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if not scheme:
        return None
    actor = None
    if scheme.lower() == "bearer" and token.strip():
        request.limits.check("failed_authentication")
        with request.registry.engine.connect() as connection:
            actor = authenticate(connection, token.strip(), request.now)
        if actor is None:
            request.limits.hit("failed_authentication")
    if actor is None:
        request.authentication_failure = "The token is unknown, expired or revoked."
    else:
        request.actor_name = actor.name
    return actor


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
    config.add_request_method(_guest_owner, "guest_owner", reify=True)
    config.add_request_method(_owner, "owner", reify=True)
    config.add_request_method(lambda request: None, "authentication_failure", reify=True)
