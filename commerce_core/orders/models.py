"""Orders: what was sold, to whom, at what price, and everything that happened to it since.

Money columns are whole minor units of the order's `currency`. Nothing here is ever deleted.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, Integer, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from commerce_core.database import Base, Currency, Id, MinorUnits, one_of, user_of
from commerce_core.money import DEFAULT_LOCALE


class Order(Base):
    """A placed order. (`order` is a reserved word in SQL.)

    Unique `hold_id` and `cart_id` make it exactly once. The stock it has taken is that of its lines' holds.
    """

    __tablename__ = "orders"
    __table_args__ = (
        one_of("status", "pending", "processing", "completed", "cancelled"),
        one_of("payment_status", "unpaid", "pending", "paid", "failed", "partially_refunded", "refunded"),
        one_of("fulfillment_status", "unfulfilled", "partial", "fulfilled", "returned"),
        one_of("cancel_reason", "cancelled", "expired"),
        CheckConstraint(
            "total = subtotal - discount_total + shipping_total + fee_total"
            " + CASE WHEN prices_include_tax THEN 0 ELSE tax_total END",
            name="totals_add_up",
        ),
        CheckConstraint(
            "subtotal >= 0 AND discount_total >= 0 AND shipping_total >= 0 AND tax_total >= 0 AND total >= 0",
            name="money_not_negative",
        ),
        Index("ix_orders_unpaid", "expires_at", postgresql_where=text("status = 'pending'")),
        Index("ix_orders_owner", "owner", "id", postgresql_where=text("owner IS NOT NULL")),
        Index("ix_orders_status", "status", "id"),
        Index("ix_orders_payment_status", "payment_status", "id"),
        Index("ix_orders_fulfillment_status", "fulfillment_status", "id"),
        Index("ix_orders_created_at", "created_at"),
        Index("ix_orders_email", text("lower(customer ->> 'email')"), "id"),
    )

    id: Mapped[Id]
    number: Mapped[str] = mapped_column(Text, unique=True)
    owner: Mapped[str | None] = mapped_column(Text)
    hold_id: Mapped[UUID | None] = mapped_column(ForeignKey("hold.id"), unique=True)
    cart_id: Mapped[UUID | None] = mapped_column(ForeignKey("cart.id"), unique=True)
    status: Mapped[str] = mapped_column(Text, default="pending")
    payment_status: Mapped[str] = mapped_column(Text, default="unpaid")
    fulfillment_status: Mapped[str] = mapped_column(Text, default="unfulfilled")
    currency: Mapped[Currency]
    subtotal: Mapped[MinorUnits]
    discount_total: Mapped[MinorUnits] = mapped_column(default=0)
    shipping_total: Mapped[MinorUnits] = mapped_column(default=0)
    fee_total: Mapped[MinorUnits] = mapped_column(default=0, server_default="0")
    tax_total: Mapped[MinorUnits] = mapped_column(default=0)
    # The tax is part of the other sums then, and not added to them.
    prices_include_tax: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    total: Mapped[MinorUnits]
    coupons: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    # How the price came about: see pricing/quote.py.
    trace: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    # The customer's language, for mail.
    locale: Mapped[str] = mapped_column(Text, default=DEFAULT_LOCALE, server_default=DEFAULT_LOCALE)
    customer: Mapped[dict[str, Any] | None]
    shipping_address: Mapped[dict[str, Any] | None]
    billing_address: Mapped[dict[str, Any] | None]
    note: Mapped[str | None] = mapped_column(Text)
    staff_note: Mapped[str | None] = mapped_column(Text)
    expires_at: Mapped[datetime | None]
    paid_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    # An order that has lapsed may still be paid; one that somebody has cancelled may not.
    cancel_reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]

    lines: Mapped[list[OrderLine]] = relationship(order_by="OrderLine.position", back_populates="order")
    adjustments: Mapped[list[OrderAdjustment]] = relationship(order_by="OrderAdjustment.id")
    events: Mapped[list[OrderEvent]] = relationship(order_by="OrderEvent.id", back_populates="order")
    fulfillments: Mapped[list[Fulfillment]] = relationship(order_by="Fulfillment.id")

    @property
    def user_id(self) -> UUID | None:
        """Whose order it is; None for a guest's."""
        return user_of(self.owner)


class OrderLine(Base):
    """A snapshot of what was bought, independent of what becomes of the product.

    `total` is before the line's discount; `tax_total` is the tax on what is left after it. Of its units,
    `fulfilled_quantity` have been shipped, `returned_quantity` of those have come back, and `cancelled_quantity` will
    never be shipped.
    """

    __tablename__ = "order_line"
    __table_args__ = (
        CheckConstraint("quantity > 0 AND total = unit_price * quantity", name="total"),
        CheckConstraint("discount_total >= 0 AND discount_total <= total AND tax_total >= 0", name="parts"),
        CheckConstraint(
            "fulfilled_quantity >= 0 AND cancelled_quantity >= 0"
            " AND fulfilled_quantity + cancelled_quantity <= quantity"
            " AND returned_quantity >= 0 AND returned_quantity <= fulfilled_quantity",
            name="units",
        ),
    )

    id: Mapped[Id]
    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id"), index=True)
    position: Mapped[int] = mapped_column(Integer)
    variant_id: Mapped[UUID] = mapped_column(ForeignKey("variant.id"), index=True)
    # The hold that took this line's stock; another one if the stock had to be taken again.
    hold_id: Mapped[UUID | None] = mapped_column(ForeignKey("hold.id"), unique=True)
    product_name: Mapped[str] = mapped_column(Text)
    variant_name: Mapped[str] = mapped_column(Text)
    sku: Mapped[str] = mapped_column(Text, index=True)
    attributes: Mapped[dict[str, Any]]
    quantity: Mapped[int] = mapped_column(Integer)
    unit_price: Mapped[MinorUnits]
    total: Mapped[MinorUnits]
    discount_total: Mapped[MinorUnits] = mapped_column(default=0, server_default="0")
    tax_total: Mapped[MinorUnits] = mapped_column(default=0, server_default="0")
    fulfilled_quantity: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    cancelled_quantity: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    returned_quantity: Mapped[int] = mapped_column(Integer, default=0, server_default="0")

    order: Mapped[Order] = relationship(back_populates="lines")

    @property
    def unfulfilled_quantity(self) -> int:
        """Units that are still to be shipped."""
        return self.quantity - self.fulfilled_quantity - self.cancelled_quantity

    @property
    def refunded_quantity(self) -> int:
        """Units that the customer does not pay for (any more)."""
        return self.cancelled_quantity + self.returned_quantity


class Fulfillment(Base):
    """Units that were sent to the customer together. Cancelled, it was a mistake: they are still to be sent."""

    __tablename__ = "fulfillment"
    __table_args__ = (one_of("status", "shipped", "cancelled"),)

    id: Mapped[Id]
    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id"), index=True)
    status: Mapped[str] = mapped_column(Text, default="shipped")
    carrier: Mapped[str | None] = mapped_column(Text)
    tracking_number: Mapped[str | None] = mapped_column(Text)
    tracking_url: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    cancelled_at: Mapped[datetime | None]

    lines: Mapped[list[FulfillmentLine]] = relationship(order_by="FulfillmentLine.line_id")


class FulfillmentLine(Base):
    """How many units of an order's line are in a fulfillment."""

    __tablename__ = "fulfillment_line"
    __table_args__ = (CheckConstraint("quantity > 0", name="quantity"),)

    fulfillment_id: Mapped[UUID] = mapped_column(ForeignKey("fulfillment.id"), primary_key=True)
    line_id: Mapped[UUID] = mapped_column(ForeignKey("order_line.id"), primary_key=True, index=True)
    quantity: Mapped[int] = mapped_column(Integer)


class OrderAdjustment(Base):
    """A discount, shipping, fee or tax that is part of the total, and where it came from.

    The subtotal and all adjustments that are not `included` add up to the total. With `line_id`, it is about that line.
    """

    __tablename__ = "order_adjustment"

    id: Mapped[Id]
    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id"), index=True)
    line_id: Mapped[UUID | None] = mapped_column(ForeignKey("order_line.id"))
    kind: Mapped[str] = mapped_column(Text)
    code: Mapped[str] = mapped_column(Text, default="", server_default="")
    label: Mapped[str] = mapped_column(Text)
    amount: Mapped[MinorUnits]
    source: Mapped[str] = mapped_column(Text)
    # Tax that the prices include already.
    included: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    trace: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")


class OrderEvent(Base):
    """One line of an order's history: append-only."""

    __tablename__ = "order_event"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id"), index=True)
    kind: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    actor: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())

    order: Mapped[Order] = relationship(back_populates="events")
