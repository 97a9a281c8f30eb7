"""`request.audit(...)`: one line of the audit log, in the transaction of the request."""

from __future__ import annotations

from typing import Any

from commerce_core.audit.service import record


def audit(request: Any, action: str, subject: str, *, before: Any = None, after: Any = None) -> None:
    """Record what this request does. `subject` is the thing done to, as `product:<id>`. See `service.record`."""
    record(
        request.db,
        actor=request.actor.name,
        action=action,
        subject=subject,
        before=before,
        after=after,
        request_id=request.id,
        now=request.now,
    )
    request.is_audited = True


def audit_for(
    request: Any, owner: str | None, action: str, subject: str, *, before: Any = None, after: Any = None
) -> None:
    """Record it where staff do to somebody else's (of this `owner`) what everybody may do to their own."""
    if request.actor is not None and request.actor.role != "customer" and owner != request.owner:
        audit(request, action, subject, before=before, after=after)
