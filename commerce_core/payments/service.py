"""Payments, and the inbox that makes every provider event take effect exactly once.

Works in the caller's transaction; flushes, never commits. Lock order: the order first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import structlog
from sqlalchemy import exists, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, selectinload

from commerce_core.api.problems import Conflict
from commerce_core.database import uuid7
from commerce_core.events import WebhookReceived, emit, savepoint
from commerce_core.log import first_line
from commerce_core.orders import service as orders
from commerce_core.orders.models import Order
from commerce_core.payments import refunds
from commerce_core.payments.models import Payment, WebhookEvent
from commerce_core.payments.provider import (
    ManualProvider,
    PaymentProvider,
    ProviderEvent,
    RefundResult,
    UnknownProvider,
)

_log = structlog.get_logger("commerce.payment")

# How long an event whose order is unknown is tried again by itself, and after which pauses; after that it is kept for
# the staff to look at.
UNMATCHED_PATIENCE = timedelta(hours=1)
UNMATCHED_DELAYS = (timedelta(seconds=10), timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15))

MANUAL = ManualProvider.code
_LOCK_REFERENCE = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
_TAKEN = ("paid", "refunded")
_PAID = ("paid", "partially_refunded", "refunded")


class PaymentReferenceUsed(Conflict):
    """A payment of another order, `order_id`, has this reference."""

    slug = "payment-reference-used"
    title = "The reference belongs to another order's payment"
    example: ClassVar[dict[str, Any]] = {"order_id": "01932c07-209c-7e3a-b6f4-5d2a8c9e1f70"}


class EventIdReused(Conflict):
    """An event with this id came before and said something else, so this one is not believed. Each needs its own id."""

    slug = "event-id-reused"
    title = "The event's id was used before for something else"


class WrongEventState(Conflict):
    """Only an event that is unmatched or dead can be tried again; the state of this one is `state`."""

    slug = "wrong-event-state"
    title = "The event's state does not allow this"
    example: ClassVar[dict[str, Any]] = {"state": "processed"}


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
    """The payments of each order, oldest first, with their refunds. Two statements."""
    grouped: defaultdict[UUID, list[Payment]] = defaultdict(list)
    query = (
        select(Payment)
        .options(selectinload(Payment.refunds))
        .where(Payment.order_id.in_(order_ids))
        .order_by(Payment.id)
        .execution_options(populate_existing=True)
    )
    for payment in session.scalars(query):
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
        _try_again_later(row, now)
    else:
        row.order_id = order.id
        row.processed_at = now
        row.next_attempt_at = None
        try:
            row.detail = settle(session, order, event, now=now)
            row.state = "processed" if row.detail is None else "ignored"
        except PaymentReferenceUsed as error:
            row.state, row.detail = "dead", error.detail
    session.flush()
    emit(
        session,
        WebhookReceived(provider=row.provider, event_id=row.event_id, state=row.state, order_id=row.order_id),
    )


def settle(session: Session, order: Order, event: ProviderEvent, *, now: datetime) -> str | None:
    """Let what a provider tells of an order (locked) take effect: None if it did, else why it did not.

    For providers that file their webhooks themselves. What is told again, or too late, changes nothing. Raises
    PaymentReferenceUsed.
    """
    return _EFFECTS[event.status](session, order, event, now=now)


def note_reference(session: Session, payment_id: UUID, reference: str) -> None:
    """What a payment is called at its provider, known before it is made. Locks it; keeps a name that it has."""
    payment = session.get(Payment, payment_id, with_for_update=True, populate_existing=True)
    if payment is not None and payment.provider_reference is None:
        payment.provider_reference = reference
        session.flush()


def unmatched_event_ids(session: Session, *, now: datetime, limit: int) -> Sequence[UUID]:
    """Events whose order was unknown and that are due to be tried again. Takes no locks."""
    return session.scalars(
        select(WebhookEvent.id)
        .where(WebhookEvent.state == "unmatched", WebhookEvent.next_attempt_at <= now)
        .order_by(WebhookEvent.next_attempt_at)
        .limit(limit)
    ).all()


def retry_event(session: Session, registry: Any, row_id: UUID, *, now: datetime) -> bool:
    """Try an unmatched event again; whether it took effect. Skips one that somebody else has locked."""
    row = session.scalar(
        select(WebhookEvent)
        .where(WebhookEvent.id == row_id, WebhookEvent.state == "unmatched", WebhookEvent.next_attempt_at <= now)
        .with_for_update(skip_locked=True)
    )
    if row is None:
        return False
    try:
        with savepoint(session):
            apply_event(session, row, provider(registry, row.provider).read(row.payload), now=now)
    except OperationalError:
        raise
    except Exception as error:
        _log.error("webhook event failed", id=str(row_id), exc_info=error)
        row.attempts += 1
        row.detail = first_line(error)
        _try_again_later(row, now)
        if row.next_attempt_at is None:
            row.state = "dead"
    return row.state == "processed"


def retry_event_now(session: Session, registry: Any, row: WebhookEvent, *, now: datetime) -> None:
    """Try an event (locked) that has not found its order, or could not be used. Raises WrongEventState."""
    if row.state not in ("unmatched", "dead"):
        raise WrongEventState(f"The event is {row.state}.", state=row.state)
    apply_event(session, row, provider(registry, row.provider).read(row.payload), now=now)


def record_payment(
    session: Session, order: Order, *, reference: str, note: str | None, now: datetime, actor: str
) -> bool:
    """The money for an order (locked) came some other way; False when this had been recorded before.

    Takes effect as a webhook of the manual provider would. Raises WrongOrderState if the order was paid by another
    payment, PaymentReferenceUsed if another order was paid by this one.
    """
    known = _payment_by_reference(session, order, MANUAL, reference)
    if known is not None and known.status in _TAKEN:
        return False
    if order.payment_status in _PAID:
        raise orders.WrongOrderState("The order is paid already.", state=order.payment_status)
    orders.record(session, order, "marked_paid", actor, reference=reference, note=note)
    _take_payment(session, order, MANUAL, reference, now=now, actor=actor)
    return True


def _try_again_later(row: WebhookEvent, now: datetime) -> None:
    """Sooner at first, then seldom, then never: it is left for the staff."""
    due = now + UNMATCHED_DELAYS[min(row.attempts, len(UNMATCHED_DELAYS)) - 1]
    row.next_attempt_at = due if due <= row.received_at + UNMATCHED_PATIENCE else None


def _apply_paid(session: Session, order: Order, event: ProviderEvent, *, now: datetime) -> str | None:
    """None when the payment took effect, else why it did not."""
    if order.payment_status in _PAID and not _is_another_payment(session, order, event):
        return f"the order is {order.payment_status} already"
    _take_payment(
        session,
        order,
        event.provider,
        event.provider_reference,
        now=now,
        actor=event.provider,
        payment_id=event.payment_id,
    )
    return None


def _is_another_payment(session: Session, order: Order, event: ProviderEvent) -> bool:
    """Whether money came that is not known yet. Without a reference, a second event of a provider repeats the first."""
    taken = session.execute(
        select(Payment.provider, Payment.provider_reference).where(
            Payment.order_id == order.id, Payment.status.in_(_TAKEN)
        )
    ).all()
    told = event.provider_reference
    return order.total > 0 and not any(
        code == event.provider and (reference == told or None in (reference, told)) for code, reference in taken
    )


def _take_payment(
    session: Session,
    order: Order,
    provider_code: str,
    reference: str | None,
    *,
    now: datetime,
    actor: str,
    payment_id: UUID | None = None,
) -> None:
    """Money has come: the order is paid by it, or it goes back. Nothing more is expected of its other payments."""
    payment = (
        _payment_by_reference(session, order, provider_code, reference)
        or _unnamed_payment(session, order, provider_code, payment_id, reference)
        or _new_payment(session, order, provider_code, now=now)
    )
    payment.status = "paid"
    payment.paid_at = now
    payment.provider_reference = reference
    payment.error = None
    if order.payment_status in _PAID:
        payment.surplus = True
        refunds.owe_refund(session, order, payment, reason="the order had been paid already", now=now)
    elif not orders.mark_paid(session, order, now=now, actor=actor) and payment.amount:
        lapsed = "paid after it had lapsed, and the stock is gone"
        reason = lapsed if order.cancel_reason == "expired" else "paid after it was cancelled"
        refunds.owe_refund(session, order, payment, reason=reason, now=now)
    cancel_open_payments(session, order)


def _apply_failed(session: Session, order: Order, event: ProviderEvent, *, now: datetime) -> str | None:
    if order.payment_status not in ("unpaid", "pending", "failed"):
        return f"the order is {order.payment_status} already"
    if order.status != "pending":
        return f"the order is {order.status}"
    payment = (
        _payment_by_reference(session, order, event.provider, event.provider_reference)
        or _unnamed_payment(session, order, event.provider, event.payment_id, event.provider_reference)
        or _new_payment(session, order, event.provider, now=now)
    )
    if payment.status == "cancelled":
        return "the payment is cancelled"
    payment.status = "failed"
    payment.error = event.error
    payment.provider_reference = event.provider_reference
    if event.until is not None:
        orders.hurry(session, order, event.until)
    if not _has_open_payment(session, order):
        orders.mark_payment_failed(session, order, actor=event.provider)
    return None


def _apply_processing(session: Session, order: Order, event: ProviderEvent, *, now: datetime) -> str | None:
    """The order waits for the bank, instead of lapsing."""
    payment = _payment_told_of(session, order, event)
    if payment is None or payment.status not in ("pending", "failed"):
        return "the order has no such payment that is open"
    if order.status != "pending":
        return f"the order is {order.status}"
    payment.provider_reference = event.provider_reference
    if payment.status == "failed" and _open_payment(session, order, event.provider) is None:
        payment.status = "pending"
        payment.error = None
    if order.payment_status != "pending":
        orders.transition(session, order, "payment_status", "pending", event.provider)
    if event.until is not None:
        orders.prolong(session, order, event.until, actor=event.provider)
    return None


def _apply_cancelled(session: Session, order: Order, event: ProviderEvent, *, now: datetime) -> str | None:
    """The payment will not be made. The order stays open until it lapses, and can be paid another way."""
    payment = _payment_told_of(session, order, event)
    if payment is None or payment.status not in ("pending", "failed"):
        return "the order has no such payment that is open"
    payment.status = "cancelled"
    session.flush()
    return None


def _apply_refund(session: Session, order: Order, event: ProviderEvent, *, now: datetime) -> str | None:
    succeeded = event.status == "refund_succeeded"
    result = RefundResult("succeeded" if succeeded else "failed", event.provider_reference, event.error)
    return refunds.apply_refund_event(session, order, event.refund_id, result, now=now)


_EFFECTS = {
    "paid": _apply_paid,
    "failed": _apply_failed,
    "processing": _apply_processing,
    "cancelled": _apply_cancelled,
    "refund_succeeded": _apply_refund,
    "refund_failed": _apply_refund,
}


def _payment_by_reference(session: Session, order: Order, provider_code: str, reference: str | None) -> Payment | None:
    """The order's payment that the provider calls so. Raises PaymentReferenceUsed if it is another order's.

    Keeps others from using the reference until the transaction ends.
    """
    if reference is None:
        return None
    # Two orders may be told to be paid by the same payment at once.
    session.execute(_LOCK_REFERENCE, {"name": f"payment:{provider_code}:{reference}"})
    payment = session.scalar(
        select(Payment).where(Payment.provider == provider_code, Payment.provider_reference == reference)
    )
    if payment is not None and payment.order_id != order.id:
        raise PaymentReferenceUsed(
            f"The reference {reference!r} is that of a payment of another order.", order_id=str(payment.order_id)
        )
    return payment


def _payment_told_of(session: Session, order: Order, event: ProviderEvent) -> Payment | None:
    """The payment that an event names."""
    return _payment_by_reference(session, order, event.provider, event.provider_reference) or _unnamed_payment(
        session, order, event.provider, event.payment_id, event.provider_reference
    )


def _unnamed_payment(
    session: Session, order: Order, provider_code: str, payment_id: UUID | None, reference: str | None
) -> Payment | None:
    """The payment that a provider knows by our id, or else the one that is open, if it has no other name there."""
    if payment_id is None:
        payment = _open_payment(session, order, provider_code)
    else:
        payment = session.get(Payment, payment_id, with_for_update=True, populate_existing=True)
        if payment is not None and (payment.order_id != order.id or payment.provider != provider_code):
            payment = None
    if payment is not None and None not in (payment.provider_reference, reference):
        return payment if payment.provider_reference == reference else None
    return payment


def _has_open_payment(session: Session, order: Order) -> bool:
    session.flush()
    return bool(session.scalar(select(exists().where(Payment.order_id == order.id, Payment.status == "pending"))))


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
