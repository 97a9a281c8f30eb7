"""Renewals that cannot be collected: who is written when, when a subscription is suspended, and what ends that.

Stripe tries again by itself, some days apart, as the account is set to. Which of the failed tries are told to the
customer, and at which one the subscription is suspended, are settings of the shop: `stripe.dunning_...`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from commerce_stripe_payments.amounts import from_stripe
from commerce_stripe_payments.connection import Connection
from commerce_stripe_payments.disputes import HARMLESS
from commerce_stripe_payments.models import StripeInvoice, StripeSubscription
from commerce_stripe_payments.subscriptions import mails
from commerce_stripe_payments.webhooks.reading import intent_of_invoice

# An invoice does not go back from what is further to the right; `uncollectible` may still be paid.
_RANKS = {"draft": 0, "open": 1, "uncollectible": 2, "void": 3, "paid": 4}
_HEALTHY = ("active", "trialing")


def keep_invoice(session: Session, row: StripeSubscription, invoice: dict[str, Any], *, now: datetime) -> StripeInvoice:
    """Record an invoice, fresh from Stripe, of a subscription whose row is locked. It never goes back."""
    currency = str(invoice["currency"]).upper()
    kept = session.get(StripeInvoice, invoice["id"], with_for_update=True, populate_existing=True)
    if kept is None:
        kept = StripeInvoice(
            id=invoice["id"],
            subscription=row.id,
            status="draft",
            currency=currency,
            attempt_count=0,
            told_attempt=0,
            amount_due=0,
            amount_paid=0,
            created_at=_moment(invoice.get("created")) or now,
        )
        session.add(kept)
    if _RANKS.get(str(invoice["status"]), 1) < _RANKS.get(kept.status, 1):
        return kept
    if invoice["attempt_count"] >= kept.attempt_count:
        kept.next_payment_attempt = _moment(invoice.get("next_payment_attempt"))
    kept.status = str(invoice["status"])
    kept.number = invoice.get("number")
    kept.reason = invoice.get("billing_reason")
    kept.amount_due = from_stripe(int(invoice["amount_due"]), currency)
    kept.amount_paid = from_stripe(int(invoice["amount_paid"]), currency)
    kept.attempt_count = max(kept.attempt_count, int(invoice["attempt_count"]))
    kept.url = invoice.get("hosted_invoice_url")
    kept.intent_id = intent_of_invoice(invoice)[0]
    kept.paid_at = _moment((invoice.get("status_transitions") or {}).get("paid_at"))
    session.flush()
    return kept


def follow_invoice(
    session: Session,
    connection: Connection,
    row: StripeSubscription,
    kept: StripeInvoice,
    invoice: dict[str, Any],
    *,
    now: datetime,
) -> None:
    """Write, suspend, recover or give back, as an invoice that is kept demands; each once."""
    if kept.status == "paid":
        if kept.told_attempt > 0 and row.ended_at is None:
            # Only once: there is nothing left to tell of.
            kept.told_attempt = 0
            mails.write(session, row, mails.RECOVERED, now=now, **mails.about_invoice(row, kept))
        _give_back_if_late(session, connection, row, kept, now=now)
        return
    has_failed = kept.status == "open" and kept.attempt_count > 0 and kept.reason != "subscription_create"
    if not has_failed or row.ended_at is not None or kept.attempt_count <= kept.told_attempt:
        return
    intent_status = intent_of_invoice(invoice)[1]
    if intent_status in ("processing", "succeeded"):
        return
    settings = connection.settings
    attempt = kept.told_attempt = kept.attempt_count
    context = {**mails.about_invoice(row, kept), "attempt": attempt}
    if attempt >= settings.dunning_suspend_at or kept.next_payment_attempt is None:
        if row.suspended_at is None:
            row.suspended_at = now
            row.version += 1
            mails.write(session, row, mails.SUSPENDED, now=now, **context)
    elif attempt in settings.dunning_mails:
        template = mails.CONFIRM_PAYMENT if intent_status == "requires_action" else mails.PAYMENT_FAILED
        mails.write(session, row, template, now=now, **context)


def follow_status(row: StripeSubscription, *, now: datetime) -> None:
    """A subscription that Stripe calls healthy is suspended no more; one that it calls unpaid is."""
    suspended_at = row.suspended_at
    if row.status in _HEALTHY:
        suspended_at = None
    elif row.status == "unpaid":
        suspended_at = suspended_at or now
    if suspended_at != row.suspended_at:
        row.suspended_at = suspended_at
        row.version += 1


def _give_back_if_late(
    session: Session, connection: Connection, row: StripeSubscription, kept: StripeInvoice, *, now: datetime
) -> None:
    """What is paid after the end buys nothing: it goes back, unless the shop wants to see to that itself."""
    from commerce_stripe_payments.subscriptions.jobs import refund_late_invoice

    if kept.dispute not in (None, *HARMLESS):
        return  # the bank takes it back already
    is_late = row.ended_at is not None and kept.paid_at is not None and kept.paid_at > row.ended_at
    # What was paid in another way than by Stripe, Stripe cannot give back.
    can_go_back = kept.amount_paid > 0 and kept.intent_id is not None
    if is_late and can_go_back and kept.refund is None and connection.settings.late_invoices == "refund":
        kept.refund = "due"
        refund_late_invoice.enqueue(session, now=now, invoice=kept.id, unique_key=f"stripe.late:{kept.id}")


def _moment(seconds: Any) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int) and seconds > 0 else None
