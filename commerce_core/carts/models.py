"""Carts: what somebody means to buy. Nothing in a cart takes stock, unless `carts.reserve_on_add` says so."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from commerce_core.database import Base, Currency, Id, MinorUnits, one_of


class Cart(Base):
    """A cart. Its owner (a user, or a guest by the hash of their token) has one that is active.

    It is spent once: `orders.cart_id` is unique. All its lines are in one currency, that of the first.
    """

    __tablename__ = "cart"
    __table_args__ = (
        one_of("state", "active", "ordered", "merged", "expired"),
        Index("uq_cart_active", "owner", unique=True, postgresql_where=text("state = 'active'")),
        Index("ix_cart_due", "expires_at", postgresql_where=text("state = 'active'")),
        Index("ix_cart_owner", "owner", "id"),
        Index("ix_cart_closed", "updated_at", postgresql_where=text("state IN ('merged', 'expired')")),
    )

    id: Mapped[Id]
    owner: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, default="active")
    currency: Mapped[Currency | None]
    coupons: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    # The total that the client was last shown, and for where: see pricing.seen_total. None: nothing that still counts.
    seen: Mapped[dict[str, Any] | None]
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    lines: Mapped[list[CartLine]] = relationship(
        order_by="CartLine.id", back_populates="cart", cascade="all, delete-orphan", passive_deletes=True
    )


class CartLine(Base):
    """One variant in a cart. `unit_price` is what it cost when the client last saw and accepted it."""

    __tablename__ = "cart_line"
    __table_args__ = (UniqueConstraint("cart_id", "variant_id"), CheckConstraint("quantity > 0", name="quantity"))

    id: Mapped[Id]
    cart_id: Mapped[UUID] = mapped_column(ForeignKey("cart.id", ondelete="CASCADE"))
    variant_id: Mapped[UUID] = mapped_column(ForeignKey("variant.id"), index=True)
    quantity: Mapped[int] = mapped_column(Integer)
    unit_price: Mapped[MinorUnits]
    # With carts.reserve_on_add: the hold that keeps these units for this cart.
    hold_id: Mapped[UUID | None] = mapped_column(ForeignKey("hold.id"), unique=True)
    created_at: Mapped[datetime]

    cart: Mapped[Cart] = relationship(back_populates="lines")
