"""What subscriptions entitle to: what other parts of a shop, and other plugins, ask.

A subscription entitles while it is on trial, paid, or has payments that failed but is not suspended yet. A plan's
features are words of the shop's own, such as `reports`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from commerce_stripe_payments.models import StripePlan, StripeSubscription

ENTITLING = ("trialing", "active", "past_due")


def is_entitled(session: Session, user_id: UUID, feature: str, *, now: datetime) -> bool:
    """Whether a subscription of the user's has a feature. One statement; takes no lock."""
    return bool(
        session.scalar(
            select(
                select(StripeSubscription.id)
                .join(StripePlan, StripePlan.id == StripeSubscription.plan_id)
                .where(StripeSubscription.user_id == user_id, entitles(now), StripePlan.features.any_() == feature)
                .exists()
            )
        )
    )


def features_of(session: Session, user_ids: Iterable[UUID], *, now: datetime) -> dict[UUID, frozenset[str]]:
    """By user, the features of all of their subscriptions; users without any are left out. One statement."""
    rows = session.execute(
        select(StripeSubscription.user_id, func.unnest(StripePlan.features))
        .join(StripePlan, StripePlan.id == StripeSubscription.plan_id)
        .where(StripeSubscription.user_id.in_(tuple(user_ids)), entitles(now))
    ).all()
    found: dict[UUID, set[str]] = {}
    for user_id, feature in rows:
        found.setdefault(user_id, set()).add(feature)
    return {user_id: frozenset(features) for user_id, features in found.items()}


def does_entitle(row: StripeSubscription, *, now: datetime) -> bool:
    """The same of one row."""
    ends = [row.period_end if row.cancel_at_period_end else None, row.cancel_at, row.ended_at]
    return row.status in ENTITLING and row.suspended_at is None and all(end is None or end > now for end in ends)


def entitles(now: datetime) -> ColumnElement[bool]:
    """The same as a condition. The end of the period counts only where it is the end of the subscription: a renewal
    may be told late, and nobody is to be locked out by that."""
    row = StripeSubscription
    return and_(
        row.status.in_(ENTITLING),
        row.suspended_at.is_(None),
        or_(row.ended_at.is_(None), row.ended_at > now),
        or_(row.cancel_at.is_(None), row.cancel_at > now),
        or_(row.cancel_at_period_end.is_(False), row.period_end > now),
    )
