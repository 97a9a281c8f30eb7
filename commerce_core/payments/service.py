"""Payments, and the inbox that makes every provider event take effect exactly once.

Works in the caller's transaction; flushes, never commits. Lock order: the order first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from commerce_core.database import uuid7
from commerce_core.events import RefundDue, WebhookReceived, emit
from commerce_core.orders import service as orders
from commerce_core.orders.models import Order
from commerce_core.payments.models import Payment, Refund, WebhookEvent
from commerce_core.payments.provider import PaymentProvider, ProviderEvent, UnknownProvider

# How long an event whose order is unknown is tried again by itself; after that it is kept for the staff to look at.
UNMATCHED_PATIENCE = timedelta(hours=1)


def provider(registry: Any, code: str) -> PaymentProvider:
    """The provider with this code. Raises UnknownProvider."""
    found: PaymentProvider | None = registry.payment_providers.get(code)
    if found is None:
        raise UnknownProvider(f"No payment provider is called {code!r}.", available=sorted(registry.payment_providers))
    return found


def start_payment(session: Session, order: Order, provider_code: str, *, now: datetime) -> Payment:
    """The order's open payment with this provider; a new one if there is none. The order must be locked or new.

    Raises WrongOrderState unless the order waits to be paid.
    """
    if order.status != "pending" or order.payment_status not in ("unpaid", "pending", "failed"):
        raise orders.WrongOrderState(
            f"The order is {order.status} and {order.payment_status}; it does not wait for a payment.",
            state=order.status,
            payment_status=order.payment_status,
        )
    payment = _open_payment(session, order, provider_code) or _new_payment(session, order, provider_code, now=now)
    if order.payment_status != "pending":
        orders.transition(session, order, "payment_status", "pending")
    session.flush()
    return payment


def payments_of(session: Session, order_ids: Sequence[UUID]) -> defaultdict[UUID, list[Payment]]:
    """The payments of each order, oldest first. One statement."""
    grouped: defaultdict[UUID, list[Payment]] = defaultdict(list)
    for payment in session.scalars(select(Payment).where(Payment.order_id.in_(order_ids)).order_by(Payment.id)):
        grouped[payment.order_id].append(payment)
    return grouped


def cancel_open_payments(session: Session, order: Order) -> None:
    """Nothing more is expected from the order's open payments. The order must be locked."""
    for payment in session.scalars(
        select(Payment).where(Payment.order_id == order.id, Payment.status == "pending").with_for_update()
    ):
        payment.status = "cancelled"
    session.flush()


def receive_event(session: Session, event: ProviderEvent, body: bytes, *, now: datetime) -> tuple[WebhookEvent, bool]:
    """File a provider's event and let it take effect. The filed event, and whether it had been delivered before.

    A second delivery waits for the first one to commit, and changes nothing.
    """
    inserted = session.scalar(
        insert(WebhookEvent)
        .values(
            id=uuid7(),
            provider=event.provider,
            event_id=event.event_id,
            body=body,
            payload=event.payload,
            state="received",
            attempts=0,
            received_at=now,
        )
        .on_conflict_do_nothing(index_elements=["provider", "event_id"])
        .returning(WebhookEvent.id)
    )
    row = session.scalars(
        select(WebhookEvent).where(WebhookEvent.provider == event.provider, WebhookEvent.event_id == event.event_id)
    ).one()
    if inserted is None:
        return row, True
    apply_event(session, row, event, now=now)
    return row, False


def apply_event(session: Session, row: WebhookEvent, event: ProviderEvent, *, now: datetime) -> None:
    """Let a filed event take effect on its order. Locks the order."""
    row.attempts += 1
    order = orders.lock_order(session, event.order_id)
    if order is None:
        row.state, row.detail = "unmatched", "there is no such order (yet)"
    else:
        row.order_id = order.id
        row.processed_at = now
        row.detail = (_apply_paid if event.status == "paid" else _apply_failed)(session, order, event, now=now)
        row.state = "processed" if row.detail is None else "ignored"
    session.flush()
    emit(
        session,
        WebhookReceived(provider=row.provider, event_id=row.event_id, state=row.state, order_id=row.order_id),
    )


def unmatched_event_ids(session: Session, *, now: datetime, limit: int) -> Sequence[UUID]:
    """Events whose order was unknown, young enough to be tried again. Takes no locks."""
    return session.scalars(
        select(WebhookEvent.id)
        .where(WebhookEvent.state == "unmatched", WebhookEvent.received_at > now - UNMATCHED_PATIENCE)
        .order_by(WebhookEvent.received_at)
        .limit(limit)
    ).all()


def retry_event(session: Session, registry: Any, row_id: UUID, *, now: datetime) -> bool:
    """Try an unmatched event again; whether it has found its order. Skips one that somebody else has locked."""
    row = session.scalar(
        select(WebhookEvent)
        .where(WebhookEvent.id == row_id, WebhookEvent.state == "unmatched")
        .with_for_update(skip_locked=True)
    )
    if row is None:
        return False
    apply_event(session, row, provider(registry, row.provider).read(row.payload), now=now)
    return row.state != "unmatched"


def _apply_paid(session: Session, order: Order, event: ProviderEvent, *, now: datetime) -> str | None:
    """None when the payment took effect, else why it did not."""
    if order.payment_status in ("paid", "partially_refunded", "refunded"):
        return f"the order is {order.payment_status} already"
    payment = _open_payment(session, order, event.provider) or _new_payment(session, order, event.provider, now=now)
    payment.status = "paid"
    payment.paid_at = now
    payment.provider_reference = event.provider_reference
    if not orders.mark_paid(session, order, now=now, actor=event.provider) and payment.amount:
        _owe_refund(session, order, payment, reason="paid after it had lapsed, and the stock is gone", now=now)
    return None


def _apply_failed(session: Session, order: Order, event: ProviderEvent, *, now: datetime) -> str | None:
    if order.payment_status not in ("unpaid", "pending", "failed"):
        return f"the order is {order.payment_status} already"
    if order.status != "pending":
        return f"the order is {order.status}"
    payment = _open_payment(session, order, event.provider) or _new_payment(session, order, event.provider, now=now)
    payment.status = "failed"
    payment.error = event.error
    payment.provider_reference = event.provider_reference
    orders.mark_payment_failed(session, order, actor=event.provider)
    return None


def _owe_refund(session: Session, order: Order, payment: Payment, *, reason: str, now: datetime) -> None:
    refund = Refund(
        id=uuid7(),
        order_id=order.id,
        payment_id=payment.id,
        amount=payment.amount,
        currency=payment.currency,
        reason=reason,
        created_at=now,
    )
    session.add(refund)
    orders.record(session, order, "refund_due", amount=payment.amount, currency=payment.currency, reason=reason)
    session.flush()
    emit(
        session,
        RefundDue(order_id=order.id, refund_id=refund.id, amount=refund.amount, currency=refund.currency),
    )


def _open_payment(session: Session, order: Order, provider_code: str) -> Payment | None:
    return session.scalar(
        select(Payment)
        .where(Payment.order_id == order.id, Payment.provider == provider_code, Payment.status == "pending")
        .with_for_update()
    )


def _new_payment(session: Session, order: Order, provider_code: str, *, now: datetime) -> Payment:
    payment = Payment(
        id=uuid7(),
        order_id=order.id,
        provider=provider_code,
        amount=order.total,
        currency=order.currency,
        status="pending",
        created_at=now,
    )
    session.add(payment)
    session.flush()
    return payment
