"""Comparing our books with Stripe's: every payment and every refund of some days, both ways.

Stripe is read first, outside of any transaction. A difference is kept once, with when it was first and last seen; what
has been looked at and is not seen any more is resolved. The daily comparison goes back as far as what is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Text, any_, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from commerce_core.jobs.kinds import JobContext, job
from commerce_core.payments.models import Payment, Refund
from commerce_stripe_payments.amounts import AmountDoesNotFit, from_stripe
from commerce_stripe_payments.connection import Connection
from commerce_stripe_payments.models import StripeAttempt, StripeDifference, StripeRefund
from commerce_stripe_payments.payments.attempts import SITE
from commerce_stripe_payments.payments.effects import CODE
from commerce_stripe_payments.refunds import REFUND
from commerce_stripe_payments.webhooks.plain import gone_as_none, plain
from commerce_stripe_payments.webhooks.reading import intent_of_charge

_log = structlog.get_logger("commerce.stripe")
USUAL_DAYS = 3
MOST_DAYS = 90
# What has just happened may not have been told yet.
SETTLED_AFTER = timedelta(minutes=15)
GONE = ("failed", "canceled")


@dataclass(frozen=True, slots=True)
class Difference:
    """`reference` is what it is about, at Stripe or here; `happened_at` when that was made."""

    kind: str
    reference: str
    detail: str
    happened_at: datetime


@dataclass(frozen=True, slots=True)
class Report:
    """What a comparison has found, and how much it has looked at: what was made since then."""

    since: datetime
    payments: int
    refunds: int
    differences: tuple[Difference, ...]


@job("stripe.reconcile", queue="low", timeout=3_600)
def reconcile_daily(context: JobContext) -> None:
    """Compare the last days with Stripe."""
    connection: Connection = context.registry.stripe
    with context.transaction() as session:
        oldest = session.scalar(
            select(func.min(StripeDifference.happened_at)).where(StripeDifference.resolved_at.is_(None))
        )
    usual = context.now - timedelta(days=USUAL_DAYS)
    since = usual if oldest is None else max(min(usual, oldest), context.now - timedelta(days=MOST_DAYS))
    report = compare(connection, since=since, now=context.now)
    keep(context.session, report, now=context.now)


def compare(connection: Connection, *, since: datetime, now: datetime) -> Report:
    """Every difference in what was made since then. Outside of any transaction; changes nothing."""
    until = now - SETTLED_AFTER
    created: Any = {"gte": int(since.timestamp()), "lt": int(until.timestamp())}
    client = connection.client
    site = str(connection.site)
    intents = {
        intent.id: plain(intent)
        for intent in client.v1.payment_intents.list({"created": created, "limit": 100}).auto_paging_iter()
    }
    refunds = {
        refund.id: plain(refund)
        for refund in client.v1.refunds.list({"created": created, "limit": 100}).auto_paging_iter()
    }
    with Session(connection.engine) as session:
        attempts = {
            attempt.intent_id: attempt
            for attempt in session.scalars(
                select(StripeAttempt).where(
                    _is_one_of(StripeAttempt.intent_id, intents)
                    | (StripeAttempt.created_at.between(since, until) & StripeAttempt.intent_id.is_not(None))
                )
            )
        }
        payments = {
            payment.provider_reference: payment
            for payment in session.scalars(
                select(Payment).where(Payment.provider == CODE, _is_one_of(Payment.provider_reference, attempts))
            )
        }
        known = {
            row.id: row for row in session.scalars(select(StripeRefund).where(_is_one_of(StripeRefund.id, refunds)))
        }
        ours = session.scalars(
            select(Refund)
            .join(Refund.payment)
            .where(Payment.provider == CODE, Refund.created_at.between(since, until), Refund.amount > 0)
        ).all()
    found: list[Difference] = []
    mine = {key: value for key, value in intents.items() if (value.get("metadata") or {}).get(SITE) == site}
    for intent_id, intent in mine.items():
        found += _of_intent(intent, attempts.get(intent_id), payments.get(intent_id), now=now)
    for name, payment in payments.items():
        if name is not None and name not in intents and payment.status in ("paid", "refunded"):
            there = gone_as_none(partial(client.v1.payment_intents.retrieve, name))
            found += _of_intent(there or {"id": name}, attempts.get(name), payment, now=now)
    for refund in refunds.values():
        if intent_of_charge(refund) in attempts or (refund.get("metadata") or {}).get(SITE) == site:
            found += _of_refund(refund, known.get(refund["id"]), now=now)
    found += _lost_refunds(ours, refunds)
    return Report(since, len(mine), len(ours), tuple(found))


def _is_one_of(column: Any, names: Iterable[str | None]) -> ColumnElement[bool]:
    """As one parameter: there may be more names than a statement has room for."""
    return column == any_(literal([name for name in names if name is not None], ARRAY(Text)))  # type: ignore[no-any-return]


def keep(session: Session, report: Report, *, now: datetime) -> int:
    """Write the differences down; how many are new. What is not seen any more is resolved."""
    new = 0
    seen = []
    for difference in report.differences:
        key = (difference.kind, difference.reference)
        seen.append(key)
        row = session.scalar(
            insert(StripeDifference)
            .values(
                kind=difference.kind,
                reference=difference.reference,
                detail=difference.detail,
                happened_at=difference.happened_at,
                first_seen_at=now,
                last_seen_at=now,
            )
            .on_conflict_do_nothing()
            .returning(StripeDifference.id)
        )
        if row is None:
            session.execute(
                update(StripeDifference)
                .where(StripeDifference.kind == key[0], StripeDifference.reference == key[1])
                .values(detail=difference.detail, last_seen_at=now, resolved_at=None)
            )
        else:
            new += 1
            _log.error(
                "the books differ", kind=difference.kind, reference=difference.reference, detail=difference.detail
            )
    unresolved = select(StripeDifference).where(
        StripeDifference.resolved_at.is_(None), StripeDifference.happened_at >= report.since
    )
    for kept in session.scalars(unresolved):
        if (kept.kind, kept.reference) not in seen and kept.last_seen_at < now:
            kept.resolved_at = now
    session.flush()
    return new


def _of_intent(
    intent: dict[str, Any], attempt: StripeAttempt | None, payment: Payment | None, *, now: datetime
) -> list[Difference]:
    reference = str(intent["id"])
    made_at = _made_at(intent) or (now if attempt is None else attempt.created_at)
    is_paid_there = intent.get("status") == "succeeded"
    is_paid_here = payment is not None and payment.status in ("paid", "refunded")
    if attempt is None:
        return [
            Difference("unknown-intent", reference, f"{intent.get('status')} at Stripe, and not known here", made_at)
        ]
    if is_paid_there and not is_paid_here:
        return [Difference("paid-there-only", reference, "succeeded at Stripe, and not paid here", made_at)]
    if is_paid_here and not is_paid_there:
        there_is = intent.get("status") or "gone"
        return [Difference("paid-here-only", reference, f"paid here, and {there_is} at Stripe", made_at)]
    if is_paid_there and payment is not None:
        there = _money(intent.get("amount_received"), intent.get("currency"))
        if there != (payment.amount, payment.currency):
            said = f"{there} at Stripe, and {payment.amount} {payment.currency} here"
            return [Difference("amount", reference, said, made_at)]
    return []


def _of_refund(refund: dict[str, Any], row: StripeRefund | None, *, now: datetime) -> list[Difference]:
    reference = str(refund["id"])
    made_at = _made_at(refund) or now
    status = str(refund["status"])
    if row is None:
        if status in GONE:
            return []
        return [Difference("refunded-there-only", reference, f"{status} at Stripe, and not known here", made_at)]
    there = _money(refund["amount"], refund["currency"])
    if there != (row.amount, row.currency):
        said = f"{there} at Stripe, and {row.amount} {row.currency} here"
        return [Difference("refund-amount", reference, said, made_at)]
    if (status in GONE) is not (row.status in GONE) or (status == "succeeded") is not (row.status == "succeeded"):
        return [Difference("refund-status", reference, f"{status} at Stripe, and {row.status} here", made_at)]
    return []


def _lost_refunds(ours: Sequence[Refund], refunds: dict[str, dict[str, Any]]) -> list[Difference]:
    """What we believe to have given back, and Stripe knows nothing of."""
    by_ours = {(refund.get("metadata") or {}).get(REFUND) for refund in refunds.values()}
    return [
        Difference(
            "refunded-here-only",
            str(refund.id),
            f"{refund.amount} {refund.currency} given back here only",
            refund.created_at,
        )
        for refund in ours
        if refund.status == "succeeded" and refund.provider_reference not in refunds and str(refund.id) not in by_ours
    ]


def _made_at(found: dict[str, Any]) -> datetime | None:
    created = found.get("created")
    return datetime.fromtimestamp(created, UTC) if isinstance(created, int) else None


def _money(amount: Any, currency: Any) -> tuple[int | None, str]:
    code = str(currency).upper()
    try:
        return from_stripe(int(amount), code), code
    except (AmountDoesNotFit, TypeError, ValueError):
        return None, code
