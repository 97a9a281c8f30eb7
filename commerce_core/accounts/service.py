"""Users and their tokens."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, func, select
from sqlalchemy.orm import Session

from commerce_core.accounts.models import ApiToken, User
from commerce_core.accounts.permissions import PERMISSIONS_OF_ROLE, Permission

TOKEN_PREFIX = "cmt_"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who is asking: a user, as known from a token. `abilities` narrow what the role allows; None narrows nothing."""

    user_id: UUID
    role: str
    abilities: frozenset[str] | None

    @property
    def name(self) -> str:
        """How ledgers, histories and logs name this actor, and the owner of what it creates."""
        return f"user:{self.user_id}"

    def may(self, permission: str) -> bool:
        allowed = permission in PERMISSIONS_OF_ROLE[self.role]
        return allowed and (permission == Permission.PUBLIC or self.abilities is None or permission in self.abilities)


def hash_token(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def create_user(session: Session, email: str, name: str, role: str = "customer") -> User:
    """A new user; flushes. Raises IntegrityError when the address is taken."""
    user = User(email=email, name=name, role=role)
    session.add(user)
    session.flush()
    return user


def find_user(session: Session, email: str) -> User | None:
    return session.scalar(select(User).where(func.lower(User.email) == email.lower()))


def issue_token(
    session: Session,
    user: User,
    device_name: str,
    *,
    abilities: list[str] | None = None,
    expires_at: datetime | None = None,
) -> str:
    """A new bearer token, returned once and stored as a hash; flushes."""
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    session.add(
        ApiToken(
            user_id=user.id,
            token_hash=hash_token(token),
            device_name=device_name,
            abilities=abilities,
            expires_at=expires_at,
        )
    )
    session.flush()
    return token


def authenticate(connection: Connection, token: str, now: datetime) -> Actor | None:
    """The actor of a token that is known, not expired, not revoked, and whose user is active. One statement."""
    row = connection.execute(
        select(User.id, User.role, ApiToken.abilities)
        .join(User, User.id == ApiToken.user_id)
        .where(
            ApiToken.token_hash == hash_token(token),
            ApiToken.revoked_at.is_(None),
            (ApiToken.expires_at.is_(None)) | (ApiToken.expires_at > now),
            User.is_active,
        )
    ).one_or_none()
    if row is None:
        return None
    return Actor(row.id, row.role, None if row.abilities is None else frozenset(row.abilities))
