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
    """One attempt to collect an order's total through a provider. Amounts in minor units.

    `refund_total` is what of it has been, is being, or has still to be given back. A `surplus` payment came although
    the order had been paid, and goes back in full: it is no part of the order's own sums and states.
    """

    __tablename__ = "payment"
    __table_args__ = (
        one_of("status", "pending", "paid", "failed", "cancelled", "refunded"),
        UniqueConstraint("provider", "provider_reference"),
        CheckConstraint("amount >= 0", name="amount_not_negative"),
        CheckConstraint("refund_total >= 0 AND refund_total <= amount", name="refund_total"),
        # An order is paid once.
        Index(
            "uq_payment_of_order",
            "order_id",
            unique=True,
            postgresql_where=text("status IN ('paid', 'refunded') AND NOT surplus"),
        ),
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
    refund_total: Mapped[MinorUnits] = mapped_column(default=0, server_default="0")
    currency: Mapped[Currency]
    status: Mapped[str] = mapped_column(Text, default="pending")
    surplus: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    error: Mapped[str | None] = mapped_column(Text)
    paid_at: Mapped[datetime | None]
    created_at: Mapped[datetime]

    order: Mapped[Order] = relationship()
    refunds: Mapped[list[Refund]] = relationship(order_by="Refund.id", back_populates="payment")


class Refund(Base):
    """Money owed or given back, of one payment; `shipping_amount` of it is for the shipping. Amounts in minor units.

    It is `pending` until the provider has confirmed it: the intent, committed before the provider is asked. The
    scheduler asks as soon as `next_attempt_at` is over, and moves that ahead before it asks, so that nobody else does.
    `round` counts how often the provider has declined for good, and tells the rounds apart for it. A `failed` refund is
    still owed.
    """

    __tablename__ = "refund"
    __table_args__ = (
        one_of("status", "pending", "succeeded", "failed"),
        CheckConstraint("amount >= 0 AND (amount = 0 OR payment_id IS NOT NULL)", name="amount"),
        CheckConstraint("shipping_amount >= 0 AND shipping_amount <= amount", name="shipping_amount"),
        CheckConstraint("next_attempt_at IS NULL OR status = 'pending'", name="next_attempt_at"),
        Index("ix_refund_due", "next_attempt_at", postgresql_where=text("status = 'pending'")),
        Index("ix_refund_status", "status", "id"),
    )

    id: Mapped[Id]
    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id"), index=True)
    payment_id: Mapped[UUID | None] = mapped_column(ForeignKey("payment.id"), index=True)
    provider_reference: Mapped[str | None] = mapped_column(Text)
    amount: Mapped[MinorUnits]
    shipping_amount: Mapped[MinorUnits] = mapped_column(default=0, server_default="0")
    currency: Mapped[Currency]
    status: Mapped[str] = mapped_column(Text, default="pending")
    reason: Mapped[str] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    round: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    attempts: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    next_attempt_at: Mapped[datetime | None]
    created_at: Mapped[datetime]

    payment: Mapped[Payment | None] = relationship(back_populates="refunds")
    lines: Mapped[list[RefundLine]] = relationship(order_by="RefundLine.line_id")


class RefundLine(Base):
    """The units of an order's line that a refund is about, and the money for them.

    Of them `restocked_quantity` were returned to the stock on hand, and `released_quantity` had never left it.
    """

    __tablename__ = "refund_line"
    __table_args__ = (
        CheckConstraint("quantity > 0 AND amount >= 0", name="quantity"),
        CheckConstraint(
            "restocked_quantity >= 0 AND released_quantity >= 0 AND restocked_quantity + released_quantity <= quantity",
            name="units",
        ),
    )

    refund_id: Mapped[UUID] = mapped_column(ForeignKey("refund.id"), primary_key=True)
    line_id: Mapped[UUID] = mapped_column(ForeignKey("order_line.id"), primary_key=True, index=True)
    quantity: Mapped[int] = mapped_column(Integer)
    amount: Mapped[MinorUnits]
    restocked_quantity: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    released_quantity: Mapped[int] = mapped_column(Integer, default=0, server_default="0")


class WebhookEvent(Base):
    """One event of a provider, kept as it came. Unique per provider: a second delivery changes nothing."""

    __tablename__ = "webhook_event"
    __table_args__ = (
        one_of("state", "received", "processed", "ignored", "unmatched", "dead"),
        UniqueConstraint("provider", "event_id"),
        Index("ix_webhook_event_due", "next_attempt_at", postgresql_where=text("state = 'unmatched'")),
        Index("ix_webhook_event_state", "state", "id"),
    )

    id: Mapped[Id]
    provider: Mapped[str] = mapped_column(Text)
    event_id: Mapped[str] = mapped_column(Text)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    payload: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(Text, default="received")
    detail: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    next_attempt_at: Mapped[datetime | None]
    order_id: Mapped[UUID | None]
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())
    processed_at: Mapped[datetime | None]
