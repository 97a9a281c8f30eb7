"""Webhooks that the shop sends: the endpoints of integrators, what each is told, and every attempt to tell it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from commerce_core.database import Base, Id, one_of


class WebhookEndpoint(Base):
    """Where an integrator wants to be told, and of what.

    It has been `failing_since` then if nothing has been delivered after it. While it `rests`, because nobody answered
    `misses` times in a row, it is told nothing; what there is to tell waits. `version` counts the edits.
    """

    __tablename__ = "webhook_endpoint"
    __table_args__ = (
        CheckConstraint("disabled_reason IN ('gone', 'failing')", name="disabled_reason"),
        CheckConstraint("disabled_reason IS NULL OR NOT active", name="disabled"),
        # Somebody who did not get the answer and asks again does not have everything told twice.
        UniqueConstraint("url"),
    )

    id: Mapped[Id]
    url: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, default="")
    topics: Mapped[list[str]] = mapped_column(ARRAY(Text))
    active: Mapped[bool] = mapped_column(default=True)
    secret: Mapped[str] = mapped_column(Text)
    previous_secret: Mapped[str | None] = mapped_column(Text)
    previous_secret_until: Mapped[datetime | None]
    disabled_reason: Mapped[str | None] = mapped_column(Text)
    failing_since: Mapped[datetime | None]
    rests_until: Mapped[datetime | None]
    misses: Mapped[int] = mapped_column(Integer, default=0)
    version: Mapped[int] = mapped_column(Integer, default=1)
    created_at: Mapped[datetime]


class WebhookDelivery(Base):
    """One event that one endpoint is to be told, written in the event's transaction. `event_id` is the receiver's.

    It is `waiting` until it is `delivered`, or has `failed` after its last try. `attempts` counts all of them, `tries`
    those since it was last begun anew. `next_attempt_at` moves ahead before each attempt, so that nobody else makes it.
    """

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        one_of("state", "waiting", "delivered", "failed"),
        CheckConstraint("(state = 'waiting') = (next_attempt_at IS NOT NULL)", name="next_attempt_at"),
        UniqueConstraint("endpoint_id", "event_id"),
        Index("ix_webhook_delivery_due", "endpoint_id", "next_attempt_at", postgresql_where=text("state = 'waiting'")),
        Index("ix_webhook_delivery_list", "endpoint_id", "id"),
        Index("ix_webhook_delivery_state", "endpoint_id", "state", "id"),
        Index("ix_webhook_delivery_subject", "subject", postgresql_where=text("subject IS NOT NULL")),
        Index("ix_webhook_delivery_created_at", "created_at"),
    )

    id: Mapped[Id]
    # No foreign key: its check would have every order lock the endpoint's row, and fail where that is just deleted.
    endpoint_id: Mapped[UUID]
    event_id: Mapped[UUID]
    topic: Mapped[str] = mapped_column(Text)
    # What it is about, as `order:<id>`.
    subject: Mapped[str | None] = mapped_column(Text)
    data: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(Text, default="waiting")
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    tries: Mapped[int] = mapped_column(Integer, default=0)
    next_attempt_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class WebhookAttempt(Base):
    """One attempt at a delivery: what was answered (the beginning of it), or why nothing was."""

    __tablename__ = "webhook_attempt"

    id: Mapped[Id]
    delivery_id: Mapped[UUID] = mapped_column(ForeignKey("webhook_delivery.id", ondelete="CASCADE"), index=True)
    started_at: Mapped[datetime]
    duration_ms: Mapped[int] = mapped_column(Integer)
    status: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(Text)
    response: Mapped[str | None] = mapped_column(Text)
