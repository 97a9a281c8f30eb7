"""What workers do about attempts: those that Stripe has not answered, those that are not wanted, those of nobody."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import stripe
import structlog
from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from commerce_core.events import OrderCancelled, OrderPaid
from commerce_core.jobs.kinds import SWEEP_RETRY, SWEEP_TIMEOUT, JobContext, Retry, job
from commerce_core.log import each_by_itself
from commerce_stripe_payments.connection import Connection, say
from commerce_stripe_payments.models import StripeAttempt
from commerce_stripe_payments.payments.attempts import end, under_way
from commerce_stripe_payments.payments.calls import CANCELABLE, cancel, carry_out
from commerce_stripe_payments.payments.effects import apply_intent, fetch_intent

_log = structlog.get_logger("commerce.stripe")
_AT_A_TIME = 20


@job("stripe.carry_out_attempts", queue="critical", retry=SWEEP_RETRY, timeout=SWEEP_TIMEOUT)
def carry_out_attempts(context: JobContext) -> None:
    """Ask Stripe for the attempts that are due: new ones of the staff's, and those whose answer was lost."""
    connection: Connection = context.registry.stripe
    with context.transaction() as session:
        due = session.scalars(
            select(StripeAttempt.id)
            .where(StripeAttempt.state == "creating", StripeAttempt.next_attempt_at <= context.now)
            .order_by(StripeAttempt.next_attempt_at)
            .limit(_AT_A_TIME)
        ).all()
    for attempt_id in due:
        with each_by_itself("attempt", attempt_id):
            carry_out(connection, attempt_id, now=context.now)


def attempts_are_due(session: Session, now: datetime) -> bool:
    """Whether there are such."""
    return bool(
        session.scalar(select(exists().where(StripeAttempt.state == "creating", StripeAttempt.next_attempt_at <= now)))
    )


@job("stripe.cancel_attempt", queue="critical", retry=(10, 60, 300, 1_800, 3_600))
def cancel_attempt(context: JobContext, attempt: UUID) -> None:
    """An attempt is not wanted any more: cancel it at Stripe. If it was paid all the same, that counts."""
    cancel(context.registry.stripe, attempt, now=context.now)


@job("stripe.capture_attempt", queue="critical", retry=(10, 60, 300, 1_800))
def capture_attempt(context: JobContext, attempt: UUID) -> None:
    """Take the money that the customer has authorized: all of it."""
    connection: Connection = context.registry.stripe
    with context.transaction() as session:
        row = session.get_one(StripeAttempt, attempt)
        intent, is_open = row.intent_id, row.state == "processing"
    if intent is None or not is_open:
        return
    key = f"{connection.key_prefix}:capture:{attempt}"
    try:
        connection.client.v1.payment_intents.capture(intent, {}, {"idempotency_key": key})
    except stripe.InvalidRequestError as error:
        if error.code != "payment_intent_unexpected_state":
            raise Retry(say(error)) from None
    except stripe.StripeError as error:
        raise Retry(say(error)) from None
    found = fetch_intent(connection.client, intent)
    if found is not None:
        apply_intent(context.session, connection, found, now=context.now)


@job("stripe.end_attempts")
def end_attempts_of_cancelled(context: JobContext, event: OrderCancelled) -> None:
    """The order is cancelled: nobody must be able to pay it."""
    for attempt in under_way(context.session, event.order_id):
        if attempt.state == "processing":
            cancel_attempt.enqueue(context.session, now=context.now, attempt=attempt.id)
        end(context.session, attempt, now=context.now)


@job("stripe.end_other_attempts")
def end_attempts_of_paid(context: JobContext, event: OrderPaid) -> None:
    """The order is paid: nobody must be able to pay it again."""
    for attempt in under_way(context.session, event.order_id):
        end(context.session, attempt, now=context.now)


@job("stripe.settle_orphan", retry=(60, 600, 3_600))
def settle_orphan(context: JobContext, intent: str) -> None:
    """An intent of ours that no row of ours is about, for an hour: cancel it, or give the money back."""
    connection: Connection = context.registry.stripe
    client = connection.client
    found = fetch_intent(client, intent)
    if found is None:
        return
    _log.error("intent without an attempt", intent=intent, status=found["status"])
    if found["status"] in CANCELABLE:
        client.v1.payment_intents.cancel(intent, {"cancellation_reason": "abandoned"})
    elif found["status"] == "succeeded":
        key = f"{connection.key_prefix}:orphan:{intent}"
        client.v1.refunds.create({"payment_intent": intent}, {"idempotency_key": key})
