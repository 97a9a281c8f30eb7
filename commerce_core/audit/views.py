"""The audit log over REST."""

from __future__ import annotations

from typing import Any

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view
from commerce_core.api.schemas import cursor_list_of
from commerce_core.audit import service
from commerce_core.audit.schemas import AuditEntryOut, AuditList, AuditQuery


@api_view(
    route_name="admin_audit_log",
    request_method="GET",
    permission=Permission.AUDIT_READ,
    query=AuditQuery,
    returns=AuditList,
)
def list_audit_log(request: Any, query: AuditQuery) -> Any:
    """What members of staff did, newest first."""
    entries, more = service.list_entries(
        request.db,
        actor=query.actor,
        action=query.action,
        subject=query.subject,
        before=query.after,
        limit=query.limit,
    )
    rows = [AuditEntryOut.model_validate(entry, from_attributes=True) for entry in entries]
    return cursor_list_of(request.path, query, rows, entries[-1].id if more else None)
