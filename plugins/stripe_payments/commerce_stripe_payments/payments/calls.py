"""Asking Stripe about payments: outside of any transaction, and with what has been committed before.

Each attempt has one idempotency key, and sends the same parameters however often it is tried: an answer that was lost
is given again, and nothing is made twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import stripe
import structlog
from sqlalchemy.orm import Session

from commerce_core.database import transaction
from commerce_core.orders import service as orders
from commerce_core.payments.provider import Closing
from commerce_stripe_payments.connection import Connection, say
from commerce_stripe_payments.models import StripeAttempt
from commerce_stripe_payments.payments.attempts import DELAYS, lease
from commerce_stripe_payments.payments.effects import apply_intent, apply_session, fetch_intent
from commerce_stripe_payments.webhooks.plain import gone_as_none, plain

_log = structlog.get_logger("commerce.stripe")
CANCELABLE = ("requires_payment_method", "requires_confirmation", "requires_action", "requires_capture")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of carrying out an attempt. `later`: it is not known yet, and will be tried again by itself."""

    state: Literal["made", "later", "refused"]
    object: dict[str, Any] | None = None


def carry_out(connection: Connection, attempt_id: UUID, *, now: datetime) -> Answer:
    """Make at Stripe what an attempt is for, and write down what came of it. Never called in a transaction.

    Killed on the way, it is done again with the same key, and finds what was made.
    """
    engine = connection.engine
    with transaction(engine) as session:
        attempt = lease(session, attempt_id, now=now)
        if attempt is None:
            return Answer("later")
        kind, parameters = attempt.kind, attempt.parameters
    key = {"idempotency_key": f"{connection.key_prefix}:{kind}:{attempt_id}"}
    client = connection.client
    try:
        if kind == "intent":
            made = client.v1.payment_intents.create(parameters, key)  # type: ignore[arg-type]
        else:
            made = client.v1.checkout.sessions.create(parameters, key)  # type: ignore[arg-type,assignment]
        found = plain(made)
    except stripe.CardError as error:
        return _declined(connection, attempt_id, error, now=now)
    except stripe.StripeError as error:
        if is_uncertain(error):
            _try_later(connection, attempt_id, say(error), now=now)
            return Answer("later")
        return _refused(connection, attempt_id, error)
    with connection.writing() as session:
        if kind == "intent":
            apply_intent(session, connection, found, now=now)
        else:
            apply_session(session, connection, found, now=now)
    return Answer("made", found)


def is_uncertain(error: stripe.StripeError) -> bool:
    """Whether Stripe may have done it, or may yet: the same is asked again, with the same key.

    An answer that Stripe repeats out of its memory for the key will never be another one.
    """
    if (error.headers or {}).get("idempotent-replayed", (error.headers or {}).get("Idempotent-Replayed")) == "true":
        return False
    return isinstance(error, (stripe.APIConnectionError, stripe.RateLimitError)) or (
        isinstance(error, stripe.APIError)
        and (error.http_status is None or error.http_status in (409, 429) or error.http_status >= 500)
    )


def cancel(connection: Connection, attempt_id: UUID, *, now: datetime) -> Closing:
    """See to it that an attempt cannot be paid any more, and write down what came of it; outside of any transaction.

    A race that is lost is lost: what was paid is paid. Raises what the SDK raises when Stripe cannot be asked.
    """
    with Session(connection.engine) as session:
        attempt = session.get(StripeAttempt, attempt_id)
        if attempt is None:
            return Closing("closed")
        intent_id, session_id = attempt.intent_id, attempt.session_id
    intent = None
    if session_id is not None:
        found = _expire_session(connection.client, session_id)
        if found is not None:
            with connection.writing() as writing:
                apply_session(writing, connection, found, now=now)
            intent = found.get("payment_intent") if isinstance(found.get("payment_intent"), dict) else None
    elif intent_id is not None:
        intent = _cancel_intent(connection.client, intent_id)
    if intent is None:
        with connection.writing() as writing:
            _close(writing, attempt_id)
        return Closing("closed")
    with connection.writing() as writing:
        outcome = apply_intent(writing, connection, intent, now=now)
    status = intent["status"]
    if status == "succeeded":
        # The amount was another one: somebody must look at it before the order may lapse.
        return Closing("processing" if outcome.state == "dead" else "paid", reference=intent["id"])
    return Closing("closed" if status == "canceled" else "processing", reference=intent["id"])


def _cancel_intent(client: stripe.StripeClient, intent_id: str) -> dict[str, Any] | None:
    try:
        return plain(client.v1.payment_intents.cancel(intent_id, {"cancellation_reason": "abandoned"}))
    except stripe.InvalidRequestError as error:
        if error.code == "resource_missing":
            return None
        if error.code != "payment_intent_unexpected_state":
            raise
    # The race was lost, or there is no canceling any more: what is it now?
    return fetch_intent(client, intent_id)


def _expire_session(client: stripe.StripeClient, session_id: str) -> dict[str, Any] | None:
    parameters: Any = {"expand": ["payment_intent.latest_charge"]}
    try:
        client.v1.checkout.sessions.expire(session_id)
    except stripe.InvalidRequestError as error:
        if error.code == "resource_missing":
            return None
    return gone_as_none(lambda: client.v1.checkout.sessions.retrieve(session_id, parameters))


def give_up(connection: Connection, attempt_id: UUID) -> None:
    """Stripe knows nothing of an attempt's intent or session (any more): nobody can pay it, and another may be made."""
    _log.warning("stripe has forgotten a payment", attempt_id=str(attempt_id))
    with transaction(connection.engine) as session:
        _close(session, attempt_id)


def _close(session: Session, attempt_id: UUID) -> None:
    attempt = session.get(StripeAttempt, attempt_id, with_for_update=True, populate_existing=True)
    if attempt is not None and attempt.state in ("creating", "open"):
        attempt.state = "canceled"
        attempt.next_attempt_at = None


def _declined(connection: Connection, attempt_id: UUID, error: stripe.CardError, *, now: datetime) -> Answer:
    """The bank said no. The intent is there all the same, and can be tried again with another card."""
    about = error.error.payment_intent if error.error is not None else None
    intent = fetch_intent(connection.client, None if about is None else str(about["id"]))
    if intent is None:
        return _refused(connection, attempt_id, error)
    with connection.writing() as session:
        apply_intent(session, connection, intent, now=now)
    return Answer("made", intent)


def _refused(connection: Connection, attempt_id: UUID, error: stripe.StripeError) -> Answer:
    """Stripe will never do this: the next attempt has a key of its own. Somebody should know."""
    _log.error("stripe refuses a payment", attempt_id=str(attempt_id), error=say(error))
    with transaction(connection.engine) as session:
        attempt = session.get_one(StripeAttempt, attempt_id, with_for_update=True)
        if attempt.state == "creating":
            attempt.state = "refused"
            attempt.error = say(error)
            attempt.next_attempt_at = None
    return Answer("refused")


def _try_later(connection: Connection, attempt_id: UUID, error: str, *, now: datetime) -> None:
    _log.warning("stripe does not answer", attempt_id=str(attempt_id), error=error)
    with transaction(connection.engine) as session:
        order_id = session.get_one(StripeAttempt, attempt_id).order_id
        orders.lock_order(session, order_id)
        attempt = session.get_one(StripeAttempt, attempt_id, with_for_update=True, populate_existing=True)
        if attempt.state == "creating":
            attempt.error = error
            attempt.next_attempt_at = now + DELAYS[min(attempt.tries, len(DELAYS)) - 1]
