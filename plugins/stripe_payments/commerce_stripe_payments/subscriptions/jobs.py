"""What workers do about plans and subscriptions."""

from __future__ import annotations

from datetime import datetime, timedelta

import stripe
from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from commerce_core.accounts.models import User
from commerce_core.jobs.kinds import SWEEP_RETRY, SWEEP_TIMEOUT, JobContext, Retry, job
from commerce_core.log import each_by_itself
from commerce_core.money import formatted
from commerce_stripe_payments.connection import Connection, say
from commerce_stripe_payments.models import StripeCustomer, StripeInvoice, StripePlan, StripeSubscription
from commerce_stripe_payments.subscriptions import mails
from commerce_stripe_payments.subscriptions.calls import carry_out, settle
from commerce_stripe_payments.subscriptions.plans import make_plan
from commerce_stripe_payments.subscriptions.wishes import change

_AT_A_TIME = 20
_AT_ONCE = 500
# A renewal is told within seconds, mostly. After this, Stripe is asked.
OVERDUE_AFTER = timedelta(hours=2)
_DEFAULT_IS_UNTOLD = and_(
    StripeCustomer.default_payment_method.is_distinct_from(StripeCustomer.told_method),
    StripeCustomer.customer_id.is_not(None),
)
_LIVE = ("incomplete", "trialing", "active", "past_due", "unpaid", "paused")


@job("stripe.make_plans", queue="low", retry=SWEEP_RETRY, timeout=SWEEP_TIMEOUT)
def make_plans(context: JobContext) -> None:
    """Make new plans at Stripe."""
    with context.transaction() as session:
        due = session.scalars(select(StripePlan.id).where(_plan_is_due(context.now)).limit(_AT_A_TIME)).all()
    for plan_id in due:
        with each_by_itself("plan", plan_id):
            make_plan(context.registry.stripe, plan_id, now=context.now)


@job("stripe.change_subscriptions", queue="critical", retry=SWEEP_RETRY, timeout=SWEEP_TIMEOUT)
def change_subscriptions(context: JobContext) -> None:
    """Do what is wanted of subscriptions."""
    with context.transaction() as session:
        wanted = select(StripeSubscription.id).where(_change_is_due(context.now))
        due = session.scalars(wanted.order_by(StripeSubscription.next_attempt_at).limit(_AT_A_TIME)).all()
    for row_id in due:
        with each_by_itself("subscription", row_id):
            carry_out(context.registry.stripe, row_id, now=context.now)


def plans_are_due(session: Session, now: datetime) -> bool:
    """Whether there are new ones."""
    return bool(session.scalar(select(select(StripePlan.id).where(_plan_is_due(now)).exists())))


def changes_are_due(session: Session, now: datetime) -> bool:
    """Whether something is wanted."""
    return bool(session.scalar(select(select(StripeSubscription.id).where(_change_is_due(now)).exists())))


def _plan_is_due(now: datetime) -> ColumnElement[bool]:
    return and_(StripePlan.state == "creating", StripePlan.next_attempt_at <= now)


def _change_is_due(now: datetime) -> ColumnElement[bool]:
    return and_(StripeSubscription.wish.is_not(None), StripeSubscription.next_attempt_at <= now)


@job("stripe.refund_late_invoice", retry=(60, 600, 3_600, 21_600))
def refund_late_invoice(context: JobContext, invoice: str) -> None:
    """Give back what was paid after a subscription had ended, and say so to who has paid."""
    connection: Connection = context.registry.stripe
    with context.transaction() as session:
        kept = session.get_one(StripeInvoice, invoice)
        intent, is_due = kept.intent_id, kept.refund == "due"
    if not is_due or intent is None:
        return
    key = f"{connection.key_prefix}:late:{invoice}"
    try:
        connection.client.v1.refunds.create({"payment_intent": intent}, {"idempotency_key": key})
    except stripe.StripeError as error:
        if error.code != "charge_already_refunded":
            raise Retry(say(error)) from None
    session = context.session
    kept = session.get_one(StripeInvoice, invoice, with_for_update=True)
    if kept.refund == "due":
        kept.refund = "done"
        row = session.get_one(StripeSubscription, kept.subscription)
        amount = formatted(kept.amount_paid, kept.currency, row.locale)
        mails.write(session, row, mails.LATE_REFUNDED, now=context.now, amount=amount)


@job("stripe.read_overdue_subscriptions", queue="low", retry=(), timeout=600)
def read_overdue_subscriptions(context: JobContext) -> None:
    """Ask Stripe about subscriptions whose period is over, and of which nothing has been heard."""
    connection: Connection = context.registry.stripe
    with context.transaction() as session:
        overdue = session.scalars(
            select(StripeSubscription.subscription_id)
            .where(
                StripeSubscription.status.in_(("trialing", "active", "past_due", "incomplete")),
                or_(
                    StripeSubscription.period_end < context.now - OVERDUE_AFTER, StripeSubscription.period_end.is_(None)
                ),
                StripeSubscription.subscription_id.is_not(None),
            )
            .order_by(StripeSubscription.period_end)
            .limit(_AT_ONCE)
        ).all()
    for subscription_id in overdue:
        with each_by_itself("subscription", subscription_id):
            settle(connection, subscription_id, now=context.now)


@job("stripe.tell_defaults", retry=(), timeout=600)
def tell_defaults(context: JobContext) -> None:
    """Tell Stripe what customers want to pay with from now on: their subscriptions, too."""
    connection: Connection = context.registry.stripe
    with context.transaction() as session:
        untold = session.scalars(select(StripeCustomer).where(_DEFAULT_IS_UNTOLD).limit(_AT_ONCE)).all()
        session.expunge_all()
        live = session.scalars(
            select(StripeSubscription).where(
                StripeSubscription.customer_id.in_([str(customer.customer_id) for customer in untold]),
                StripeSubscription.status.in_(_LIVE),
            )
        ).all()
        subscriptions = [(row.customer_id, str(row.subscription_id)) for row in live]
    v1 = connection.client.v1
    for customer in untold:
        with each_by_itself("customer", customer.customer_id):
            default = customer.default_payment_method
            v1.customers.update(
                str(customer.customer_id), {"invoice_settings": {"default_payment_method": default or ""}}
            )
            for customer_id, subscription_id in subscriptions:
                if customer_id == customer.customer_id:
                    v1.subscriptions.update(subscription_id, {"default_payment_method": default or ""})
            with context.transaction() as session:
                row = session.get_one(StripeCustomer, customer.id, with_for_update=True)
                row.told_method = default


@job("stripe.sync_customers", queue="low", retry=(), timeout=600)
def sync_customers(context: JobContext) -> None:
    """Tell Stripe of users who have another address or name than it knows. Who has left pays for nothing any more."""
    connection: Connection = context.registry.stripe
    with context.transaction() as session:
        _cancel_of_those_who_left(session, now=context.now)
        changed = session.execute(
            select(StripeCustomer.id, StripeCustomer.customer_id, User.email, User.name)
            .join(User, User.id == StripeCustomer.user_id)
            .where(
                StripeCustomer.customer_id.is_not(None),
                or_(
                    StripeCustomer.told_email.is_distinct_from(User.email),
                    func.coalesce(StripeCustomer.told_name, "") != User.name,
                ),
            )
            .limit(_AT_ONCE)
        ).all()
    for row_id, customer_id, email, name in changed:
        with each_by_itself("customer", customer_id):
            connection.client.v1.customers.update(str(customer_id), {"email": email, "name": name})
            with context.transaction() as session:
                row = session.get_one(StripeCustomer, row_id, with_for_update=True)
                row.told_email, row.told_name = email, name


def _cancel_of_those_who_left(session: Session, *, now: datetime) -> None:
    rows = session.scalars(
        select(StripeSubscription)
        .join(User, User.id == StripeSubscription.user_id)
        .where(User.deleted_at.is_not(None), StripeSubscription.status.in_(_LIVE), StripeSubscription.wish.is_(None))
        .with_for_update(of=StripeSubscription)
        .limit(_AT_ONCE)
    ).all()
    for row in rows:
        change(session, row, "cancel", at_once=True, now=now)
