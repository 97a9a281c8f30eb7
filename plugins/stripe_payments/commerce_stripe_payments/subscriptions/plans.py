"""Plans: what there is to subscribe to. Committed first, made at Stripe by a worker."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import stripe
import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from commerce_core.api.problems import Conflict
from commerce_core.database import transaction, uuid7
from commerce_stripe_payments.amounts import chargeable, to_stripe
from commerce_stripe_payments.connection import Connection, say
from commerce_stripe_payments.customers import SITE
from commerce_stripe_payments.models import StripePlan
from commerce_stripe_payments.payments.calls import is_uncertain
from commerce_stripe_payments.subscriptions.wishes import DELAYS, LEASE

_log = structlog.get_logger("commerce.stripe")


class PlanExists(Conflict):
    """Another plan has this code."""

    slug = "stripe/plan-exists"
    title = "There is such a plan already"


def create_plan(session: Session, *, code: str, amount: int, currency: str, now: datetime, **fields: Any) -> StripePlan:
    """A plan, to be made at Stripe in a moment. Flushes. Raises PlanExists, AmountDoesNotFit."""
    if session.scalar(select(StripePlan.id).where(StripePlan.code == code)) is not None:
        raise PlanExists
    if amount:
        chargeable(amount, currency)
    plan = StripePlan(
        id=uuid7(), code=code, amount=amount, currency=currency, next_attempt_at=now, created_at=now, **fields
    )
    session.add(plan)
    session.flush()
    return plan


def make_plan(connection: Connection, plan_id: UUID, *, now: datetime) -> None:
    """Make the product and the price of a plan at Stripe, once however often it is tried. Never in a transaction."""
    with transaction(connection.engine) as session:
        plan = session.get(StripePlan, plan_id, with_for_update=True)
        if plan is None or plan.state != "creating":
            return
        plan.tries += 1
        plan.next_attempt_at = now + LEASE
        metadata = {SITE: str(connection.site), "commerce_plan": plan.code}
        product: Any = {"name": plan.name, "metadata": metadata}
        price: Any = {
            "currency": plan.currency.lower(),
            "unit_amount": to_stripe(plan.amount, plan.currency),
            "recurring": {"interval": plan.interval, "interval_count": plan.interval_count},
            "nickname": plan.code,
            "metadata": metadata,
        }
    key = f"{connection.key_prefix}:plan:{plan_id}"
    v1 = connection.client.v1
    try:
        product_id = v1.products.create(product, {"idempotency_key": f"{key}:product"}).id
        price["product"] = product_id
        price_id = v1.prices.create(price, {"idempotency_key": f"{key}:price"}).id
    except stripe.StripeError as error:
        _log.error("stripe does not make a plan", plan=str(plan_id), error=say(error))
        with transaction(connection.engine) as session:
            plan = session.get_one(StripePlan, plan_id, with_for_update=True)
            plan.error = say(error)
            if is_uncertain(error):
                plan.next_attempt_at = now + DELAYS[min(plan.tries, len(DELAYS)) - 1]
            else:
                plan.state, plan.next_attempt_at = "refused", None
        return
    with transaction(connection.engine) as session:
        plan = session.get_one(StripePlan, plan_id, with_for_update=True)
        plan.product_id, plan.price_id = product_id, price_id
        plan.state, plan.error, plan.next_attempt_at = "made", None, None
