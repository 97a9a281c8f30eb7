"""Reading plans, subscriptions and invoices."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from commerce_core.api.problems import InvalidInput
from commerce_stripe_payments.models import StripeInvoice, StripePlan, StripeSubscription


def find_plan(session: Session, code: str) -> StripePlan:
    """By its code. Raises InvalidInput."""
    plan = session.scalar(select(StripePlan).where(StripePlan.code == code))
    if plan is None:
        raise InvalidInput.field("plan", "unknown_plan", "is no plan")
    return plan


def plan_of(session: Session, row: StripeSubscription) -> StripePlan | None:
    return None if row.plan_id is None else session.get(StripePlan, row.plan_id)


def invoices_of(session: Session, row: StripeSubscription) -> Sequence[StripeInvoice]:
    """The latest first, at most 24."""
    return session.scalars(
        select(StripeInvoice)
        .where(StripeInvoice.subscription == row.id)
        .order_by(StripeInvoice.created_at.desc(), StripeInvoice.id.desc())
        .limit(24)
    ).all()


def subscriptions_of(session: Session, user_id: UUID) -> Sequence[StripeSubscription]:
    """A user's, the latest first; without those that Stripe has refused."""
    return session.scalars(
        select(StripeSubscription)
        .where(StripeSubscription.user_id == user_id, StripeSubscription.status != "refused")
        .order_by(StripeSubscription.id.desc())
    ).all()
