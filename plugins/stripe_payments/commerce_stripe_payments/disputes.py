"""Payments that banks take back, or warn of: the order is flagged, and nothing more of it is shipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

import stripe
import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from commerce_core.api.problems import Conflict
from commerce_core.orders import service as orders
from commerce_stripe_payments.amounts import from_stripe
from commerce_stripe_payments.connection import Connection
from commerce_stripe_payments.models import StripeAttempt, StripeDispute, StripeInvoice, StripeWarning
from commerce_stripe_payments.webhooks.handlers import EventHandler, Outcome
from commerce_stripe_payments.webhooks.plain import gone_as_none
from commerce_stripe_payments.webhooks.reading import Told, intent_of_charge

_log = structlog.get_logger("commerce.stripe")
HARMLESS = ("won", "warning_closed", "prevented")
"""How a dispute ends well. Any other status, known or not, keeps the order from being shipped."""
_CLOSED = (*HARMLESS, "lost", "charge_refunded")


class OrderDisputed(Conflict):
    """The customer's bank takes the payment back, or asks about it. Answer it at Stripe first; `dispute` says which."""

    slug = "stripe/order-disputed"
    title = "The order's payment is disputed"
    example: ClassVar[dict[str, Any]] = {"dispute": "du_1Q0"}


def refuse_if_disputed(session: Session, order_id: UUID) -> None:
    """Raise OrderDisputed while a dispute about the order is open, or was lost."""
    found = session.scalar(
        select(StripeDispute.id)
        .where(StripeDispute.order_id == order_id, StripeDispute.status.not_in(HARMLESS))
        .limit(1)
    )
    if found is not None:
        raise OrderDisputed("Its payment is disputed, so nothing is shipped.", dispute=found)


def flags_of(session: Session, order_ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    """By order, what staff and customers are shown: whether it is disputed. One statement."""
    disputed = select(StripeDispute.order_id, StripeDispute.status).where(StripeDispute.order_id.in_(order_ids))
    found: dict[UUID, dict[str, Any]] = {}
    for order_id, status in session.execute(disputed.order_by(StripeDispute.created_at)):
        found[order_id] = {"status": status, "blocks_shipping": status not in HARMLESS}
    return found


def _apply_dispute(session: Session, _: Connection, told: Told, dispute: Any, now: datetime) -> Outcome:
    attempt = _attempt_of(session, dispute)
    if attempt is None:
        return _apply_to_invoice(session, dispute)
    order = orders.lock_order(session, attempt.order_id)
    assert order is not None
    status = str(dispute["status"])
    currency = str(dispute["currency"]).upper()
    row = session.get(StripeDispute, dispute["id"], with_for_update=True, populate_existing=True)
    before = None if row is None else row.status
    if row is None:
        row = StripeDispute(
            id=dispute["id"],
            order_id=order.id,
            intent_id=str(attempt.intent_id),
            currency=currency,
            created_at=_moment(dispute.get("created")) or now,
        )
        session.add(row)
    row.amount = from_stripe(int(dispute["amount"]), currency)
    row.reason = str(dispute.get("reason") or "unknown")
    row.status = status
    row.is_charge_refundable = bool(dispute.get("is_charge_refundable"))
    row.evidence_due_by = _moment((dispute.get("evidence_details") or {}).get("due_by"))
    row.closed_at = (row.closed_at or now) if status in _CLOSED else None
    if before == status:
        session.flush()
        return Outcome("ignored", "dispute: known already", order.id)
    orders.record(session, order, "dispute", "stripe", dispute=row.id, status=status, amount=row.amount)
    session.flush()
    if before is None:
        _log.error("payment disputed", order_id=str(order.id), dispute=row.id, status=status, reason=row.reason)
    return Outcome("processed", None, order.id)


def _apply_to_invoice(session: Session, dispute: dict[str, Any]) -> Outcome:
    """A renewal that the bank takes back: its invoice is flagged. Staff decide whether the subscription goes on."""
    invoice = session.scalar(
        select(StripeInvoice).where(StripeInvoice.intent_id == intent_of_charge(dispute)).with_for_update()
    )
    if invoice is None:
        return Outcome("ignored", "foreign: of no payment of this shop")
    status = str(dispute["status"])
    if invoice.dispute == status:
        return Outcome("ignored", "dispute: known already")
    if invoice.dispute is None:
        _log.error("renewal disputed", invoice=invoice.id, subscription_id=str(invoice.subscription), status=status)
    invoice.dispute = status
    session.flush()
    return Outcome("processed")


def _apply_warning(session: Session, _: Connection, told: Told, found: Any, now: datetime) -> Outcome:
    attempt = _attempt_of(session, found)
    if attempt is None:
        return Outcome("ignored", "foreign: of no payment of this shop")
    order = orders.lock_order(session, attempt.order_id)
    assert order is not None
    is_review = found.get("object") == "review"
    row = session.get(StripeWarning, found["id"], with_for_update=True, populate_existing=True)
    is_new = row is None
    if row is None:
        row = StripeWarning(id=found["id"], order_id=order.id, intent_id=str(attempt.intent_id), created_at=now)
        row.kind = "review" if is_review else "early_fraud_warning"
        session.add(row)
    row.what = str(found.get("reason" if is_review else "fraud_type") or "unknown")
    row.is_open = bool(found.get("open" if is_review else "actionable"))
    if is_new:
        orders.record(session, order, row.kind, "stripe", id=row.id, what=row.what)
    session.flush()
    return Outcome("processed", None, order.id)


def _attempt_of(session: Session, about: Mapping[str, Any]) -> StripeAttempt | None:
    intent = intent_of_charge(dict(about))
    return None if intent is None else session.scalar(select(StripeAttempt).where(StripeAttempt.intent_id == intent))


def _moment(seconds: Any) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int) and seconds > 0 else None


# --- What Stripe is asked when it tells something ---


def _with_intent(client: stripe.StripeClient, found: dict[str, Any] | None) -> dict[str, Any] | None:
    """Old shapes name the charge only."""
    if found is not None and intent_of_charge(found) is None and isinstance(found.get("charge"), str):
        charge = gone_as_none(lambda: client.v1.charges.retrieve(found["charge"]))
        found["payment_intent"] = intent_of_charge(charge or {})
    return found


def _fetch_dispute(client: stripe.StripeClient, told: Told) -> dict[str, Any] | None:
    return _with_intent(client, gone_as_none(lambda: client.v1.disputes.retrieve(told.object_id or "")))


def _fetch_warning(client: stripe.StripeClient, told: Told) -> dict[str, Any] | None:
    by_id = client.v1.radar.early_fraud_warnings
    return _with_intent(client, gone_as_none(lambda: by_id.retrieve(told.object_id or "")))


def _fetch_review(client: stripe.StripeClient, told: Told) -> dict[str, Any] | None:
    return _with_intent(client, gone_as_none(lambda: client.v1.reviews.retrieve(told.object_id or "")))


_DISPUTE = EventHandler(_apply_dispute, _fetch_dispute)
_WARNING = EventHandler(_apply_warning, _fetch_warning)
_REVIEW = EventHandler(_apply_warning, _fetch_review)
HANDLERS: dict[str, EventHandler] = {
    "charge.dispute.created": _DISPUTE,
    "charge.dispute.updated": _DISPUTE,
    "charge.dispute.closed": _DISPUTE,
    "charge.dispute.funds_withdrawn": _DISPUTE,
    "charge.dispute.funds_reinstated": _DISPUTE,
    "radar.early_fraud_warning.created": _WARNING,
    "radar.early_fraud_warning.updated": _WARNING,
    "review.opened": _REVIEW,
    "review.closed": _REVIEW,
}
