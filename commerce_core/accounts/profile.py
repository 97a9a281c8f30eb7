"""What users do with their own account: another address, and leaving."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, func
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from commerce_core.accounts.codes import CodeNotValid, hash_of, link, new_code
from commerce_core.accounts.models import Registration, User, Verification
from commerce_core.accounts.recovery import forget_codes
from commerce_core.accounts.tokens import revoke_tokens
from commerce_core.accounts.users import find_user, lock_user, refuse_last_admin
from commerce_core.api.models import IdempotencyKey
from commerce_core.events import savepoint
from commerce_core.mail.service import forget_mails_to, queue_mail
from commerce_core.settings import AccountSettings


def request_email_change(
    session: Session, user: User, email: str, *, settings: AccountSettings, locale: str, now: datetime
) -> None:
    """Send a code to the new address, and a notice to the old one. A code that was asked for before ends.

    A new address that has an account is told so instead: only who reads its mail learns of that.
    """
    code = new_code()
    known = find_user(session, email)
    session.execute(delete(Verification).where(Verification.user_id == user.id, Verification.kind == "email"))
    session.add(
        Verification(
            kind="email",
            user_id=user.id,
            email=email,
            token_hash=hash_of(code),
            created_at=now,
            expires_at=now + timedelta(minutes=settings.reset_minutes),
        )
    )
    if known is None:
        context = {"token": code, "url": link(settings.email_url, code), "minutes": settings.reset_minutes}
        queue_mail(session, template="email-change", to=email, context=context, locale=locale, now=now)
    else:
        queue_mail(session, template="email-change-known", to=known.email, context={}, locale=locale, now=now)
    queue_mail(session, template="email-change-notice", to=user.email, context={}, locale=locale, now=now)


def confirm_email_change(session: Session, user_id: UUID, code: str, *, now: datetime) -> User:
    """Give the user the address that the code was sent to. Locks the user.

    The code must have been asked for by this very user: else somebody could have their account, whose password they
    know, get the address of whoever clicks. Raises CodeNotValid, also when the address has got an account meanwhile.
    """
    user = lock_user(session, user_id)
    email = session.scalar(
        delete(Verification)
        .where(
            Verification.token_hash == hash_of(code),
            Verification.kind == "email",
            Verification.user_id == user_id,
            Verification.expires_at > now,
        )
        .returning(Verification.email)
    )
    if user is None or not user.is_active or email is None:
        raise CodeNotValid()
    try:
        with savepoint(session):
            user.email = email
            session.flush()
    except IntegrityError:
        raise CodeNotValid() from None
    user.email_verified_at = now
    # Codes that went to the old address must not open the account any more.
    forget_codes(session, user.id)
    session.flush()
    return user


def anonymise_user(session: Session, user: User, *, now: datetime) -> None:
    """Take away everything that says who a user (locked; an administrator with all others) is, and every way in.

    The row stays, for what refers to it. Raises LastAdmin.
    """
    refuse_last_admin(session, user, role=user.role, is_active=False)
    forget_mails_to(session, user.email)
    forget_codes(session, user.id)
    # Somebody may have tried to register the address once more.
    session.execute(delete(Registration).where(func.lower(Registration.email) == func.lower(user.email)))
    revoke_tokens(session, user.id, now=now)
    # Stored answers hold names and addresses.
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.actor == f"user:{user.id}"))
    user.is_active = False
    user.password_hash = None
    # No mail ever goes to .invalid (RFC 2606).
    user.email = f"deleted-{user.id}@deleted.invalid"
    user.name = "Deleted"
    user.phone = None
    user.tier = None
    user.email_verified_at = None
    user.deleted_at = now
    session.flush()
