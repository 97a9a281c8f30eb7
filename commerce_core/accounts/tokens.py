"""API tokens: who asks, what the token allows, how it ends."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Connection, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from commerce_core.accounts.codes import hash_of, new_code
from commerce_core.accounts.models import ApiToken, User
from commerce_core.accounts.permissions import PERMISSIONS_OF_ROLE, Permission
from commerce_core.api.problems import Forbidden, InvalidInput, Unauthorized
from commerce_core.log import first_line

_log = structlog.get_logger("commerce.accounts")
TOKEN_PREFIX = "cmt_"
# How exact `last_used_at` is: a request should not have to write.
USE_NOTED_EVERY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who is asking: a user, as known from a token. `abilities` narrow what the role allows; None narrows nothing."""

    user_id: UUID
    role: str
    abilities: frozenset[str] | None
    token_id: UUID | None = None
    expires_at: datetime | None = None
    email: str | None = None
    tier: str | None = None
    # What the role allows of what plugins have added.
    more: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """How ledgers, histories and logs name this actor, and the owner of what it creates."""
        return f"user:{self.user_id}"

    def may(self, permission: str) -> bool:
        allowed = permission in PERMISSIONS_OF_ROLE[self.role] or permission in self.more
        return allowed and self.is_able(permission)

    def is_able(self, permission: str) -> bool:
        """Whether the token lets through what the actor may."""
        return permission == Permission.PUBLIC or self.abilities is None or permission in self.abilities


def make_token(
    session: Session,
    user: User,
    device_name: str,
    *,
    abilities: Collection[str] | None = None,
    expires_at: datetime | None = None,
) -> tuple[str, ApiToken]:
    """A new bearer token, which cannot be had again, and its row; flushes. Without `expires_at` it does not expire."""
    token = TOKEN_PREFIX + new_code()
    row = ApiToken(
        user_id=user.id,
        token_hash=hash_of(token),
        device_name=device_name,
        abilities=None if abilities is None else sorted(abilities),
        expires_at=expires_at,
    )
    session.add(row)
    session.flush()
    return token, row


def issue_token(
    session: Session,
    user: User,
    device_name: str,
    *,
    abilities: Collection[str] | None = None,
    expires_at: datetime | None = None,
) -> str:
    """A new bearer token, returned once and stored as a hash; flushes."""
    return make_token(session, user, device_name, abilities=abilities, expires_at=expires_at)[0]


def derive_token(
    session: Session,
    actor: Actor,
    device_name: str,
    *,
    abilities: Collection[str] | None,
    expires_at: datetime | None,
    ttl: timedelta,
    now: datetime,
) -> tuple[str, ApiToken]:
    """A token that the actor makes for themselves. It may do no more than the actor's own, and lasts `ttl` by default.

    Locks the user, so that whoever ends all tokens at the same time ends this one, too, or comes first.

    Raises Forbidden for more abilities, InvalidInput for an `expires_at` that is past or beyond a narrowed maker's.
    """
    if abilities is None:
        abilities = actor.abilities
    elif beyond := sorted(ability for ability in abilities if not actor.may(ability)):
        raise Forbidden(f"Your own token does not allow: {', '.join(beyond)}.")
    # A token that was narrowed must not buy itself more time, either.
    latest = actor.expires_at if actor.abilities is not None else None
    if expires_at is None:
        expires_at = now + ttl if latest is None else min(latest, now + ttl)
    elif expires_at <= now:
        raise InvalidInput.field("expires_at", "past", "must be in the future")
    elif latest is not None and expires_at > latest:
        raise InvalidInput.field("expires_at", "too_late", "must not be later than your own token's")
    user = session.get_one(User, actor.user_id, with_for_update={"key_share": True}, populate_existing=True)
    if session.scalar(select(ApiToken.id).where(ApiToken.id == actor.token_id, *_alive(now))) is None:
        raise Unauthorized("Your token has just been ended.")
    return make_token(session, user, device_name, abilities=abilities, expires_at=expires_at)


def authenticate(connection: Connection, token: str, now: datetime) -> Actor | None:
    """The actor of a token that is known, not expired, not revoked, and whose user is active.

    One statement; every few minutes a second one notes that the token is in use.
    """
    row = connection.execute(
        select(
            User.id,
            User.role,
            User.email,
            User.tier,
            ApiToken.abilities,
            ApiToken.id.label("token_id"),
            ApiToken.expires_at,
            ApiToken.last_used_at,
            ApiToken.created_at,
        )
        .join(User, User.id == ApiToken.user_id)
        .where(
            ApiToken.token_hash == hash_of(token),
            ApiToken.revoked_at.is_(None),
            (ApiToken.expires_at.is_(None)) | (ApiToken.expires_at > now),
            User.is_active,
        )
    ).one_or_none()
    if row is None:
        return None
    if now - (row.last_used_at or row.created_at) >= USE_NOTED_EVERY:
        _note_use(connection, row.token_id, now)
    abilities = None if row.abilities is None else frozenset(row.abilities)
    return Actor(row.id, row.role, abilities, row.token_id, row.expires_at, row.email, row.tier)


def list_tokens(
    session: Session, user_id: UUID, *, now: datetime, before: UUID | None, limit: int
) -> tuple[Sequence[ApiToken], bool]:
    """The tokens that a user may sign in with, newest first, and whether more follow. No locks."""
    query = (
        select(ApiToken).where(ApiToken.user_id == user_id, *_alive(now)).order_by(ApiToken.id.desc()).limit(limit + 1)
    )
    if before is not None:
        query = query.where(ApiToken.id < before)
    tokens = session.scalars(query).all()
    return tokens[:limit], len(tokens) > limit


def revoke_token(session: Session, user_id: UUID, token_id: UUID, *, now: datetime) -> bool:
    """End one of a user's tokens; whether there was such a one."""
    query = update(ApiToken).where(ApiToken.id == token_id, ApiToken.user_id == user_id, *_alive(now))
    return session.scalar(query.values(revoked_at=now).returning(ApiToken.id)) is not None


def revoke_tokens(session: Session, user_id: UUID, *, now: datetime, but: UUID | None = None) -> int:
    """End all tokens of a user (locked, so that none is made meanwhile), except one; how many there were."""
    query = update(ApiToken).where(ApiToken.user_id == user_id, *_alive(now))
    if but is not None:
        query = query.where(ApiToken.id != but)
    return len(session.scalars(query.values(revoked_at=now).returning(ApiToken.id)).all())


def _alive(now: datetime) -> tuple[Any, ...]:
    return ApiToken.revoked_at.is_(None), (ApiToken.expires_at.is_(None)) | (ApiToken.expires_at > now)


def _note_use(connection: Connection, token_id: UUID, now: datetime) -> None:
    """Write `last_used_at`, unless somebody else is at it: nothing here may keep a request waiting, or fail it."""
    mine = select(ApiToken.id).where(ApiToken.id == token_id).with_for_update(skip_locked=True)
    try:
        connection.execute(update(ApiToken).where(ApiToken.id.in_(mine.scalar_subquery())).values(last_used_at=now))
        connection.commit()
    except DBAPIError as error:
        connection.rollback()
        _log.warning("use of a token not noted", error=first_line(error))
