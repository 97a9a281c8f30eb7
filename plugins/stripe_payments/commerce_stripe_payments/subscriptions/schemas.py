"""Plans and subscriptions as clients and staff send and see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints

from commerce_core.api.schemas import INT32_MAX, CursorList, CursorQuery, Input, Output, ShortText, hint
from commerce_core.money import Money
from commerce_stripe_payments.models import StripeInvoice, StripePlan, StripeSubscription
from commerce_stripe_payments.subscriptions.entitlement import does_entitle
from commerce_stripe_payments.subscriptions.wishes import Action, Proration

Code = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64),
    hint("must be small letters, digits and single hyphens"),
]
Interval = Literal["day", "week", "month", "year"]


class PlanIn(Input):
    code: Code = Field(examples=["basic-monthly"])
    name: ShortText = Field(examples=["Basic"])
    amount: int = Field(ge=0, le=INT32_MAX, description="Minor units for each interval.", examples=[999])
    currency: str = Field(pattern="^[A-Z]{3}$", examples=["EUR"])
    interval: Interval = "month"
    interval_count: int = Field(default=1, ge=1, le=36)
    trial_days: int = Field(default=0, ge=0, le=730)
    features: list[Code] = Field(
        default_factory=list, max_length=50, description="What it entitles to.", examples=[["reports"]]
    )


class PlanChange(Input):
    is_active: bool | None = Field(default=None, description="Whether it is offered. Those who have it keep it.")
    features: list[Code] | None = Field(default=None, max_length=50)


class PlanOut(Output):
    id: UUID
    code: str = Field(examples=["basic-monthly"])
    name: str = Field(examples=["Basic"])
    price: Money
    interval: Interval
    interval_count: int
    trial_days: int
    features: list[str] = Field(examples=[["reports"]])

    @classmethod
    def of(cls, row: StripePlan, locale: str) -> Self:
        return cls.model_construct(**_plan(row, locale))


class AdminPlanOut(PlanOut):
    state: Literal["creating", "made", "refused"] = Field(description="Whether Stripe knows it.")
    error: str | None
    is_active: bool
    product_id: str | None = Field(examples=["prod_1Q0"])
    price_id: str | None = Field(examples=["price_1Q0"])

    @classmethod
    def of(cls, row: StripePlan, locale: str) -> Self:
        return cls.model_construct(
            **_plan(row, locale),
            state=row.state,
            error=row.error,
            is_active=row.is_active,
            product_id=row.product_id,
            price_id=row.price_id,
        )


class PlanList(Output):
    data: list[PlanOut]


class AdminPlanList(Output):
    data: list[AdminPlanOut]


class SubscriptionIn(Input):
    plan: ShortText = Field(description="A plan's code.", examples=["basic-monthly"])
    payment_method: ShortText | None = Field(
        default=None, description="A saved one of yours; else your default, if you have one.", examples=["pm_1Q0"]
    )


class ChangeIn(Input):
    """`switch` to another plan, `cancel`, `keep` what was to be cancelled, `pause`, `resume`, `pay` what is open."""

    action: Action
    plan: ShortText | None = Field(default=None, description="For `switch`: the plan's code.", examples=["pro-monthly"])
    proration: Proration = Field(
        default="now", description="For `switch`: the difference is paid now, with the next invoice, or not at all."
    )
    at_once: bool = Field(default=False, description="For `cancel`: now, not at the end of what is paid for.")


class InvoiceOut(Output):
    id: str = Field(examples=["in_1Q0"])
    number: str | None = Field(examples=["ADA-0001"])
    status: str = Field(examples=["paid"])
    due: Money
    paid: Money
    attempts: int
    next_attempt_at: datetime | None = Field(description="When Stripe tries again by itself.")
    url: str | None = Field(description="Where it can be looked at and paid.")
    refund: Literal["due", "done"] | None
    dispute: str | None = Field(description="What has become of its payment's dispute.", examples=["needs_response"])
    created_at: datetime
    paid_at: datetime | None

    @classmethod
    def of(cls, row: StripeInvoice, locale: str) -> Self:
        return cls.model_construct(
            id=row.id,
            number=row.number,
            status=row.status,
            due=Money.of(row.amount_due, row.currency, locale),
            paid=Money.of(row.amount_paid, row.currency, locale),
            attempts=row.attempt_count,
            next_attempt_at=row.next_payment_attempt,
            url=row.url,
            refund=row.refund,
            dispute=row.dispute,
            created_at=row.created_at,
            paid_at=row.paid_at,
        )


class SubscriptionOut(Output):
    id: UUID
    plan: PlanOut | None
    status: str = Field(
        description="Stripe's word, or `creating`, or `refused`; others may come.", examples=["trialing"]
    )
    entitled: bool = Field(description="Whether the plan's features can be used now.")
    suspended: bool = Field(description="Too many payments have failed.")
    period_end: datetime | None
    trial_end: datetime | None
    cancel_at_period_end: bool
    ended_at: datetime | None
    pending: str | None = Field(description="What is being done with it.", examples=["switch"])
    error: str | None = Field(description="Why the last change was not possible, for the customer to read.")
    created_at: datetime

    @classmethod
    def of(cls, row: StripeSubscription, plan: StripePlan | None, *, locale: str, now: datetime) -> Self:
        return cls.model_construct(**_subscription(row, plan, locale=locale, now=now))


class StartedOut(SubscriptionOut):
    client_secret: str | None = Field(
        description="While it is `incomplete`: confirm the first payment with Stripe's client and this."
    )


class AdminSubscriptionOut(SubscriptionOut):
    user_id: UUID | None
    customer_id: str = Field(examples=["cus_1Q0"])
    subscription_id: str | None = Field(examples=["sub_1Q0"])

    @classmethod
    def of(cls, row: StripeSubscription, plan: StripePlan | None, *, locale: str, now: datetime) -> Self:
        return cls.model_construct(
            **_subscription(row, plan, locale=locale, now=now),
            user_id=row.user_id,
            customer_id=row.customer_id,
            subscription_id=row.subscription_id,
        )


class SubscriptionDetail(SubscriptionOut):
    invoices: list[InvoiceOut] = Field(description="The latest first, at most 24.")


class AdminSubscriptionDetail(AdminSubscriptionOut):
    invoices: list[InvoiceOut] = Field(description="The latest first, at most 24.")


class SubscriptionList(Output):
    data: list[SubscriptionOut]


class AdminSubscriptionQuery(CursorQuery):
    status: ShortText | None = Field(default=None, examples=["past_due"])
    user_id: UUID | None = Field(default=None, strict=False)
    suspended: bool | None = Field(default=None, strict=False)


AdminSubscriptionList = CursorList[AdminSubscriptionOut]


class PreviewQuery(Input):
    subscription: UUID = Field(strict=False)
    plan: ShortText = Field(examples=["pro-monthly"])
    proration: Proration = "now"


class PreviewOut(Output):
    """What a switch would cost now. A credit is negative, and counts for the next invoices."""

    total: Money
    due: Money


def _plan(row: StripePlan, locale: str) -> dict[str, Any]:
    return {
        "id": row.id,
        "code": row.code,
        "name": row.name,
        "price": Money.of(row.amount, row.currency, locale),
        "interval": row.interval,
        "interval_count": row.interval_count,
        "trial_days": row.trial_days,
        "features": row.features,
    }


def _subscription(row: StripeSubscription, plan: StripePlan | None, *, locale: str, now: datetime) -> dict[str, Any]:
    return {
        "id": row.id,
        "plan": None if plan is None else PlanOut.of(plan, locale),
        "status": row.status,
        "entitled": does_entitle(row, now=now),
        "suspended": row.suspended_at is not None,
        "period_end": row.period_end,
        "trial_end": row.trial_end,
        "cancel_at_period_end": row.cancel_at_period_end,
        "ended_at": row.ended_at,
        "pending": None if row.wish is None else row.wish["action"],
        "error": row.error,
        "created_at": row.created_at,
    }
