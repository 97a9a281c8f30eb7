"""What a payment intent, as Stripe has it now, does to its attempt, its payment and its order.

Whoever learns of it calls `apply_intent`: the webhook, the answer to our own call, the page that the customer comes
back to, the closing of a lapsed order. However often, and in whatever order, it comes to the same.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import stripe
import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from commerce_core.orders import service as orders
from commerce_core.orders.models import Order
from commerce_core.payments import service as payments
from commerce_core.payments.provider import ProviderEvent
from commerce_stripe_payments.amounts import AmountDoesNotFit, from_stripe
from commerce_stripe_payments.connection import Connection
from commerce_stripe_payments.models import StripeAttempt
from commerce_stripe_payments.payments.attempts import ATTEMPT, SITE, end
from commerce_stripe_payments.payments.declines import decline_code, text_of
from commerce_stripe_payments.payments.mails import ask_to_confirm
from commerce_stripe_payments.webhooks.handlers import EventHandler, Outcome
from commerce_stripe_payments.webhooks.plain import gone_as_none
from commerce_stripe_payments.webhooks.reading import Told, id_of, intent_of_charge

_log = structlog.get_logger("commerce.stripe")

CODE = "stripe"
# The bank wants to see the customer, who is not there.
ASKED_FOR = "authentication_required"
WAITING = ("requires_payment_method", "requires_confirmation", "requires_action")
# A bank lets money be captured for seven days, mostly; an hour is ours.
CAPTURABLE = timedelta(days=6, hours=23)


def find_attempt(session: Session, connection: Connection, intent: dict[str, Any]) -> StripeAttempt | Outcome:
    """The attempt that an intent was made for, or why there is none. Takes no lock.

    The intent must be the one that is stored with the attempt, or else have been made by us for it: metadata alone is
    not believed.
    """
    intent_id = intent["id"]
    known = session.scalar(select(StripeAttempt).where(StripeAttempt.intent_id == intent_id))
    if known is not None:
        return known
    metadata = intent.get("metadata") or {}
    if metadata.get(SITE) != str(connection.site):
        return Outcome("ignored", "foreign: nothing that this shop has made")
    try:
        attempt = session.get(StripeAttempt, UUID(str(metadata.get(ATTEMPT))))
    except ValueError:
        attempt = None
    if attempt is None:
        return Outcome("unmatched", "no attempt of ours (yet)")
    told = (intent.get("amount"), str(intent.get("currency")).lower())
    if attempt.intent_id is not None or told != _sent(attempt):
        return Outcome("dead", f"{intent_id} says that it is for an attempt that it was not made for", attempt.order_id)
    return attempt


def apply_intent(session: Session, connection: Connection, intent: dict[str, Any], *, now: datetime) -> Outcome:
    """Let an intent, fresh from Stripe, take effect. Locks its order, then its attempt."""
    found = find_attempt(session, connection, intent)
    if isinstance(found, Outcome):
        return found
    order = orders.lock_order(session, found.order_id)
    assert order is not None
    attempt = session.get_one(StripeAttempt, found.id, with_for_update=True, populate_existing=True)
    attempt.intent_id = intent["id"]
    attempt.next_attempt_at = None
    if attempt.state == "creating":
        attempt.state = "open"
    payments.note_reference(session, attempt.payment_id, attempt.intent_id)
    detail = _effect(session, connection, order, attempt, intent, now=now)
    session.flush()
    if isinstance(detail, Outcome):
        return detail
    return Outcome("processed" if detail is None else "ignored", detail, order.id)


def _effect(
    session: Session,
    connection: Connection,
    order: Order,
    attempt: StripeAttempt,
    intent: dict[str, Any],
    *,
    now: datetime,
) -> str | Outcome | None:
    status = str(intent.get("status"))
    if attempt.state == "succeeded" and status != "succeeded":
        return "the payment has succeeded already"
    attempt.stripe_status = status
    if status == "succeeded":
        return _succeeded(session, order, attempt, intent, now=now)
    if status == "canceled":
        attempt.state = "canceled"
        return _settle(session, order, attempt, "cancelled", now=now)
    if status in ("processing", "requires_capture"):
        if order.status != "pending":
            if status == "requires_capture":  # the money is not taken yet, and must not be
                _cancel(session, attempt, now=now)
            else:  # what the bank is at cannot be stopped; if it comes, it goes back
                attempt.state = "processing"
            return f"the order is {order.status}"
        attempt.state = "processing"
        until = now + timedelta(days=connection.settings.processing_days)
        if status == "requires_capture":
            until = _capture_before(intent) or now + CAPTURABLE
        return _settle(session, order, attempt, "processing", until=until, now=now)
    if status in WAITING:
        return _waiting(session, connection, order, attempt, intent, now=now)
    return f"status: {status} is none that is known"


def _succeeded(
    session: Session, order: Order, attempt: StripeAttempt, intent: dict[str, Any], *, now: datetime
) -> str | Outcome | None:
    received = _amount(intent, "amount_received")
    currency = str(intent.get("currency")).upper()
    if (received, currency) != (attempt.amount, attempt.currency):
        attempt.error = f"{received} {currency} came, where {attempt.amount} {attempt.currency} were to be paid"
        # Not over: the order must not lapse before somebody has looked at it.
        attempt.state = "processing"
        return Outcome("dead", attempt.error, order.id)
    attempt.state = "succeeded"
    attempt.error = attempt.decline_code = None
    return _settle(session, order, attempt, "paid", now=now)


def _waiting(
    session: Session,
    connection: Connection,
    order: Order,
    attempt: StripeAttempt,
    intent: dict[str, Any],
    *,
    now: datetime,
) -> str | None:
    """The customer has something to do, perhaps because it did not work."""
    if attempt.state in ("canceled", "refused") or order.status != "pending":
        _cancel(session, attempt, now=now)
        return f"the order is {order.status}, and does not wait for this"
    attempt.state = "open"
    error = intent.get("last_payment_error") if intent.get("status") == "requires_payment_method" else None
    if not isinstance(error, dict):
        return None
    known, attempt.decline_code = attempt.decline_code, decline_code(error)
    attempt.error = text_of(attempt.decline_code)
    if attempt.decline_code == ASKED_FOR and attempt.parameters.get("off_session"):
        # Nothing has failed: the customer has not been asked yet.
        if known != ASKED_FOR:
            ask_to_confirm(session, order, connection.settings.return_url, now=now)
        return None
    return _settle(session, order, attempt, "failed", until=_usual_end(connection, now), now=now)


def _settle(
    session: Session,
    order: Order,
    attempt: StripeAttempt,
    status: Literal["paid", "failed", "processing", "cancelled"],
    *,
    now: datetime,
    until: datetime | None = None,
) -> str | None:
    event = ProviderEvent(
        CODE,
        event_id=f"attempt:{attempt.id}",
        order_id=order.id,
        status=status,
        payload={},
        provider_reference=attempt.intent_id,
        error=attempt.error,
        payment_id=attempt.payment_id,
        until=until,
    )
    return payments.settle(session, order, event, now=now)


def _cancel(session: Session, attempt: StripeAttempt, *, now: datetime) -> None:
    attempt.state = "open"
    end(session, attempt, now=now)


def _usual_end(connection: Connection, now: datetime) -> datetime:
    """Until when an order may stay unpaid from now on."""
    return now + timedelta(seconds=connection.payment_seconds)


def _sent(attempt: StripeAttempt) -> tuple[Any, str]:
    """The amount and the currency that Stripe was told."""
    sent = attempt.parameters
    if attempt.kind == "intent":
        return sent["amount"], sent["currency"]
    price = sent["line_items"][0]["price_data"]
    return price["unit_amount"], price["currency"]


def _amount(intent: dict[str, Any], field: str) -> int | None:
    try:
        return from_stripe(int(intent[field]), str(intent["currency"]))
    except (KeyError, TypeError, ValueError, AmountDoesNotFit):
        return None


def _capture_before(intent: dict[str, Any]) -> datetime | None:
    """Until when the money can be captured, if the charge says so; an hour of it is ours."""
    charge = intent.get("latest_charge")
    card = ((charge.get("payment_method_details") or {}).get("card") or {}) if isinstance(charge, dict) else {}
    moment = card.get("capture_before")
    return datetime.fromtimestamp(moment, UTC) - timedelta(hours=1) if isinstance(moment, int) else None


# --- What Stripe is asked when it tells something ---


def fetch_intent(client: stripe.StripeClient, intent_id: str | None) -> dict[str, Any] | None:
    """The intent as it is now; None if there is no such."""
    if intent_id is None:
        return None
    return gone_as_none(lambda: client.v1.payment_intents.retrieve(intent_id, {"expand": ["latest_charge"]}))


def _intent_of_event(client: stripe.StripeClient, told: Told) -> dict[str, Any] | None:
    return fetch_intent(client, told.object_id)


def _intent_of_charge(client: stripe.StripeClient, told: Told) -> dict[str, Any] | None:
    intent = intent_of_charge(told.object)
    if intent is None and told.is_thin and told.object_id is not None:
        charge = gone_as_none(lambda: client.v1.charges.retrieve(str(told.object_id)))
        intent = intent_of_charge(charge or {})
    return fetch_intent(client, intent)


def _session_of_event(client: stripe.StripeClient, told: Told) -> dict[str, Any] | None:
    parameters: Any = {"expand": ["payment_intent.latest_charge"]}
    session_id = told.object_id or ""
    return gone_as_none(lambda: client.v1.checkout.sessions.retrieve(session_id, parameters))


def _apply_intent(session: Session, connection: Connection, _told: Told, intent: Any, now: datetime) -> Outcome:
    return apply_intent(session, connection, intent, now=now)


def apply_session(session: Session, connection: Connection, found: dict[str, Any], *, now: datetime) -> Outcome:
    """Let a checkout session, fresh from Stripe, with its intent, take effect."""
    attempt = session.scalar(select(StripeAttempt).where(StripeAttempt.session_id == found["id"]))
    if attempt is None:
        if (found.get("metadata") or {}).get(SITE) != str(connection.site):
            return Outcome("ignored", "foreign: nothing that this shop has made")
        try:
            attempt = session.get(StripeAttempt, UUID(str(found["metadata"].get(ATTEMPT))))
        except ValueError:
            attempt = None
        if attempt is None:
            return Outcome("unmatched", "no attempt of ours (yet)")
        if attempt.session_id is not None or attempt.kind != "checkout":
            return Outcome("dead", f"{found['id']} says that it is for an attempt that it was not made for")
    order = orders.lock_order(session, attempt.order_id)
    assert order is not None
    attempt = session.get_one(StripeAttempt, attempt.id, with_for_update=True, populate_existing=True)
    attempt.session_id = found["id"]
    attempt.next_attempt_at = None
    if attempt.state == "creating":
        attempt.state = "open"
    intent = found.get("payment_intent")
    if isinstance(intent, dict):
        attempt.intent_id = attempt.intent_id or id_of(intent)
        session.flush()
        return apply_intent(session, connection, intent, now=now)
    if found.get("status") == "expired" and attempt.state == "open":
        attempt.state = "canceled"
        detail = _settle(session, order, attempt, "cancelled", now=now)
        return Outcome("processed" if detail is None else "ignored", detail, order.id)
    if attempt.state == "canceled" and found.get("status") == "open":
        _cancel(session, attempt, now=now)
    return Outcome("processed", None, order.id)


def _apply_session(session: Session, connection: Connection, _told: Told, found: Any, now: datetime) -> Outcome:
    return apply_session(session, connection, found, now=now)


def _orphan(session: Session, told: Told, now: datetime) -> None:
    from commerce_stripe_payments.payments.jobs import settle_orphan

    if told.object_id is not None:
        settle_orphan.enqueue(session, now=now, intent=told.object_id, unique_key=f"stripe.orphan:{told.object_id}")


_INTENT = EventHandler(_apply_intent, _intent_of_event, orphan=_orphan)
_CHARGE = EventHandler(_apply_intent, _intent_of_charge)
_SESSION = EventHandler(_apply_session, _session_of_event)

HANDLERS: dict[str, EventHandler] = {
    "payment_intent.created": _INTENT,
    "payment_intent.requires_action": _INTENT,
    "payment_intent.processing": _INTENT,
    "payment_intent.amount_capturable_updated": _INTENT,
    "payment_intent.partially_funded": _INTENT,
    "payment_intent.payment_failed": _INTENT,
    "payment_intent.succeeded": _INTENT,
    "payment_intent.canceled": _INTENT,
    "charge.pending": _CHARGE,
    "charge.succeeded": _CHARGE,
    "charge.captured": _CHARGE,
    "charge.failed": _CHARGE,
    "charge.expired": _CHARGE,
    "checkout.session.completed": _SESSION,
    "checkout.session.async_payment_succeeded": _SESSION,
    "checkout.session.async_payment_failed": _SESSION,
    "checkout.session.expired": _SESSION,
}
