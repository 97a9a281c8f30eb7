"""Closing the shop for maintenance, and opening it again. Flushes, never commits."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from commerce_core.audit.service import record
from commerce_core.maintenance.models import Maintenance

_SUBJECT = "maintenance"


def begin_maintenance(
    session: Session, *, now: datetime, until: datetime | None, message: str | None, actor: str
) -> Maintenance:
    """Close the shop, or say anew how long, and why. Every process knows within a second after the commit."""
    found = session.get(Maintenance, 1, with_for_update=True)
    if found is None:
        found = Maintenance(id=1, since=now)
        session.add(found)
    found.until, found.message = until, message
    session.flush()
    record(
        session,
        actor=actor,
        action="maintenance.on",
        subject=_SUBJECT,
        after={"until": until, "message": message},
        now=now,
    )
    return found


def end_maintenance(session: Session, *, now: datetime, actor: str) -> bool:
    """Open the shop; whether it was closed."""
    found = session.get(Maintenance, 1, with_for_update=True)
    if found is None:
        return False
    session.delete(found)
    session.flush()
    record(session, actor=actor, action="maintenance.off", subject=_SUBJECT, before={"since": found.since}, now=now)
    return True


def get_maintenance(session: Session) -> Maintenance | None:
    """How long the shop is closed, and why; None when it is open. No lock."""
    return session.get(Maintenance, 1)
