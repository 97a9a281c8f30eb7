"""Setting a password with a code from one's mail: forgotten ones, and the first one of somebody who was invited."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import Session

from commerce_core.accounts.codes import CodeNotValid, hash_of, link, new_code
from commerce_core.accounts.models import User, Verification
from commerce_core.accounts.tokens import revoke_tokens
from commerce_core.accounts.users import find_user, lock_user
from commerce_core.mail.service import queue_mail
from commerce_core.settings import AccountSettings


def request_password_reset(
    session: Session, email: str, *, settings: AccountSettings, locale: str, now: datetime
) -> None:
    """Send a code to the address, or word that it has no account. The same statements either way."""
    # Locked: a code for the old address must not slip past a change of it.
    user = find_user(session, email, lock=True)
    if user is not None and (not user.is_active or user.deleted_at is not None):
        user = None
    code = _write_code(session, user, expires_at=now + timedelta(minutes=settings.reset_minutes), now=now)
    if user is None:
        queue_mail(session, template="password-reset-unknown", to=email, context={}, locale=locale, now=now)
    else:
        # To the address that the user has proved to own, not to one that the database only takes for the same.
        context = {"token": code, "url": link(settings.reset_url, code), "minutes": settings.reset_minutes}
        queue_mail(session, template="password-reset", to=user.email, context=context, locale=locale, now=now)


def invite(session: Session, user: User, *, settings: AccountSettings, locale: str, now: datetime) -> None:
    """Send a new user a code with which to set their first password."""
    hours = settings.invitation_hours
    code = _write_code(session, user, expires_at=now + timedelta(hours=hours), now=now)
    context = {"token": code, "url": link(settings.reset_url, code), "hours": hours}
    queue_mail(session, template="invitation", to=user.email, context=context, locale=locale, now=now)


@dataclass(frozen=True, slots=True)
class Reset:
    """A code that sets the password of this user."""

    user_id: UUID
    email: str
    code: str


def find_reset(engine: Engine, code: str, *, now: datetime) -> Reset:
    """Whose password a code sets. Raises CodeNotValid. Asked before hashing, which nobody gets for a made-up code."""
    with engine.connect() as connection:
        found = connection.execute(
            select(User.id, User.email).join(Verification, Verification.user_id == User.id).where(*_open(code, now))
        ).one_or_none()
    if found is None:
        raise CodeNotValid()
    return Reset(found.id, found.email, code)


def reset_password(session: Session, reset: Reset, password_hash: str, *, locale: str, now: datetime) -> None:
    """Set the password, sign the user out everywhere, end every other code, and tell them.

    Locks the user: of two who use a code at once, one succeeds. Raises CodeNotValid.
    """
    user = lock_user(session, reset.user_id)
    used = session.scalar(delete(Verification).where(*_open(reset.code, now)).returning(Verification.id))
    if user is None or not user.is_active or used is None:
        raise CodeNotValid()
    # Who reads mail sent to the address owns it.
    user.email_verified_at = user.email_verified_at or now
    set_password(session, user, password_hash, locale=locale, now=now)


def set_password(
    session: Session, user: User, password_hash: str, *, but_token: UUID | None = None, locale: str, now: datetime
) -> None:
    """Give a user (locked) another password: their tokens, but one, and all their codes end, and they are told."""
    user.password_hash = password_hash
    revoke_tokens(session, user.id, now=now, but=but_token)
    forget_codes(session, user.id)
    queue_mail(session, template="password-changed", to=user.email, context={}, locale=locale, now=now)


def forget_codes(session: Session, user_id: UUID) -> None:
    """End every code that was mailed for a user."""
    session.execute(delete(Verification).where(Verification.user_id == user_id))


def _write_code(session: Session, user: User | None, *, expires_at: datetime, now: datetime) -> str:
    code = new_code()
    session.add(
        Verification(
            kind="password",
            user_id=None if user is None else user.id,
            token_hash=hash_of(code),
            created_at=now,
            expires_at=expires_at,
        )
    )
    session.flush()
    return code


def _open(code: str, now: datetime) -> tuple[Any, ...]:
    return (
        Verification.token_hash == hash_of(code),
        Verification.kind == "password",
        Verification.user_id.is_not(None),
        Verification.expires_at > now,
    )
