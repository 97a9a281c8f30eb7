"""Writing the audit log, and reading it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from commerce_core.audit.models import AuditEntry


def record(
    session: Session,
    *,
    actor: str,
    action: str,
    subject: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    request_id: str | None = None,
    now: datetime,
) -> None:
    """Add a line to the audit log: `actor` did `action` (`product.update`) to `subject` (`product:<id>`).

    Of `before` and `after` only what differs is kept; what is new has no `before`, what is gone no `after`. Never give
    it a password or a token. Does not flush.
    """
    if before is not None and after is not None:
        changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        before = {name: value for name, value in before.items() if name in changed}
        after = {name: value for name, value in after.items() if name in changed}
    session.add(
        AuditEntry(
            actor=actor,
            action=action,
            subject=subject,
            before=None if before is None else _plain(before),
            after=None if after is None else _plain(after),
            request_id=request_id,
            created_at=now,
        )
    )


def list_entries(
    session: Session,
    *,
    actor: str | None = None,
    action: str | None = None,
    subject: str | None = None,
    before: UUID | None = None,
    limit: int,
) -> tuple[Sequence[AuditEntry], bool]:
    """Entries, newest first, and whether more follow. No locks."""
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit + 1)
    if actor is not None:
        query = query.where(AuditEntry.actor == actor)
    if action is not None:
        query = query.where(AuditEntry.action == action)
    if subject is not None:
        query = query.where(AuditEntry.subject == subject)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    entries = session.scalars(query).all()
    return entries[:limit], len(entries) > limit


def _plain(value: Any) -> Any:
    """As JSON can hold it: ids and times become text."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(part) for part in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)
