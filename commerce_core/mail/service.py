"""Putting mail into the outbox, and the steps of delivering what is in it. Flushes, never commits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import CursorResult, delete, select, update
from sqlalchemy.orm import Session

from commerce_core.mail.models import Mail

# How long to wait after each failed attempt. One more fails for good.
RETRY_AFTER = (
    timedelta(seconds=10),
    timedelta(seconds=60),
    timedelta(seconds=300),
    timedelta(minutes=30),
    timedelta(hours=2),
)
# Longer than any delivery takes: after that, whoever had claimed a mail has died.
LEASE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class ClaimedMail:
    """A mail that is ours to deliver, until its lease ends. `attempt` counts from 1."""

    id: UUID
    recipient: str
    template: str
    locale: str
    context: dict[str, Any]
    created_at: datetime
    attempt: int


def queue_mail(
    session: Session, *, template: str, to: str, context: Mapping[str, Any], locale: str, now: datetime
) -> UUID:
    """Have a mail sent once the caller's transaction has committed; its id.

    `context` is what the template needs, as JSON can hold it. Raises ValueError for an address that is not one line.
    """
    if not to.isprintable() or " " in to:
        raise ValueError("A mail's address is a single word.")
    mail = Mail(
        recipient=to, template=template, locale=locale, context=dict(context), next_attempt_at=now, created_at=now
    )
    session.add(mail)
    session.flush()
    return mail.id


def claim_mail(session: Session, *, now: datetime) -> ClaimedMail | None:
    """A mail that is due, for the caller alone until LEASE has passed; None when none is. Commit before delivering it.

    Skips what others are claiming. The attempt counts from here on, so that a mail which kills its deliverer is not
    tried forever.
    """
    while True:
        mail = session.scalar(
            select(Mail)
            .where(Mail.state == "waiting", Mail.next_attempt_at <= now)
            .order_by(Mail.next_attempt_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        if mail is None:
            return None
        if mail.attempts <= len(RETRY_AFTER):
            break
        mail.state = "failed"
        mail.last_error = mail.last_error or "the last attempt was not finished"
        session.flush()
    mail.attempts += 1
    mail.next_attempt_at = now + LEASE
    session.flush()
    return ClaimedMail(
        id=mail.id,
        recipient=mail.recipient,
        template=mail.template,
        locale=mail.locale,
        context=mail.context or {},
        created_at=mail.created_at,
        attempt=mail.attempts,
    )


def mark_sent(session: Session, mail: ClaimedMail, *, now: datetime, erase: bool) -> None:
    """The mail has left. With `erase`, what it said is forgotten."""
    values: dict[str, Any] = {"state": "sent", "sent_at": now, "last_error": None}
    if erase:
        values["context"] = None
    session.execute(update(Mail).where(Mail.id == mail.id).values(values))


def mark_undelivered(session: Session, mail: ClaimedMail, error: str, *, now: datetime, for_good: bool) -> bool:
    """The mail could not be delivered; whether it will be tried again. A failed mail is kept, with the error."""
    again = not for_good and mail.attempt <= len(RETRY_AFTER)
    values: dict[str, Any] = {"last_error": error[:500], "state": "waiting" if again else "failed"}
    if again:
        values["next_attempt_at"] = now + RETRY_AFTER[mail.attempt - 1]
    # Not if the lease has ended, and somebody else is at it or has delivered it.
    session.execute(
        update(Mail).where(Mail.id == mail.id, Mail.state == "waiting", Mail.attempts == mail.attempt).values(values)
    )
    return again


def last_mail(session: Session, *, to: str | None = None) -> Mail | None:
    """The mail that was queued last, for `to` or for anybody."""
    query = select(Mail).order_by(Mail.id.desc()).limit(1)
    return session.scalar(query if to is None else query.where(Mail.recipient == to))


def forget_mails_to(session: Session, address: str) -> None:
    """Delete what was ever written to an address."""
    session.execute(delete(Mail).where(Mail.recipient == address))


def forget_sent_mails(session: Session, *, now: datetime, days: int) -> int:
    """Delete what was sent more than `days` ago; how many."""
    result = session.execute(delete(Mail).where(Mail.state == "sent", Mail.sent_at < now - timedelta(days=days)))
    assert isinstance(result, CursorResult)
    return result.rowcount
