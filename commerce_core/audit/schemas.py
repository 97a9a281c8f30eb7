"""The audit log as staff see it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from commerce_core.api.schemas import CursorList, CursorQuery, Output, ShortText


class AuditQuery(CursorQuery):
    actor: ShortText | None = Field(default=None, examples=["user:01932c07-209c-7e3a-b6f4-5d2a8c9e1f70"])
    action: ShortText | None = Field(default=None, examples=["product.update"])
    subject: ShortText | None = Field(default=None, examples=["product:01932c07-209c-7e3a-b6f4-5d2a8c9e1f70"])


class AuditEntryOut(Output):
    """What somebody of the staff did. `before` and `after` hold the fields that changed."""

    id: UUID
    actor: str
    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    request_id: str | None
    created_at: datetime


AuditList = CursorList[AuditEntryOut]
