"""What is wanted of Stripe for a subscription: written into its row first, one thing at a time.

A wish has an id, which is its idempotency key: however often it is carried out, it is done once. Works in the caller's
transaction; flushes, never commits.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from commerce_core.api.problems import Conflict
from commerce_core.database import uuid7
from commerce_stripe_payments.connection import Connection
from commerce_stripe_payments.customers import SITE
from commerce_stripe_payments.models import StripeCustomer, StripePlan, StripeSubscription
from commerce_stripe_payments.subscriptions.effects import SUBSCRIPTION

Action = Literal["switch", "cancel", "keep", "pause", "resume", "pay"]
Proration = Literal["now", "later", "none"]
PRORATIONS: dict[str, str] = {"now": "always_invoice", "later": "create_prorations", "none": "none"}

# When Stripe did not answer: how long until it is asked again. After the last, for ever.
DELAYS = (timedelta(seconds=10), timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30))
# While somebody asks, nobody else does: longer than any call takes.
LEASE = timedelta(minutes=2)
_STATES: dict[str, tuple[str, ...]] = {
    "switch": ("trialing", "active", "past_due"),
    "cancel": ("incomplete", "trialing", "active", "past_due", "unpaid", "paused"),
    "keep": ("trialing", "active", "past_due"),
    "pause": ("trialing", "active", "past_due"),
    "resume": ("paused",),
    "pay": ("past_due", "unpaid", "incomplete"),
}


class AlreadySubscribed(Conflict):
    """The customer has this plan."""

    slug = "stripe/already-subscribed"
    title = "There is such a subscription already"


class PlanNotReady(Conflict):
    """The plan is not offered, or Stripe does not know it yet: try again in a moment."""

    slug = "stripe/plan-not-ready"
    title = "The plan cannot be subscribed to"


class ChangeUnderWay(Conflict):
    """Something else is being done with the subscription: wait for it."""

    slug = "stripe/change-under-way"
    title = "Another change is under way"


class WrongSubscriptionState(Conflict):
    """That cannot be done with a subscription as it is."""

    slug = "stripe/wrong-subscription-state"
    title = "The subscription is in another state"
    example: ClassVar[dict[str, Any]] = {"subscription_status": "canceled"}


def subscribe(
    session: Session,
    connection: Connection,
    customer: StripeCustomer,
    plan: StripePlan,
    *,
    payment_method: str | None,
    locale: str,
    now: datetime,
) -> StripeSubscription:
    """A new subscription, to be made at Stripe; or the one that is being made. The customer must be locked.

    Each plan has one trial for each customer. Raises AlreadySubscribed, PlanNotReady.
    """
    if plan.price_id is None or not plan.is_active:
        raise PlanNotReady
    past = session.scalars(
        select(StripeSubscription)
        .where(StripeSubscription.user_id == customer.user_id, StripeSubscription.plan_id == plan.id)
        .order_by(StripeSubscription.id)
    ).all()
    for other in past:
        if other.ended_at is None:
            if other.status in ("creating", "incomplete"):
                return other
            raise AlreadySubscribed
    had_trial = any(other.trial_end is not None for other in past)
    row = StripeSubscription(
        id=uuid7(),
        user_id=customer.user_id,
        plan_id=plan.id,
        customer_id=customer.customer_id,
        livemode=connection.settings.livemode,
        locale=locale,
        created_at=now,
    )
    method = payment_method or customer.default_payment_method
    has_trial = plan.trial_days > 0 and not had_trial
    parameters: dict[str, Any] = {
        "customer": customer.customer_id,
        "items": [{"price": plan.price_id}],
        "metadata": {SITE: str(connection.site), SUBSCRIPTION: str(row.id)},
        "payment_settings": {"save_default_payment_method": "on_subscription"},
        # Without anything to pay with, the customer pays the first invoice in the browser.
        "payment_behavior": "allow_incomplete" if method else "default_incomplete",
    }
    if method is not None:
        parameters["default_payment_method"] = method
    if has_trial:
        parameters["trial_period_days"] = plan.trial_days
        behavior = connection.settings.trial_without_method
        parameters["trial_settings"] = {"end_behavior": {"missing_payment_method": behavior}}
    session.add(row)
    _wish(row, "create", parameters, now=now)
    session.flush()
    return row


def change(
    session: Session,
    row: StripeSubscription,
    action: Action,
    *,
    now: datetime,
    plan: StripePlan | None = None,
    proration: Proration = "now",
    at_once: bool = False,
) -> None:
    """Want something done with a subscription, whose row is locked.

    `switch` needs the plan; `at_once` is for `cancel`, which is else at the end of the period. Raises ChangeUnderWay,
    WrongSubscriptionState, PlanNotReady.
    """
    if row.wish is not None:
        raise ChangeUnderWay
    if row.status not in _STATES[action] or row.subscription_id is None:
        raise WrongSubscriptionState(f"It is {row.status}.", subscription_status=row.status)
    parameters: dict[str, Any] = {}
    if action == "switch":
        if plan is None or plan.price_id is None or not plan.is_active:
            raise PlanNotReady
        parameters = {"price": plan.price_id, "proration_behavior": PRORATIONS[proration]}
    elif action == "cancel":
        parameters = {"at_once": at_once or row.status in ("incomplete", "unpaid", "paused")}
    elif action == "pay":
        customer = session.scalar(select(StripeCustomer).where(StripeCustomer.customer_id == row.customer_id))
        parameters = {"invoice": row.latest_invoice}
        if customer is not None and customer.default_payment_method is not None:
            # Stripe may not have been told of it yet.
            parameters["payment_method"] = customer.default_payment_method
    _wish(row, action, parameters, now=now)
    session.flush()


def lock_subscription(session: Session, subscription_id: UUID) -> StripeSubscription | None:
    """Our row, locked."""
    return session.get(StripeSubscription, subscription_id, with_for_update=True, populate_existing=True)


def lease(session: Session, row_id: UUID, *, now: datetime) -> StripeSubscription | None:
    """A subscription of which something is wanted, for the caller alone for a while. Locks it.

    None if nothing is wanted, or somebody else is at it, or Stripe is to be left alone until later.
    """
    row = lock_subscription(session, row_id)
    if row is None or row.wish is None or row.next_attempt_at is None or row.next_attempt_at > now:
        return None
    row.tries += 1
    row.next_attempt_at = now + LEASE
    session.flush()
    return row


def fulfilled(row: StripeSubscription, wish_id: str, *, error: str | None = None) -> None:
    """A wish is done, or (with what is said of it) refused. The row must be locked."""
    if row.wish is not None and row.wish["id"] == wish_id:
        row.wish = None
        row.error = error
        row.tries = 0
        row.next_attempt_at = None


def _wish(row: StripeSubscription, action: str, parameters: dict[str, Any], *, now: datetime) -> None:
    row.wish = {"id": str(uuid7()), "action": action, "parameters": parameters}
    row.error = None
    row.tries = 0
    row.next_attempt_at = now
