"""The outbox."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, Integer, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from commerce_core.database import Base, Id, one_of


class Mail(Base):
    """A mail that waits, was sent, or has failed for good.

    It is written out of `template` and `context` when it is delivered, so that a merchant's broken template delays a
    mail and stops no request. `context`, which may hold a one-time code, is erased when a mail has left the shop.
    """

    __tablename__ = "mail"
    __table_args__ = (
        one_of("state", "waiting", "sent", "failed"),
        Index("ix_mail_due", "next_attempt_at", postgresql_where=text("state = 'waiting'")),
        Index("ix_mail_recipient", "recipient", "id"),
    )

    id: Mapped[Id]
    recipient: Mapped[str] = mapped_column(Text)
    template: Mapped[str] = mapped_column(Text)
    locale: Mapped[str] = mapped_column(Text)
    context: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    state: Mapped[str] = mapped_column(Text, default="waiting")
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    # While a mail is being delivered, this is when somebody else may try.
    next_attempt_at: Mapped[datetime]
    last_error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
