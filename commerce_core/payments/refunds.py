"""Giving money back: who is owed what, and carrying it out exactly once.

A refund is decided in a transaction, as a `pending` row. Then the provider is asked outside of any, and what it says is
written down in another. Killed between the two, it is asked again with the same idempotency key. Works in the caller's
transaction; flushes, never commits. Lock order: the order first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from commerce_core.api.problems import Conflict, InvalidInput, NotFound
from commerce_core.database import uuid7
from commerce_core.events import RefundDue, RefundFailed, RefundRequested, RefundSucceeded, emit
from commerce_core.orders import service as orders
from commerce_core.orders.fulfillment import UnitsBack, take_units_back
from commerce_core.orders.models import Order, OrderLine
from commerce_core.orders.service import WrongOrderState
from commerce_core.payments.models import Payment, Refund, RefundLine
from commerce_core.payments.provider import PaymentProvider, RefundRequest, RefundResult

# While a provider is being asked, nobody else asks it: longer than any provider may take to answer.
LEASE = timedelta(minutes=2)
# When a provider could not be asked: how long until it is tried again, and how often at most (about a day).
DELAYS = (timedelta(seconds=10), timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30))
MOST_ATTEMPTS = 50
# A provider that has promised to tell by a webhook is asked again after this long without one.
PATIENCE = timedelta(hours=1)


class RefundTooLarge(Conflict):
    """That is more than was paid and not given back yet; `refundable` is what could be, in minor units."""

    slug = "refund-too-large"
    title = "That is more than can be refunded"
    example: ClassVar[dict[str, Any]] = {"refundable": 1250}


class WrongRefundState(Conflict):
    """Only a refund that has failed can be tried again; this one's state is `state`."""

    slug = "wrong-refund-state"
    title = "The refund's state does not allow this"
    example: ClassVar[dict[str, Any]] = {"state": "succeeded"}


@dataclass(frozen=True, slots=True)
class RefundWish:
    """What to give back: what was paid for the units of `lines`, or `amount` instead, and `shipping`. Minor units."""

    reason: str
    lines: Sequence[UnitsBack] = ()
    amount: int | None = None
    shipping: int = 0
    payment_id: UUID | None = None


def refund_order(
    session: Session, registry: Any, order: Order, wish: RefundWish, *, now: datetime, actor: str | None
) -> Refund:
    """Decide on a refund of an order (locked) that was paid; its units go where `wish` says.

    Raises WrongOrderState, NotEnoughLeft, RefundTooLarge, or InvalidInput for a payment that is not the order's.
    """
    if order.payment_status not in ("paid", "partially_refunded", "refunded"):
        raise WrongOrderState(f"The order is {order.payment_status}.", state=order.payment_status)
    if wish.lines and order.status not in ("processing", "completed"):
        raise WrongOrderState(f"The order is {order.status}; its units are gone.", state=order.status)
    payment = _payment_to_refund(session, order, wish.payment_id)
    if wish.shipping > refundable_shipping(session, order):
        raise RefundTooLarge(
            "That is more than is left of the shipping.", refundable=refundable_shipping(session, order)
        )
    priced = {back.line.id: line_share(order, back.line, back.quantity) for back in wish.lines}
    amount = (_due_for(order, payment, priced.values()) if wish.amount is None else wish.amount) + wish.shipping
    _claim(payment, amount)
    # The states of a cancelled order follow its units, so those come first.
    taken = take_units_back(session, order, wish.lines, now=now, actor=actor, reason=wish.reason) if wish.lines else {}
    refund = Refund(
        id=uuid7(),
        order_id=order.id,
        payment=payment,
        amount=amount,
        shipping_amount=wish.shipping,
        currency=order.currency,
        status="pending" if amount else "succeeded",
        reason=wish.reason,
        next_attempt_at=now if amount else None,
        created_at=now,
        lines=[
            RefundLine(
                line_id=back.line.id,
                quantity=back.quantity,
                amount=priced[back.line.id],
                restocked_quantity=taken[back.line.id].restocked,
                released_quantity=taken[back.line.id].released,
            )
            for back in wish.lines
        ],
    )
    session.add(refund)
    orders.record(session, order, "refund", actor, refund_id=str(refund.id), amount=amount, reason=wish.reason)
    session.flush()
    emit(
        session,
        RefundRequested(order_id=order.id, refund_id=refund.id, amount=refund.amount, currency=refund.currency),
    )
    _refund_at_once(session, registry, order, refund, now=now)
    return refund


def cancel_paid_order(
    session: Session, registry: Any, order: Order, *, reason: str, restock: bool, now: datetime, actor: str | None
) -> Refund:
    """Give back all that is left of what was paid for an order (locked) of which nothing was shipped.

    Its units go back to the stock, unless they are not to be restocked. Raises WrongOrderState.
    """
    if order.status == "cancelled":
        raise WrongOrderState("The order is cancelled already.", state=order.status)
    if order.status != "processing" or order.fulfillment_status != "unfulfilled":
        raise WrongOrderState(
            f"The order is {order.status} and {order.fulfillment_status}; refund its lines instead.",
            state=order.status,
        )
    payment = _payment_to_refund(session, order, None)
    rest = payment.amount - payment.refund_total if payment else 0
    shipping = min(rest, refundable_shipping(session, order))
    lines = [UnitsBack(line, line.unfulfilled_quantity, restock) for line in order.lines if line.unfulfilled_quantity]
    wish = RefundWish(reason, lines, amount=rest - shipping, shipping=shipping)
    return refund_order(session, registry, order, wish, now=now, actor=actor)


def owe_refund(session: Session, order: Order, payment: Payment, *, reason: str, now: datetime) -> Refund:
    """All of a payment that should not have been made goes back, by itself. The order must be locked."""
    _claim(payment, payment.amount)
    refund = Refund(
        id=uuid7(),
        order_id=order.id,
        payment=payment,
        amount=payment.amount,
        currency=payment.currency,
        status="pending",
        reason=reason,
        next_attempt_at=now,
        created_at=now,
    )
    session.add(refund)
    orders.record(session, order, "refund_due", amount=payment.amount, currency=payment.currency, reason=reason)
    session.flush()
    emit(
        session,
        RefundDue(order_id=order.id, refund_id=refund.id, amount=refund.amount, currency=refund.currency),
    )
    return refund


def record_foreign_refund(
    session: Session,
    order: Order,
    payment: Payment,
    amount: int,
    result: RefundResult,
    *,
    reason: str,
    now: datetime,
) -> Refund:
    """Money went back that nobody here has asked for: somebody did it at the provider. The order must be locked.

    Of no units: nothing is restocked. Raises RefundTooLarge for more than is left of the payment.
    """
    _claim(payment, amount)
    refund = Refund(
        id=uuid7(),
        order_id=order.id,
        payment=payment,
        amount=amount,
        currency=payment.currency,
        status="pending",
        reason=reason,
        next_attempt_at=None,
        created_at=now,
    )
    session.add(refund)
    orders.record(session, order, "refund", payment.provider, refund_id=str(refund.id), amount=amount)
    session.flush()
    _apply(session, order, refund, result, now=now)
    # Nobody is to ask for it: it is told by webhooks only.
    refund.next_attempt_at = None
    session.flush()
    return refund


def line_paid(order: Order, line: OrderLine) -> int:
    """What is paid for all units of a line: less its discount, with its tax."""
    return line.total - line.discount_total + (0 if order.prices_include_tax else line.tax_total)


def line_share(order: Order, line: OrderLine, quantity: int) -> int:
    """What is paid for the next `quantity` units to be refunded of a line: in all, exactly what is paid for it."""
    paid, before = line_paid(order, line), line.refunded_quantity
    return paid * (before + quantity) // line.quantity - paid * before // line.quantity


def _due_for(order: Order, payment: Payment | None, shares: Iterable[int]) -> int:
    """What goes back for lines with these shares. Where the total was rounded down, the last ones come to less."""
    due = sum(shares)
    rounded_off = max(0, sum(line_paid(order, line) for line in order.lines) - order.total)
    left = 0 if payment is None else payment.amount - payment.refund_total
    return max(min(due, left), due - rounded_off)


def refundable_shipping(session: Session, order: Order) -> int:
    """What is left of all that is paid beside the lines: shipping, fees, and the tax on them."""
    beside = order.total - sum(line_paid(order, line) for line in order.lines)
    refunded = session.scalar(select(func.sum(Refund.shipping_amount)).where(Refund.order_id == order.id))
    return max(0, beside - int(refunded or 0))


def retry_refund(session: Session, registry: Any, order: Order, refund: Refund, *, now: datetime, actor: str) -> None:
    """Ask the provider again for a refund that has failed. The order must be locked. Raises WrongRefundState."""
    if refund.status != "failed":
        raise WrongRefundState(f"The refund is {refund.status}.", state=refund.status)
    refund.status = "pending"
    refund.attempts = 0
    refund.next_attempt_at = now
    orders.record(session, order, "refund_retried", actor, refund_id=str(refund.id))
    session.flush()
    _refund_at_once(session, registry, order, refund, now=now)


def lock_refund(session: Session, refund_id: UUID) -> tuple[Order, Refund]:
    """The refund and its order, the order's row locked. Raises NotFound."""
    order_id = session.scalar(select(Refund.order_id).where(Refund.id == refund_id))
    order = None if order_id is None else orders.lock_order(session, order_id)
    if order is None:
        raise NotFound("There is no such refund.")
    return order, session.get_one(Refund, refund_id, with_for_update=True, populate_existing=True)


def claim_due_refund(
    session: Session, *, now: datetime, except_for: Collection[str] = ()
) -> tuple[str, int, RefundRequest] | None:
    """The next refund to ask its provider for, kept from everybody else for a while: provider, round, request.

    Takes no lock but the refund's own, and skips those that are being claimed. `except_for` are providers to leave out.
    """
    refund = session.scalar(
        select(Refund)
        .join(Refund.payment)
        .where(Refund.status == "pending", Refund.next_attempt_at <= now, Payment.provider.not_in(except_for))
        .order_by(Refund.next_attempt_at, Refund.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=Refund)
    )
    if refund is None:
        return None
    refund.attempts += 1
    refund.next_attempt_at = now + LEASE
    session.flush()
    request = _request_of(refund)
    assert refund.payment is not None
    return refund.payment.provider, refund.round, request


def record_result(session: Session, refund_id: UUID, of_round: int, result: RefundResult, *, now: datetime) -> None:
    """Write down what the provider said when asked. Locks the order. What a webhook has told since stands."""
    order, refund = lock_refund(session, refund_id)
    if refund.status == "pending" and (refund.round == of_round or result.status == "succeeded"):
        _apply(session, order, refund, result, now=now)


def record_trouble(session: Session, refund_id: UUID, of_round: int, error: str, *, now: datetime) -> None:
    """The provider could not be asked, or did not answer: try again later; given up after a day. Locks the order."""
    order, refund = lock_refund(session, refund_id)
    if refund.status != "pending" or refund.round != of_round:
        return
    refund.error = error
    if refund.attempts < MOST_ATTEMPTS:
        refund.next_attempt_at = now + DELAYS[min(refund.attempts, len(DELAYS)) - 1]
        session.flush()
    else:
        # The outcome is not known, so that the key stays the same if it is tried again.
        _fail(session, order, refund, error)


def apply_refund_event(
    session: Session, order: Order, refund_id: UUID | None, result: RefundResult, *, now: datetime
) -> str | None:
    """What a provider's webhook told about a refund of an order (locked); None when that was news, else why not."""
    refund = None if refund_id is None else session.get(Refund, refund_id, with_for_update=True, populate_existing=True)
    if refund is None or refund.order_id != order.id:
        return "the order has no such refund"
    if refund.status == result.status:
        return f"the refund is {refund.status} already"
    _apply(session, order, refund, result, now=now)
    return None


def _payment_to_refund(session: Session, order: Order, payment_id: UUID | None) -> Payment | None:
    """The payment asked for, or the one that the order was paid with; None for an order that was free."""
    query = select(Payment).where(Payment.order_id == order.id, Payment.status.in_(("paid", "refunded")))
    if payment_id is None:
        return session.scalar(query.where(~Payment.surplus))
    payment = session.scalar(query.where(Payment.id == payment_id))
    if payment is None:
        raise InvalidInput.field("payment_id", "unknown_payment", "is not a payment of this order that was paid")
    return payment


def _claim(payment: Payment | None, amount: int) -> None:
    refundable = 0 if payment is None else payment.amount - payment.refund_total
    if amount > refundable:
        raise RefundTooLarge("That is more than was paid and not refunded yet.", refundable=refundable)
    if payment is not None:
        payment.refund_total += amount


def _refund_at_once(session: Session, registry: Any, order: Order, refund: Refund, *, now: datetime) -> None:
    """If the provider can, give the money back in this transaction."""
    if refund.status == "pending" and refund.payment is not None:
        provider: PaymentProvider | None = registry.payment_providers.get(refund.payment.provider)
        if provider is not None and provider.refunds_at_once:
            _apply(session, order, refund, provider.refund(_request_of(refund)), now=now)


def _request_of(refund: Refund) -> RefundRequest:
    payment = refund.payment
    assert payment is not None
    # After the provider has said no for good, the same key would only be told the same again.
    key = str(refund.id) if refund.round == 0 else f"{refund.id}-{refund.round}"
    return RefundRequest(
        id=refund.id,
        idempotency_key=key,
        order_id=refund.order_id,
        payment_id=payment.id,
        payment_reference=payment.provider_reference,
        amount=refund.amount,
        currency=refund.currency,
        reason=refund.reason,
    )


def _apply(session: Session, order: Order, refund: Refund, result: RefundResult, *, now: datetime) -> None:
    refund.provider_reference = result.reference or refund.provider_reference
    if result.status == "pending":
        refund.attempts = 0
        refund.error = None
        refund.next_attempt_at = now + PATIENCE
        session.flush()
    elif result.status == "succeeded":
        refund.status = "succeeded"
        refund.error = None
        refund.next_attempt_at = None
        orders.record(session, order, "refund_succeeded", refund_id=str(refund.id), amount=refund.amount)
        emit(
            session,
            RefundSucceeded(order_id=order.id, refund_id=refund.id, amount=refund.amount, currency=refund.currency),
        )
        _follow_the_money(session, order, refund)
    else:
        refund.round += 1
        _fail(session, order, refund, result.error or "the provider has declined")


def _fail(session: Session, order: Order, refund: Refund, error: str) -> None:
    refund.status = "failed"
    refund.error = error
    refund.next_attempt_at = None
    orders.record(session, order, "refund_failed", refund_id=str(refund.id), error=error)
    emit(
        session,
        RefundFailed(
            order_id=order.id, refund_id=refund.id, amount=refund.amount, currency=refund.currency, error=error
        ),
    )
    _follow_the_money(session, order, refund)


def _follow_the_money(session: Session, order: Order, refund: Refund) -> None:
    """The payment's state, and the order's, are those of the money that has really gone back."""
    session.flush()
    payment = refund.payment
    assert payment is not None
    gone_back = session.scalar(
        select(func.coalesce(func.sum(Refund.amount), 0)).where(
            Refund.payment_id == payment.id, Refund.status == "succeeded"
        )
    )
    payment.status = "refunded" if gone_back == payment.amount else "paid"
    if not payment.surplus:
        state = "refunded" if gone_back == payment.amount else "partially_refunded" if gone_back else "paid"
        if state != order.payment_status:
            orders.transition(session, order, "payment_status", state)
    session.flush()
