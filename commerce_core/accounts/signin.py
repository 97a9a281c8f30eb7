"""Signing in: a password is verified while no transaction is open, and what was verified must still hold in it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Engine, select
from sqlalchemy.orm import Session

from commerce_core.accounts.models import ApiToken, User
from commerce_core.accounts.passwords import Passwords
from commerce_core.accounts.tokens import make_token
from commerce_core.accounts.users import is_address, lock_user
from commerce_core.api.problems import InvalidInput, Unauthorized


class InvalidCredentials(Unauthorized):
    """The e-mail address and the password do not go together, or the account cannot be used. Which, is not said."""

    slug = "invalid-credentials"
    title = "The e-mail address or the password is wrong"


@dataclass(frozen=True, slots=True)
class Verified:
    """Somebody has shown to know the password whose hash is `password_hash`. `rehashed` should take its place."""

    user_id: UUID
    email: str
    password_hash: str
    rehashed: str | None


def verify_login(engine: Engine, passwords: Passwords, email: str, password: str) -> Verified:
    """Raises InvalidCredentials: after the same statement and the same hash, whatever the reason.

    Holds no connection while it hashes.
    """
    verified = _verify(engine, passwords, is_address(email), password)
    if verified is None:
        raise InvalidCredentials()
    return verified


def verify_password(engine: Engine, passwords: Passwords, user_id: UUID, password: str) -> Verified:
    """The same for somebody who is signed in. Raises InvalidInput for `current_password`."""
    verified = _verify(engine, passwords, User.id == user_id, password)
    if verified is None:
        raise _wrong_password()
    return verified


def lock_verified(session: Session, verified: Verified, *, with_admins: bool = False) -> User:
    """The user, locked, if the password is still theirs. Raises InvalidInput if it has been changed meanwhile."""
    user = _lock(session, verified, with_admins=with_admins)
    if user is None:
        raise _wrong_password()
    return user


def sign_in(
    session: Session, verified: Verified, device_name: str, *, ttl: timedelta, now: datetime
) -> tuple[User, str, ApiToken]:
    """The user, a new token and its row. Raises InvalidCredentials if the password was changed meanwhile.

    Locks the user. That keeps a change of the password, which ends all tokens, from overlooking this one.
    """
    user = _lock(session, verified)
    if user is None:
        raise InvalidCredentials()
    if verified.rehashed is not None:
        user.password_hash = verified.rehashed
    token, row = make_token(session, user, device_name, expires_at=now + ttl)
    return user, token, row


def _verify(engine: Engine, passwords: Passwords, who: ColumnElement[bool], password: str) -> Verified | None:
    with engine.connect() as connection:
        found = connection.execute(
            select(User.id, User.email, User.password_hash).where(who, User.is_active, User.deleted_at.is_(None))
        ).one_or_none()
    stored = None if found is None else found.password_hash
    if not passwords.verify(stored, password) or found is None:
        return None
    rehashed = passwords.hash(password) if passwords.is_outdated(found.password_hash) else None
    return Verified(found.id, found.email, found.password_hash, rehashed)


def _lock(session: Session, verified: Verified, *, with_admins: bool = False) -> User | None:
    user = lock_user(session, verified.user_id, with_admins=with_admins)
    still = user is not None and user.is_active and user.password_hash == verified.password_hash
    return user if still else None


def _wrong_password() -> InvalidInput:
    return InvalidInput.field("current_password", "wrong_password", "is not your password")
