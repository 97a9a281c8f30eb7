"""Idempotency keys: the answer to a POST is stored in the transaction of its effect, and given again to a repeat.

Only answers that had an effect are stored (2xx): after an error nothing happened, so the client may try again.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import CursorResult, delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from commerce_core.api.models import IdempotencyKey
from commerce_core.api.problems import IdempotencyKeyInUse, IdempotencyKeyReused, InvalidInput

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request that carries a key: whose, which, and what it asks for."""

    actor: str
    key: str
    fingerprint: bytes
    created_at: datetime

    @classmethod
    def of(cls, request: Any) -> KeyedRequest | None:
        """None without the header. Raises InvalidInput for a key that is none."""
        key = request.environ.get("HTTP_IDEMPOTENCY_KEY")
        if key is None:
            return None
        if not _KEY.fullmatch(key):
            raise InvalidInput.field("Idempotency-Key", "invalid_key", "must be 1 to 255 visible ASCII characters")
        # Guests without a token are told apart by their address (which they cannot make up) and the key: it should be
        # one that nobody hits upon, such as a UUID.
        actor = request.owner or f"address:{request.client_address}"
        path = f"{request.path}?{query}" if (query := request.environ.get("QUERY_STRING")) else request.path
        fingerprint = hashlib.sha256(b"\n".join([request.method.encode(), path.encode(), request.raw_body]))
        return cls(actor, key, fingerprint.digest(), request.now)


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    status: int
    body: bytes


def stored_answer(session: Session, keyed: KeyedRequest) -> StoredAnswer | None:
    """The answer given before. Raises IdempotencyKeyReused when it was given to another request."""
    row = session.execute(
        select(IdempotencyKey.fingerprint, IdempotencyKey.status, IdempotencyKey.body).where(
            IdempotencyKey.actor == keyed.actor, IdempotencyKey.key == keyed.key
        )
    ).one_or_none()
    if row is None:
        return None
    if row.fingerprint != keyed.fingerprint:
        raise IdempotencyKeyReused(f"The key {keyed.key!r} was used before with another path or body.")
    return StoredAnswer(row.status, row.body)


def claim(session: Session, keyed: KeyedRequest) -> StoredAnswer | None:
    """Keep twins of this request out until the transaction ends; the stored answer if there is one.

    Takes a transaction-scoped advisory lock. Raises IdempotencyKeyInUse while a twin is under way.
    """
    if not session.scalar(_TRY_LOCK, {"name": f"idempotency:{keyed.actor}:{keyed.key}"}):
        raise IdempotencyKeyInUse()
    return stored_answer(session, keyed)


def remember(session: Session, keyed: KeyedRequest, status: int, body: bytes) -> None:
    """Store the answer; it is committed with the effect, or not at all.

    Raises IdempotencyKeyInUse if the key has been used for a hold meanwhile, which takes no lock.
    """
    stored = session.execute(
        insert(IdempotencyKey)
        .values(
            actor=keyed.actor,
            key=keyed.key,
            fingerprint=keyed.fingerprint,
            status=status,
            body=body,
            created_at=keyed.created_at,
        )
        .on_conflict_do_nothing()
    )
    assert isinstance(stored, CursorResult)
    if not stored.rowcount:
        raise IdempotencyKeyInUse()


def forget_old_keys(session: Session, now: datetime, hours: int) -> int:
    """Delete keys older than `hours`; how many. Flushes, does not commit."""
    result = session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < now - timedelta(hours=hours)))
    assert isinstance(result, CursorResult)
    return result.rowcount
