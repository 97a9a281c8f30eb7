"""Secrets and signatures, as the Standard Webhooks have them: https://www.standardwebhooks.com."""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Iterable

PREFIX = "whsec_"


def make_secret() -> str:
    """A new secret: 256 random bits in base64, after a prefix by which secret scanners know it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signature(given: Iterable[str], message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: one signature for each of the `given` secrets, with blanks between."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(f"v1,{_mac(secret, signed)}" for secret in given)


def _mac(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
