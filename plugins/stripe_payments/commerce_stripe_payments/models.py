"""What the plugin keeps: events as they came, attempts to collect, customers, refunds, disputes.

Beside the core's own payments and refunds, which say what an order has been paid. Amounts are whole minor units as the
core counts them; amounts.py makes them Stripe's. Rows about money are never deleted.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from commerce_core.database import Base, Currency, Id, MinorUnits, one_of


class StripeSite(Base):
    """One row: the name by which this shop knows its own objects at Stripe, among those of other shops of the account.

    `demo_address` is where the fake Stripe of a demo listens.
    """

    __tablename__ = "stripe_site"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    site: Mapped[UUID]
    demo_address: Mapped[str | None] = mapped_column(Text)


class StripeEvent(Base):
    """One event of Stripe, kept as it came. Unique: a second delivery changes nothing.

    `account` is empty for the shop's own. `object_id` names what it is about. While `received` or `unmatched` it is
    still to be used, by a job since `queued_at`; `dead` ones wait for the staff.
    """

    __tablename__ = "stripe_event"
    __table_args__ = (
        one_of("state", "received", "processed", "ignored", "unmatched", "dead"),
        UniqueConstraint("account", "livemode", "event_id"),
        Index("ix_stripe_event_open", "received_at", postgresql_where=text("state IN ('received', 'unmatched')")),
        Index("ix_stripe_event_new", "id", postgresql_where=text("state = 'received' AND queued_at IS NULL")),
        Index("ix_stripe_event_state", "state", "id"),
        Index("ix_stripe_event_type", "type", "id"),
        Index("ix_stripe_event_object_id", "object_id", postgresql_where=text("object_id IS NOT NULL")),
    )

    id: Mapped[Id]
    account: Mapped[str] = mapped_column(Text, default="", server_default="")
    livemode: Mapped[bool]
    event_id: Mapped[str] = mapped_column(Text)
    type: Mapped[str] = mapped_column(Text)
    api_version: Mapped[str | None] = mapped_column(Text)
    object_id: Mapped[str | None] = mapped_column(Text)
    is_thin: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    created: Mapped[datetime]
    body: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[str] = mapped_column(Text, default="received")
    detail: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    order_id: Mapped[UUID | None]
    received_at: Mapped[datetime]
    queued_at: Mapped[datetime | None]
    processed_at: Mapped[datetime | None]


class StripeAttempt(Base):
    """One attempt to collect a payment of the core's: a payment intent, or a checkout session with its intent.

    Committed before Stripe is asked. Its id is in the idempotency key and in the metadata of what is made, and
    `parameters` are what was sent, so that a retry sends the same. It is `creating` until Stripe has answered, and
    `refused` when Stripe never will do it.
    """

    __tablename__ = "stripe_attempt"
    __table_args__ = (
        one_of("kind", "intent", "checkout"),
        one_of("state", "creating", "open", "processing", "succeeded", "canceled", "refused"),
        Index("ix_stripe_attempt_due", "next_attempt_at", postgresql_where=text("state = 'creating'")),
        Index("ix_stripe_attempt_payment", "payment_id", "id"),
        # A payment has at most one attempt under way.
        Index(
            "uq_stripe_attempt_open",
            "payment_id",
            unique=True,
            postgresql_where=text("state IN ('creating', 'open', 'processing')"),
        ),
    )

    id: Mapped[Id]
    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"), index=True)
    payment_id: Mapped[UUID]
    kind: Mapped[str] = mapped_column(Text, default="intent")
    state: Mapped[str] = mapped_column(Text, default="creating")
    intent_id: Mapped[str | None] = mapped_column(Text, unique=True)
    session_id: Mapped[str | None] = mapped_column(Text, unique=True)
    stripe_status: Mapped[str | None] = mapped_column(Text)
    amount: Mapped[MinorUnits]
    currency: Mapped[Currency]
    livemode: Mapped[bool]
    parameters: Mapped[dict[str, Any]]
    decline_code: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    tries: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    next_attempt_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class StripeCustomer(Base):
    """A user's customer at Stripe, one for each account and mode. `customer_id` is null until Stripe has answered.

    `told_...` is what Stripe has been told of the user.
    """

    __tablename__ = "stripe_customer"
    __table_args__ = (
        UniqueConstraint("user_id", "account", "livemode"),
        Index(
            "ix_stripe_customer_untold",
            "id",
            postgresql_where=text("default_payment_method IS DISTINCT FROM told_method"),
        ),
    )

    id: Mapped[Id]
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    account: Mapped[str] = mapped_column(Text, default="", server_default="")
    livemode: Mapped[bool]
    customer_id: Mapped[str | None] = mapped_column(Text, unique=True)
    default_payment_method: Mapped[str | None] = mapped_column(Text)
    told_email: Mapped[str | None] = mapped_column(Text)
    told_name: Mapped[str | None] = mapped_column(Text)
    told_method: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]


class StripePaymentMethod(Base):
    """A way to pay that a customer has saved: what may be shown of it."""

    __tablename__ = "stripe_payment_method"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    customer_row: Mapped[UUID] = mapped_column(ForeignKey("stripe_customer.id", ondelete="CASCADE"), index=True)
    type: Mapped[str] = mapped_column(Text)
    brand: Mapped[str | None] = mapped_column(Text)
    last4: Mapped[str | None] = mapped_column(Text)
    exp_month: Mapped[int | None] = mapped_column(Integer)
    exp_year: Mapped[int | None] = mapped_column(Integer)
    detached_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class StripeRefund(Base):
    """A refund as Stripe knows it, whoever made it: by its id, so that each counts once. `refund_id` is the core's."""

    __tablename__ = "stripe_refund"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    refund_id: Mapped[UUID] = mapped_column(index=True)
    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"), index=True)
    intent_id: Mapped[str] = mapped_column(Text, index=True)
    amount: Mapped[MinorUnits]
    currency: Mapped[Currency]
    status: Mapped[str] = mapped_column(Text)
    is_external: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    created_at: Mapped[datetime]


class StripeDispute(Base):
    """A payment that the customer's bank takes back, or asks about. Nothing is shipped while one is open or lost."""

    __tablename__ = "stripe_dispute"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"), index=True)
    intent_id: Mapped[str] = mapped_column(Text)
    amount: Mapped[MinorUnits]
    currency: Mapped[Currency]
    reason: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    is_charge_refundable: Mapped[bool]
    evidence_due_by: Mapped[datetime | None]
    created_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class StripeWarning(Base):
    """An early fraud warning, or a review: recorded, for the staff to see with the order."""

    __tablename__ = "stripe_warning"
    __table_args__ = (one_of("kind", "early_fraud_warning", "review"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"), index=True)
    intent_id: Mapped[str] = mapped_column(Text)
    what: Mapped[str] = mapped_column(Text)
    is_open: Mapped[bool]
    created_at: Mapped[datetime]


class StripeDifference(Base):
    """Something in which our books and Stripe's do not agree, as a reconciliation has found it."""

    __tablename__ = "stripe_difference"
    __table_args__ = (UniqueConstraint("kind", "reference"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    reference: Mapped[str] = mapped_column(Text)
    detail: Mapped[str] = mapped_column(Text)
    # When what it is about was made: a comparison of later days says nothing about it.
    happened_at: Mapped[datetime]
    first_seen_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]


class StripePlan(Base):
    """Something to subscribe to: a product and a recurring price at Stripe. What it costs never changes.

    Committed before Stripe is asked, and `creating` until it has answered. `features` are what other parts of the shop
    ask for: see subscriptions/entitlement.py.
    """

    __tablename__ = "stripe_plan"
    __table_args__ = (
        one_of("state", "creating", "made", "refused"),
        one_of("interval", "day", "week", "month", "year"),
        CheckConstraint("amount >= 0 AND interval_count > 0 AND trial_days >= 0", name="sane"),
        Index("ix_stripe_plan_due", "next_attempt_at", postgresql_where=text("state = 'creating'")),
    )

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, default="creating")
    product_id: Mapped[str | None] = mapped_column(Text)
    price_id: Mapped[str | None] = mapped_column(Text, unique=True)
    amount: Mapped[MinorUnits]
    currency: Mapped[Currency]
    interval: Mapped[str] = mapped_column(Text)
    interval_count: Mapped[int] = mapped_column(Integer, default=1, server_default="1")
    trial_days: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    features: Mapped[list[str]] = mapped_column(ARRAY(Text))
    is_active: Mapped[bool] = mapped_column(default=True, server_default=text("true"))
    error: Mapped[str | None] = mapped_column(Text)
    tries: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    next_attempt_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class StripeSubscription(Base):
    """A user's subscription, as Stripe has it. `status` is Stripe's word, also one that this code does not know.

    `wish` is what is wanted of Stripe and not yet done: it is committed first, carried out by the request or by a
    worker, and only one at a time. `version` counts the changes: an answer of Stripe's counts only if the row is as it
    was when Stripe was asked. `suspended_at`: too many payments have failed.
    """

    __tablename__ = "stripe_subscription"
    __table_args__ = (
        Index("ix_stripe_subscription_due", "next_attempt_at", postgresql_where=text("wish IS NOT NULL")),
        Index("ix_stripe_subscription_user", "user_id", "id"),
        Index("ix_stripe_subscription_status", "status", "id"),
    )

    id: Mapped[Id]
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    plan_id: Mapped[UUID | None] = mapped_column(ForeignKey("stripe_plan.id", ondelete="SET NULL"), index=True)
    customer_id: Mapped[str] = mapped_column(Text)
    subscription_id: Mapped[str | None] = mapped_column(Text, unique=True)
    status: Mapped[str] = mapped_column(Text, default="creating")
    version: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    livemode: Mapped[bool]
    locale: Mapped[str] = mapped_column(Text)
    period_end: Mapped[datetime | None]
    trial_end: Mapped[datetime | None]
    cancel_at_period_end: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    cancel_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    suspended_at: Mapped[datetime | None]
    latest_invoice: Mapped[str | None] = mapped_column(Text)
    # The end of the trial that the customer has been told of.
    trial_end_told: Mapped[datetime | None]
    wish: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    error: Mapped[str | None] = mapped_column(Text)
    tries: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    next_attempt_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class StripeInvoice(Base):
    """An invoice of a subscription. `told_attempt`: the last failed try that the customer has been written about.

    `refund`: it was paid when the subscription had ended, and the money goes back (`due`), or went (`done`).
    """

    __tablename__ = "stripe_invoice"
    __table_args__ = (one_of("refund", "due", "done"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    subscription: Mapped[UUID] = mapped_column(ForeignKey("stripe_subscription.id", ondelete="CASCADE"), index=True)
    number: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    amount_due: Mapped[MinorUnits]
    amount_paid: Mapped[MinorUnits]
    currency: Mapped[Currency]
    attempt_count: Mapped[int] = mapped_column(Integer)
    told_attempt: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    next_payment_attempt: Mapped[datetime | None]
    url: Mapped[str | None] = mapped_column(Text)
    intent_id: Mapped[str | None] = mapped_column(Text, index=True)
    refund: Mapped[str | None] = mapped_column(Text)
    # What the bank says about its payment, in Stripe's words.
    dispute: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    paid_at: Mapped[datetime | None]
