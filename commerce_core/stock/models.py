"""Stock: the level of a variant, the holds on it, and the ledger of every movement.

`available = on_hand - reserved`. The counters, the open holds and the ledger change in one transaction, always; the
CHECKs below are the last word on overselling, and a trigger refuses to change or delete a movement.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from commerce_core.database import Base, Id, one_of


class StockLevel(Base):
    """One narrow row per variant, rewritten in place (HOT) by every hold: put no index on a counter."""

    __tablename__ = "stock_level"
    __table_args__ = (
        one_of("policy", "track", "ignore"),
        CheckConstraint("on_hand >= 0 AND reserved >= 0", name="not_negative"),
        CheckConstraint("allow_backorder OR reserved <= on_hand", name="not_oversold"),
        {
            "postgresql_with": {
                "fillfactor": "50",
                "autovacuum_vacuum_scale_factor": "0.0",
                "autovacuum_vacuum_threshold": "1000",
            }
        },
    )

    variant_id: Mapped[UUID] = mapped_column(ForeignKey("variant.id"), primary_key=True)
    on_hand: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    reserved: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    low_stock_threshold: Mapped[int] = mapped_column(Integer, default=5, server_default="5")
    version: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    policy: Mapped[str] = mapped_column(Text, default="track", server_default="track")
    allow_backorder: Mapped[bool] = mapped_column(default=False, server_default=text("false"))


class StockSignal(Base):
    """Which state of a variant's stock was announced last. A variant without a row was never low nor out."""

    __tablename__ = "stock_signal"
    __table_args__ = (one_of("state", "in", "low", "out"),)

    variant_id: Mapped[UUID] = mapped_column(ForeignKey("variant.id", ondelete="CASCADE"), primary_key=True)
    state: Mapped[str] = mapped_column(Text)


class Hold(Base):
    """Units taken off sale for a limited time.

    `reserved` is what it counts for in the level: its quantity, or 0 where the variant was not tracked when it was
    placed. `sold_at` is set when a converted hold has become a sale; `awaiting_stock` marks a paid backorder.
    """

    __tablename__ = "hold"
    __table_args__ = (
        one_of("state", "active", "converted", "released", "expired"),
        CheckConstraint("quantity > 0 AND reserved IN (0, quantity)", name="quantity"),
        CheckConstraint("sold_at IS NULL OR state = 'converted'", name="sold_means_converted"),
        Index("ix_hold_expiry", "variant_id", "expires_at", postgresql_where=text("state = 'active'")),
        Index("ix_hold_due", "expires_at", postgresql_where=text("state = 'active'")),
        Index(
            "ix_hold_awaiting_stock",
            "variant_id",
            "id",
            postgresql_where=text("awaiting_stock AND sold_at IS NULL AND state = 'converted'"),
        ),
        Index("ix_hold_owner", "owner", "id", postgresql_where=text("owner IS NOT NULL")),
        Index("ix_hold_order_id", "order_id", postgresql_where=text("order_id IS NOT NULL")),
    )

    id: Mapped[Id]
    variant_id: Mapped[UUID] = mapped_column(ForeignKey("variant.id"))
    quantity: Mapped[int] = mapped_column(Integer)
    reserved: Mapped[int] = mapped_column(Integer)
    owner: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, default="active", server_default="active")
    extensions: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    order_id: Mapped[UUID | None]
    sold_at: Mapped[datetime | None]
    awaiting_stock: Mapped[bool] = mapped_column(default=False, server_default=text("false"))


class StockMovement(Base):
    """One line of the ledger: append-only. `version` counts the movements of a variant, without a gap."""

    __tablename__ = "stock_movement"
    __table_args__ = (
        one_of("kind", "receive", "adjust", "hold", "release", "expire", "sale", "return", "damage"),
        # A hold ends once: released, expired or sold.
        Index(
            "uq_stock_movement_hold_end",
            "hold_id",
            unique=True,
            postgresql_where=text("kind IN ('release', 'expire', 'sale')"),
        ),
        Index("ix_stock_movement_order_id", "order_id", postgresql_where=text("order_id IS NOT NULL")),
    )

    # No foreign key: the level it belongs to has one, and this is written by every hold.
    variant_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(Text)
    on_hand_delta: Mapped[int] = mapped_column(Integer)
    reserved_delta: Mapped[int] = mapped_column(Integer)
    on_hand_after: Mapped[int] = mapped_column(Integer)
    reserved_after: Mapped[int] = mapped_column(Integer)
    hold_id: Mapped[UUID | None]
    order_id: Mapped[UUID | None]
    actor: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
