"""Giving money back, and learning that it went back: by the id of each refund, so that each counts once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import stripe
import structlog
from sqlalchemy import exists, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from commerce_core.orders import service as orders
from commerce_core.orders.models import Order
from commerce_core.payments import refunds as core
from commerce_core.payments.models import Payment, Refund
from commerce_core.payments.provider import RefundRequest, RefundResult
from commerce_stripe_payments.amounts import from_stripe, to_stripe
from commerce_stripe_payments.connection import Connection, say
from commerce_stripe_payments.models import StripeDispute, StripeRefund
from commerce_stripe_payments.payments.attempts import SITE
from commerce_stripe_payments.payments.calls import is_uncertain
from commerce_stripe_payments.payments.effects import CODE, apply_intent, fetch_intent, find_attempt
from commerce_stripe_payments.webhooks.handlers import EventHandler, Outcome
from commerce_stripe_payments.webhooks.plain import gone_as_none, plain
from commerce_stripe_payments.webhooks.reading import Told, intent_of_charge

_log = structlog.get_logger("commerce.stripe")
REFUND = "commerce_refund"
# Stripe forgets keys after a day; a refund that is asked for later would be another one.
KEYS_LAST = timedelta(hours=20)
# What may follow: only ever to the right. A refund that has failed never comes back to life.
_RANK = {"pending": 0, "requires_action": 0, "succeeded": 1, "failed": 2, "canceled": 2}
_FAILURES = {
    "charge_for_pending_refund_disputed": "the payment is disputed",
    "declined": "the bank has declined it",
    "expired_or_canceled_card": "the card has expired or was cancelled",
    "insufficient_funds": "there is not enough money on the shop's balance at Stripe",
    "lost_or_stolen_card": "the card was lost or stolen",
    "merchant_request": "it was called off",
    "unknown": "the bank does not say why",
}


class StillUnknown(Exception):
    """Stripe could not be asked, or has not answered: ask again, with the same key."""


def give_back(connection: Connection, request: RefundRequest) -> RefundResult:
    """Ask Stripe for a refund, outside of any transaction. Raises StillUnknown when the outcome is not known."""
    if request.payment_reference is None:
        return RefundResult("failed", error="the payment has no intent at Stripe")
    if _is_disputed(connection, request.payment_reference):
        return RefundResult("failed", error="the payment is disputed: the bank has taken the money back already")
    known = _known_refund(connection, request)
    if known is not None:
        return _result(known)
    parameters: Any = {
        "payment_intent": request.payment_reference,
        "amount": to_stripe(request.amount, request.currency),
        "reason": "requested_by_customer",
        "metadata": {SITE: str(connection.site), REFUND: str(request.id)},
    }
    key = f"{connection.key_prefix}:refund:{request.idempotency_key}"
    try:
        refund = plain(connection.client.v1.refunds.create(parameters, {"idempotency_key": key}))
    except stripe.InvalidRequestError as error:
        if error.code != "charge_already_refunded":
            return RefundResult("failed", error=_words(error))
        found = _already_given_back(connection, request)
        if found is None:
            return RefundResult("failed", error="all of it was refunded at Stripe before")
        refund = found
    except stripe.StripeError as error:
        if is_uncertain(error):
            raise StillUnknown(say(error)) from None
        if isinstance(error, stripe.IdempotencyError):
            _log.error("an idempotency key was used for two things", refund_id=str(request.id))
        return RefundResult("failed", error=say(error))
    with connection.writing() as session:
        _know(session, refund, request.id, request.order_id, is_external=False)
    return _result(refund)


def _known_refund(connection: Connection, request: RefundRequest) -> dict[str, Any] | None:
    """What Stripe has made of this request before, if it may have forgotten the key. Raises StillUnknown."""
    with Session(connection.engine) as session:
        made = session.scalar(
            select(StripeRefund.id).where(
                StripeRefund.refund_id == request.id, StripeRefund.status.not_in(("failed", "canceled"))
            )
        )
        since = session.scalar(select(Refund.created_at).where(Refund.id == request.id))
    client = connection.client
    try:
        if made is not None:
            return gone_as_none(lambda: client.v1.refunds.retrieve(made))
        if since is None or connection.now() - since < KEYS_LAST or request.payment_reference is None:
            return None
        return next(
            (
                refund
                for refund in fetch_refunds(client, request.payment_reference)
                if _is_of(refund, request.id) and refund["status"] not in ("failed", "canceled")
            ),
            None,
        )
    except stripe.StripeError as error:
        raise StillUnknown(say(error)) from None


def _is_of(refund: dict[str, Any], refund_id: UUID) -> bool:
    return (refund.get("metadata") or {}).get(REFUND) == str(refund_id)


def _already_given_back(connection: Connection, request: RefundRequest) -> dict[str, Any] | None:
    """The refund at Stripe that is this one: made by us, or of this amount by somebody there and by nobody here."""
    assert request.payment_reference is not None
    listed = fetch_refunds(connection.client, request.payment_reference)
    for refund in listed:
        if _is_of(refund, request.id) and refund["status"] not in ("failed", "canceled"):
            return refund
    with Session(connection.engine) as session:
        for refund in listed:
            is_taken = session.scalar(select(exists().where(StripeRefund.id == refund["id"])))
            amount = from_stripe(int(refund["amount"]), str(refund["currency"]))
            if not is_taken and amount == request.amount and refund["status"] in ("succeeded", "pending"):
                return refund
    return None


def apply_refunds(session: Session, connection: Connection, truth: dict[str, Any], *, now: datetime) -> Outcome:
    """Let a payment's refunds, all of them and fresh from Stripe, take effect. Locks the order first."""
    intent = truth["intent"]
    attempt = find_attempt(session, connection, intent)
    if isinstance(attempt, Outcome):
        return attempt
    # Its payment may not have been told yet.
    paid = apply_intent(session, connection, intent, now=now)
    if paid.state == "dead":
        return paid
    order = orders.lock_order(session, attempt.order_id)
    assert order is not None
    payment = session.get(Payment, attempt.payment_id, with_for_update=True, populate_existing=True)
    if payment is None or payment.provider_reference != intent["id"]:
        payment = session.scalar(
            select(Payment)
            .where(Payment.provider == CODE, Payment.provider_reference == intent["id"])
            .with_for_update()
        )
    if payment is None or payment.status not in ("paid", "refunded"):
        return Outcome("unmatched", "the payment is not known to be made (yet)", order.id)
    news = [_apply(session, connection, order, payment, refund, now=now) for refund in truth["refunds"]]
    for outcome in news:
        if outcome.state == "dead":
            return outcome
    done = any(outcome.state == "processed" for outcome in news)
    return Outcome("processed" if done else "ignored", None if done else "refund: known already", order.id)


def _apply(
    session: Session,
    connection: Connection,
    order: Order,
    payment: Payment,
    refund: dict[str, Any],
    *,
    now: datetime,
) -> Outcome:
    status = str(refund["status"])
    result = _result(refund)
    known = session.get(StripeRefund, refund["id"], with_for_update=True, populate_existing=True)
    if known is not None:
        if _RANK.get(status, 0) <= _RANK.get(known.status, 0):
            # Our own call has written it down; whether the core knows is seen to by the core.
            if status == known.status == "succeeded":
                _tell(session, order, known.refund_id, result, now=now)
            return Outcome("ignored", "refund: known already", order.id)
        known.status = status
        detail = _tell(session, order, known.refund_id, result, now=now)
        return Outcome("processed" if detail is None else "ignored", detail, order.id)
    ours = _ours(session, connection, order, refund)
    if ours is not None:
        _know(session, refund, ours.id, order.id, is_external=False)
        detail = _tell(session, order, ours.id, result, now=now)
        return Outcome("processed" if detail is None else "ignored", detail, order.id)
    if result.status == "failed":
        return Outcome("ignored", "refund: nothing went back", order.id)
    amount = from_stripe(int(refund["amount"]), str(refund["currency"]))
    try:
        made = core.record_foreign_refund(session, order, payment, amount, result, reason="refunded at Stripe", now=now)
    except core.RefundTooLarge:
        return _adopt(session, order, payment, refund, amount, result, now=now)
    _know(session, refund, made.id, order.id, is_external=True)
    return Outcome("processed", None, order.id)


def _ours(session: Session, connection: Connection, order: Order, refund: dict[str, Any]) -> Refund | None:
    """The refund of ours that was asked for with this one."""
    metadata = refund.get("metadata") or {}
    if metadata.get(SITE) != str(connection.site):
        return None
    try:
        found = session.get(Refund, UUID(str(metadata.get(REFUND))))
    except ValueError:
        return None
    return found if found is not None and found.order_id == order.id else None


def _adopt(
    session: Session,
    order: Order,
    payment: Payment,
    refund: dict[str, Any],
    amount: int,
    result: RefundResult,
    *,
    now: datetime,
) -> Outcome:
    """Somebody has done at Stripe what was decided here, too: it is the same money."""
    wish = session.scalar(
        select(Refund)
        .where(
            Refund.payment_id == payment.id,
            Refund.amount == amount,
            Refund.status.in_(("pending", "failed")),
            ~exists().where(StripeRefund.refund_id == Refund.id, StripeRefund.status.in_(("pending", "succeeded"))),
        )
        .order_by(Refund.id)
        .limit(1)
    )
    if wish is None:
        return Outcome("dead", f"{refund['id']} gives back more than was paid and not given back yet", order.id)
    _know(session, refund, wish.id, order.id, is_external=True)
    detail = _tell(session, order, wish.id, result, now=now)
    return Outcome("processed" if detail is None else "ignored", detail, order.id)


def _tell(session: Session, order: Order, refund_id: UUID, result: RefundResult, *, now: datetime) -> str | None:
    return core.apply_refund_event(session, order, refund_id, result, now=now)


def _know(session: Session, refund: dict[str, Any], refund_id: UUID, order_id: UUID, *, is_external: bool) -> None:
    currency = str(refund["currency"]).upper()
    session.execute(
        insert(StripeRefund)
        .values(
            id=refund["id"],
            refund_id=refund_id,
            order_id=order_id,
            intent_id=intent_of_charge(refund) or "",
            amount=from_stripe(int(refund["amount"]), currency),
            currency=currency,
            status=str(refund["status"]),
            is_external=is_external,
            created_at=datetime.fromtimestamp(int(refund["created"])).astimezone(),
        )
        .on_conflict_do_nothing()
    )


def _result(refund: dict[str, Any]) -> RefundResult:
    status = str(refund["status"])
    if status == "succeeded":
        return RefundResult("succeeded", refund["id"])
    if status in ("failed", "canceled"):
        reason = str(refund.get("failure_reason") or "merchant_request")
        return RefundResult("failed", refund["id"], _FAILURES.get(reason, reason))
    return RefundResult("pending", refund["id"])


def _words(error: stripe.InvalidRequestError) -> str:
    """What staff are told about a refund that Stripe does not make."""
    if error.code == "charge_disputed":
        return "the payment is disputed: the bank has taken the money back already"
    return say(error)


def _is_disputed(connection: Connection, intent: str) -> bool:
    """Whether the bank has taken the money back, so that a refund would be the second time."""
    with Session(connection.engine) as session:
        return bool(
            session.scalar(
                select(
                    exists().where(
                        StripeDispute.intent_id == intent,
                        ~StripeDispute.is_charge_refundable,
                        StripeDispute.status.not_in(("won", "warning_closed", "prevented")),
                    )
                )
            )
        )


# --- What Stripe is asked when it tells something ---


def fetch_refunds(client: stripe.StripeClient, intent: str) -> list[dict[str, Any]]:
    """All refunds of an intent, oldest first."""
    listed = client.v1.refunds.list({"payment_intent": intent, "limit": 100})
    return [plain(refund) for refund in reversed(list(listed.auto_paging_iter()))]


def _refunds_of_event(client: stripe.StripeClient, told: Told) -> dict[str, Any] | None:
    about: dict[str, Any] | None = told.object
    if intent_of_charge(told.object) is None and told.object_id is not None:
        # Old shapes, and thin events, do not say which payment it is of.
        by_id = client.v1.refunds if told.object_id.startswith(("re_", "pyr_")) else client.v1.charges
        about = gone_as_none(lambda: by_id.retrieve(str(told.object_id)))
    intent_id = intent_of_charge(about or {})
    intent = fetch_intent(client, intent_id)
    if intent is None or intent_id is None:
        return None
    return {"intent": intent, "refunds": fetch_refunds(client, intent_id)}


def _apply_event(session: Session, connection: Connection, _told: Told, truth: Any, now: datetime) -> Outcome:
    return apply_refunds(session, connection, truth, now=now)


_REFUNDS = EventHandler(_apply_event, _refunds_of_event)
HANDLERS: dict[str, EventHandler] = {
    "charge.refunded": _REFUNDS,
    "charge.refund.updated": _REFUNDS,
    "refund.created": _REFUNDS,
    "refund.updated": _REFUNDS,
    "refund.failed": _REFUNDS,
}
