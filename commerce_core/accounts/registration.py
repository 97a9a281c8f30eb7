"""Opening an account: somebody claims an address, and proves it with a code from their mail and their password again.

The code alone is not enough: whoever registers somebody else's address would know the password of the account that its
owner's click opens. And nobody learns whether an address has an account, but those who read its mail.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from commerce_core.accounts.codes import CodeNotValid, hash_of, link, new_code
from commerce_core.accounts.models import Registration, User
from commerce_core.accounts.passwords import Passwords
from commerce_core.accounts.users import create_user, find_user
from commerce_core.events import savepoint
from commerce_core.mail.service import queue_mail
from commerce_core.settings import AccountSettings


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Who wants an account."""

    email: str
    name: str
    password_hash: str


def start_registration(
    session: Session, newcomer: Newcomer, *, settings: AccountSettings, locale: str, now: datetime
) -> None:
    """Send a code to the address, or word that it has an account already. The same statements either way; no locks."""
    code = new_code()
    known = find_user(session, newcomer.email)
    session.add(
        Registration(
            email=newcomer.email,
            name=newcomer.name,
            password_hash=newcomer.password_hash,
            token_hash=hash_of(code),
            created_at=now,
            expires_at=now + timedelta(hours=settings.registration_hours),
        )
    )
    if known is None:
        context = {"token": code, "url": link(settings.registration_url, code), "hours": settings.registration_hours}
        queue_mail(session, template="registration", to=newcomer.email, context=context, locale=locale, now=now)
    else:
        queue_mail(session, template="registration-known", to=known.email, context={}, locale=locale, now=now)


def verify_registration(engine: Engine, passwords: Passwords, code: str, password: str, *, now: datetime) -> str | None:
    """Raises CodeNotValid unless the code is a registration's and the password is its own. Holds no connection.

    A new hash, if the stored one is outdated.
    """
    with engine.connect() as connection:
        stored = connection.scalar(select(Registration.password_hash).where(*_open(code, now)))
    if not passwords.verify(stored, password) or stored is None:
        raise CodeNotValid()
    return passwords.hash(password) if passwords.is_outdated(stored) else None


def confirm_registration(session: Session, code: str, *, rehashed: str | None = None, now: datetime) -> User:
    """The new user of a verified registration, which is deleted. Locks it: of two who confirm at once, one succeeds.

    Raises CodeNotValid, also when the address has got an account meanwhile.
    """
    found = session.execute(
        delete(Registration)
        .where(*_open(code, now))
        .returning(Registration.email, Registration.name, Registration.password_hash)
    ).one_or_none()
    if found is None:
        raise CodeNotValid()
    try:
        with savepoint(session):
            return create_user(
                session,
                found.email,
                found.name,
                password_hash=rehashed or found.password_hash,
                email_verified_at=now,
                created_at=now,
            )
    except IntegrityError:
        raise CodeNotValid() from None


def _open(code: str, now: datetime) -> tuple[Any, ...]:
    return Registration.token_hash == hash_of(code), Registration.expires_at > now
