"""Signatures: HMAC-SHA256 in hexadecimal, compared as a whole and in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from commerce_realtime.apps import App


def sign(secret: str, text: str) -> str:
    """The signature of a text."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def channel_auth(app: App, socket_id: str, channel: str, channel_data: str | None = None) -> str:
    """What lets one socket subscribe to one channel; `channel_data` is the exact text that names a member."""
    parts = [socket_id, channel] if channel_data is None else [socket_id, channel, channel_data]
    return f"{app.key}:{sign(app.secret, ':'.join(parts))}"


def user_auth(app: App, socket_id: str, user_data: str) -> str:
    """What lets one socket sign in as a user."""
    return f"{app.key}:{sign(app.secret, f'{socket_id}::user::{user_data}')}"


def is_same(given: object, wanted: str) -> bool:
    """Whether what a client has sent is exactly what was wanted."""
    return isinstance(given, str) and hmac.compare_digest(given.encode(), wanted.encode())


def request_signature(app: App, method: str, path: str, query: Iterable[tuple[str, str]]) -> str:
    """The signature of a request to the HTTP API, over all of its query but the signature itself, as it was sent."""
    pairs = sorted((name.lower(), value) for name, value in query if name.lower() != "auth_signature")
    text = "&".join(f"{name}={value}" for name, value in pairs)
    return sign(app.secret, f"{method}\n{path}\n{text}")
