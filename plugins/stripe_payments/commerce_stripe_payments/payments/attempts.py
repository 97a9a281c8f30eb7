"""Attempts to collect a payment: rows that are committed before Stripe is asked.

Works in the caller's transaction; flushes, never commits. The order must be locked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from commerce_core.database import uuid7
from commerce_core.orders.models import Order
from commerce_core.payments import service as payments
from commerce_core.payments.models import Payment
from commerce_core.payments.provider import ProviderEvent
from commerce_stripe_payments.amounts import chargeable
from commerce_stripe_payments.connection import Connection
from commerce_stripe_payments.models import StripeAttempt

UNDER_WAY = ("creating", "open", "processing")
# When Stripe could not be asked, or did not answer: how long until it is asked again. After the last, for ever.
DELAYS = (timedelta(seconds=10), timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30))
# While somebody asks, nobody else does: longer than any call takes.
LEASE = timedelta(minutes=2)

SITE, ORDER, PAYMENT, ATTEMPT = "commerce_site", "commerce_order", "commerce_payment", "commerce_attempt"
"""What of ours is written into the metadata of what is made at Stripe."""


def current_attempt(
    session: Session, connection: Connection, order: Order, payment: Payment, *, kind: str, now: datetime, **wanted: Any
) -> StripeAttempt:
    """The attempt that is under way for a payment; a new one, to be carried out, if there is none that is as wanted.

    A new one ends the others of the order: they are cancelled at Stripe, by a job. `wanted` are parameters for Stripe
    beside the usual ones: whose card, and which. Raises AmountDoesNotFit.
    """
    found = session.scalar(
        select(StripeAttempt).where(StripeAttempt.payment_id == payment.id, StripeAttempt.state.in_(UNDER_WAY))
    )
    if found is not None:
        is_as_wanted = found.kind == kind and wanted.items() <= found.parameters.items()
        if is_as_wanted or found.state == "processing":
            return found
    for other in under_way(session, order.id):
        end(session, other, now=now)
    if found is not None or payment.provider_reference is not None:
        payment = _another_payment(session, order, payment, now=now)
    amount = chargeable(payment.amount, payment.currency)
    attempt = StripeAttempt(
        id=uuid7(),
        order_id=order.id,
        payment_id=payment.id,
        kind=kind,
        state="creating",
        amount=payment.amount,
        currency=payment.currency,
        livemode=connection.settings.livemode,
        parameters={},
        next_attempt_at=now,
        created_at=now,
    )
    metadata = {
        SITE: str(connection.site),
        ORDER: str(order.id),
        PAYMENT: str(payment.id),
        ATTEMPT: str(attempt.id),
    }
    of_kind = _intent_parameters if kind == "intent" else _session_parameters
    attempt.parameters = of_kind(connection, order, amount, metadata) | wanted
    session.add(attempt)
    session.flush()
    return attempt


def _another_payment(session: Session, order: Order, payment: Payment, *, now: datetime) -> Payment:
    """A payment instead of one that is called by the name of another intent, which may yet be paid all the same."""
    replaced = ProviderEvent(
        payment.provider,
        event_id=f"replaced:{payment.id}",
        order_id=order.id,
        status="cancelled",
        payload={},
        provider_reference=payment.provider_reference,
        payment_id=payment.id,
    )
    payments.settle(session, order, replaced, now=now)
    return payments.start_payment(session, order, payment.provider, now=now)


def end(session: Session, attempt: StripeAttempt, *, now: datetime) -> None:
    """An attempt is not wanted any more: a job tells Stripe so, if Stripe knows it. One that is processing goes on."""
    if attempt.state == "processing":
        return
    from commerce_stripe_payments.payments.jobs import cancel_attempt

    attempt.state = "canceled"
    attempt.next_attempt_at = None
    session.flush()
    if attempt.intent_id is not None or attempt.session_id is not None:
        cancel_attempt.enqueue(session, now=now, attempt=attempt.id, unique_key=f"stripe.cancel:{attempt.id}")


def under_way(session: Session, order_id: UUID) -> Sequence[StripeAttempt]:
    """The attempts of an order that are not over."""
    return session.scalars(
        select(StripeAttempt)
        .where(StripeAttempt.order_id == order_id, StripeAttempt.state.in_(UNDER_WAY))
        .order_by(StripeAttempt.id)
    ).all()


def lease(session: Session, attempt_id: UUID, *, now: datetime) -> StripeAttempt | None:
    """An attempt that Stripe is to be asked for now, kept from the sweep for a while. Locks it; None if it is done."""
    attempt = session.get(StripeAttempt, attempt_id, with_for_update=True, populate_existing=True)
    if attempt is None or attempt.state != "creating":
        return None
    attempt.tries += 1
    attempt.next_attempt_at = now + LEASE
    session.flush()
    return attempt


def attempts_of(session: Session, order_ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    """By order, its latest attempt, as the order shows it. One statement."""
    found: dict[UUID, dict[str, Any]] = {}
    for attempt in session.scalars(
        select(StripeAttempt).where(StripeAttempt.order_id.in_(order_ids)).order_by(StripeAttempt.id)
    ):
        found[attempt.order_id] = {
            "state": attempt.state,
            "status": attempt.stripe_status,
            "error": attempt.error if attempt.decline_code else None,
        }
    return found


def _intent_parameters(connection: Connection, order: Order, amount: int, metadata: dict[str, str]) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "amount": amount,
        "currency": order.currency.lower(),
        "automatic_payment_methods": {"enabled": True},
        "capture_method": connection.settings.capture,
        "description": f"Order {order.number}",
        "metadata": metadata,
    }
    if connection.settings.statement_descriptor_suffix:
        parameters["statement_descriptor_suffix"] = connection.settings.statement_descriptor_suffix
    return parameters


def _session_parameters(connection: Connection, order: Order, amount: int, metadata: dict[str, str]) -> dict[str, Any]:
    back = (connection.settings.return_url or "").replace("{number}", order.number)
    return {
        "mode": "payment",
        "client_reference_id": str(order.id),
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": order.currency.lower(),
                    "unit_amount": amount,
                    "product_data": {"name": f"Order {order.number}"},
                },
            }
        ],
        "metadata": metadata,
        "payment_intent_data": {
            "capture_method": connection.settings.capture,
            "description": f"Order {order.number}",
            "metadata": metadata,
        },
        "success_url": back,
        "cancel_url": back,
    }
