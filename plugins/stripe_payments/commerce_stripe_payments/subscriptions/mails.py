"""What subscribers are written. The mails are part of the transaction that they tell of."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from babel.dates import format_date
from sqlalchemy.orm import Session

from commerce_core.accounts.models import User
from commerce_core.mail.service import queue_mail
from commerce_core.money import formatted
from commerce_stripe_payments.models import StripeInvoice, StripePlan, StripeSubscription

TRIAL_ENDS = "stripe-trial-ends"
PAYMENT_FAILED = "stripe-renewal-failed"
CONFIRM_PAYMENT = "stripe-renewal-confirm"
SUSPENDED = "stripe-subscription-suspended"
RECOVERED = "stripe-subscription-recovered"
ENDED = "stripe-subscription-ended"
LATE_REFUNDED = "stripe-late-payment-refunded"


def write(session: Session, row: StripeSubscription, template: str, *, now: datetime, **more: Any) -> None:
    """Have the subscriber written to, if there still is one. Locks the user's row, against whoever is leaving."""
    if row.user_id is None:
        return
    user = session.get(User, row.user_id, with_for_update={"read": True}, populate_existing=True)
    if user is None or user.deleted_at is not None:
        return
    plan = None if row.plan_id is None else session.get(StripePlan, row.plan_id)
    context = {"name": user.name, "plan": None if plan is None else plan.name, **more}
    queue_mail(session, template=template, to=user.email, context=context, locale=row.locale, now=now)


def about_invoice(row: StripeSubscription, invoice: StripeInvoice) -> dict[str, Any]:
    """An invoice as the mails show it."""
    return {
        "amount": formatted(invoice.amount_due, invoice.currency, row.locale),
        "number": invoice.number,
        "url": invoice.url,
        "next_try": day(invoice.next_payment_attempt, row.locale),
    }


def day(moment: datetime | None, locale: str) -> str | None:
    """A day as the customer reads it."""
    return None if moment is None else format_date(moment, "long", locale=locale)
