"""Rules, coupons and price lists, and what was made of them.

What is used up is counted twice: in `pricing_use`, a row for each order and rule or coupon, and, where there is a
limit, in `pricing_limit`, whose row is what two that want the last use wait for. See uses.py.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from commerce_core.database import Base, Currency, Id, MinorUnits, one_of


class PricingState(Base):
    """One row. `token` is another after every change of rules or price lists: who has compiled them sees it by that."""

    __tablename__ = "pricing_state"
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    token: Mapped[UUID]


class PricingRule(Base):
    """A rule, as definitions.py describes it. Deleted ones stay, for the orders that were placed by them."""

    __tablename__ = "pricing_rule"
    __table_args__ = (
        CheckConstraint("ends_at > starts_at", name="ends_after_it_starts"),
        CheckConstraint("(budget_amount IS NULL) = (budget_currency IS NULL)", name="budget"),
        Index("ix_pricing_rule_active", "id", postgresql_where=text("active AND deleted_at IS NULL")),
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, default="")
    type: Mapped[str] = mapped_column(Text)
    priority: Mapped[int] = mapped_column(Integer)
    stackable: Mapped[bool]
    exclusive_group: Mapped[str | None] = mapped_column(Text)
    active: Mapped[bool]
    starts_at: Mapped[datetime | None]
    ends_at: Mapped[datetime | None]
    scope: Mapped[dict[str, Any]]
    conditions: Mapped[dict[str, Any] | None]
    modifiers: Mapped[dict[str, Any]]
    usage_limit: Mapped[int | None] = mapped_column(Integer)
    usage_limit_per_customer: Mapped[int | None] = mapped_column(Integer)
    budget_amount: Mapped[MinorUnits | None]
    budget_currency: Mapped[Currency | None]
    version: Mapped[int] = mapped_column(Integer, default=1)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]


class PricingCoupon(Base):
    """A code. What it is worth is said by the rules that ask for it, or for its campaign."""

    __tablename__ = "pricing_coupon"
    __table_args__ = (
        CheckConstraint("code = upper(code)", name="code_is_in_upper_case"),
        CheckConstraint("ends_at > starts_at", name="ends_after_it_starts"),
        Index("ix_pricing_coupon_campaign", "campaign", "id", postgresql_where=text("campaign IS NOT NULL")),
    )

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(Text, unique=True)
    campaign: Mapped[str | None] = mapped_column(Text)
    active: Mapped[bool] = mapped_column(default=True)
    starts_at: Mapped[datetime | None]
    ends_at: Mapped[datetime | None]
    usage_limit: Mapped[int | None] = mapped_column(Integer)
    usage_limit_per_customer: Mapped[int | None] = mapped_column(Integer)
    version: Mapped[int] = mapped_column(Integer, default=1)
    created_at: Mapped[datetime]


class PricingLimit(Base):
    """What is left of a rule or a coupon that has limits, and only of those. `spent` is in `budget_currency`."""

    __tablename__ = "pricing_limit"

    subject_id: Mapped[UUID] = mapped_column(primary_key=True)
    usage_limit: Mapped[int | None] = mapped_column(Integer)
    usage_limit_per_customer: Mapped[int | None] = mapped_column(Integer)
    budget_amount: Mapped[MinorUnits | None]
    budget_currency: Mapped[Currency | None]
    uses: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    spent: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")


class PricingUse(Base):
    """An order has a rule or a coupon. `amount` is what it took off, in the order's currency.

    `released_at`: the order was cancelled. Its limit is not locked for that; who is next to want a use `collected` it.
    """

    __tablename__ = "pricing_use"
    __table_args__ = (
        one_of("kind", "rule", "coupon"),
        UniqueConstraint("order_id", "subject_id"),
        Index("ix_pricing_use_of_customer", "subject_id", "user_id", postgresql_where=text("released_at IS NULL")),
        Index(
            "ix_pricing_use_to_collect",
            "subject_id",
            postgresql_where=text("released_at IS NOT NULL AND NOT collected"),
        ),
    )

    id: Mapped[Id]
    kind: Mapped[str] = mapped_column(Text)
    subject_id: Mapped[UUID]
    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"))
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    amount: Mapped[MinorUnits]
    currency: Mapped[Currency]
    created_at: Mapped[datetime]
    released_at: Mapped[datetime | None]
    collected: Mapped[bool] = mapped_column(default=False, server_default=text("false"))


class PricingList(Base):
    """Prices for a group of customers (`tier`; None: everybody) in one currency."""

    __tablename__ = "pricing_list"
    __table_args__ = (CheckConstraint("ends_at > starts_at", name="ends_after_it_starts"),)

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(Text)
    tier: Mapped[str | None] = mapped_column(Text)
    currency: Mapped[Currency]
    priority: Mapped[int] = mapped_column(Integer, default=0)
    active: Mapped[bool] = mapped_column(default=True)
    starts_at: Mapped[datetime | None]
    ends_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(Integer, default=1)
    created_at: Mapped[datetime]


class PricingListPrice(Base):
    """What a unit of a variant costs in a list, from so many units on."""

    __tablename__ = "pricing_list_price"
    __table_args__ = (
        CheckConstraint("from_quantity >= 1", name="from_quantity"),
        CheckConstraint("amount >= 0", name="amount"),
    )

    list_id: Mapped[UUID] = mapped_column(ForeignKey("pricing_list.id", ondelete="CASCADE"), primary_key=True)
    variant_id: Mapped[UUID] = mapped_column(ForeignKey("variant.id", ondelete="CASCADE"), primary_key=True, index=True)
    from_quantity: Mapped[int] = mapped_column(Integer, primary_key=True)
    amount: Mapped[MinorUnits]


class PricingChange(Base):
    """The history: what a rule, coupon, campaign or price list was made into, when and by whom."""

    __tablename__ = "pricing_change"
    __table_args__ = (Index("ix_pricing_change_subject", "subject", "id"),)

    id: Mapped[Id]
    subject: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(Integer)
    after: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
