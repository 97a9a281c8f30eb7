"""Payments, refunds, and the inbox of what providers tell us."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from commerce_core.database import Base, Currency, Id, MinorUnits, one_of
from commerce_core.orders.models import Order


class Payment(Base):
    """One attempt to collect an order's total through a provider. Amounts in minor units."""

    __tablename__ = "payment"
    __table_args__ = (
        one_of("status", "pending", "paid", "failed", "cancelled", "refunded"),
        UniqueConstraint("provider", "provider_reference"),
        CheckConstraint("amount >= 0", name="amount_not_negative"),
        # An order has at most one attempt under way with a provider.
        Index(
            "uq_payment_open",
            "order_id",
            "provider",
            unique=True,
            postgresql_where=text("status = 'pending'"),
        ),
    )

    id: Mapped[Id]
    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id"), index=True)
    provider: Mapped[str] = mapped_column(Text)
    provider_reference: Mapped[str | None] = mapped_column(Text)
    amount: Mapped[MinorUnits]
    currency: Mapped[Currency]
    status: Mapped[str] = mapped_column(Text, default="pending")
    error: Mapped[str | None] = mapped_column(Text)
    paid_at: Mapped[datetime | None]
    created_at: Mapped[datetime]

    order: Mapped[Order] = relationship()


class Refund(Base):
    """Money owed or given back. `pending` until the provider has confirmed it."""

    __tablename__ = "refund"
    __table_args__ = (
        one_of("status", "pending", "succeeded", "failed"),
        CheckConstraint("amount > 0", name="amount_positive"),
    )

    id: Mapped[Id]
    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id"), index=True)
    payment_id: Mapped[UUID] = mapped_column(ForeignKey("payment.id"), index=True)
    provider_reference: Mapped[str | None] = mapped_column(Text)
    amount: Mapped[MinorUnits]
    currency: Mapped[Currency]
    status: Mapped[str] = mapped_column(Text, default="pending")
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class WebhookEvent(Base):
    """One event of a provider, kept as it came. Unique per provider: a second delivery changes nothing."""

    __tablename__ = "webhook_event"
    __table_args__ = (
        one_of("state", "received", "processed", "ignored", "unmatched", "dead"),
        UniqueConstraint("provider", "event_id"),
        Index(
            "ix_webhook_event_open",
            "received_at",
            postgresql_where=text("state IN ('received', 'unmatched')"),
        ),
    )

    id: Mapped[Id]
    provider: Mapped[str] = mapped_column(Text)
    event_id: Mapped[str] = mapped_column(Text)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    payload: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(Text, default="received")
    detail: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    order_id: Mapped[UUID | None]
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())
    processed_at: Mapped[datetime | None]
