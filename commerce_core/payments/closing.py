"""Closing the payments of an order that has lapsed, before its stock is sold to somebody else.

The provider is asked outside of any transaction, and what it says is written down in one: that the customer has paid in
the last moment, that the bank is still at it, or that nothing more can come.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from commerce_core.database import transaction
from commerce_core.log import each_by_itself, first_line
from commerce_core.orders import service as orders
from commerce_core.orders.models import OrderEvent
from commerce_core.payments.models import Payment
from commerce_core.payments.provider import Closing, OpenPayment, PaymentProvider, ProviderEvent
from commerce_core.payments.service import settle

_log = structlog.get_logger("commerce.payment")

# When a provider cannot be asked: how long until it is asked again, and how often at most. Stock cannot wait for ever.
PAUSE = timedelta(minutes=1)
MOST_ATTEMPTS = 30
# A bank that is still at it, and does not say until when.
PATIENCE = timedelta(days=1)


def close_payments(engine: Engine, registry: Any, order_id: UUID, *, now: datetime) -> bool:
    """See to the open payments of an unpaid order that has lapsed; whether it may be cancelled now."""
    for code, payment in _open_payments(engine, registry, order_id):
        provider: PaymentProvider = registry.payment_providers[code]
        try:
            closing = provider.close(payment)
        except Exception as error:
            _log.warning("payment not closed", payment_id=str(payment.id), provider=code, error=first_line(error))
            if _wait(engine, order_id, now=now):
                return False
        else:
            if closing.status != "closed":
                with each_by_itself("order", order_id):
                    _write_down(engine, registry, code, payment, closing, now=now)
                return False
    return True


def _open_payments(engine: Engine, registry: Any, order_id: UUID) -> Sequence[tuple[str, OpenPayment]]:
    """Those that a provider has to close. Failed ones, too: some providers let a customer try the same one again."""
    closing = [provider.code for provider in registry.payment_providers.values() if provider.closes_payments]
    if not closing:
        return []
    with Session(engine) as session:
        found = session.scalars(
            select(Payment)
            .where(
                Payment.order_id == order_id,
                Payment.provider.in_(closing),
                Payment.status.in_(("pending", "failed")),
            )
            .order_by(Payment.id)
        ).all()
    return [
        (row.provider, OpenPayment(row.id, row.order_id, row.provider_reference, row.amount, row.currency))
        for row in found
    ]


def _wait(engine: Engine, order_id: UUID, *, now: datetime) -> bool:
    """Let the order lapse a little later; False when that has been done often enough."""
    with transaction(engine) as session:
        order = orders.lock_order(session, order_id)
        waits = session.scalar(
            select(func.count()).where(OrderEvent.order_id == order_id, OrderEvent.kind == "payment_not_closed")
        )
        if order is None or (waits or 0) >= MOST_ATTEMPTS:
            return False
        orders.record(session, order, "payment_not_closed", "scheduler")
        orders.prolong(session, order, now + PAUSE, actor="scheduler")
        return True


def _write_down(
    engine: Engine, registry: Any, code: str, payment: OpenPayment, closing: Closing, *, now: datetime
) -> None:
    with transaction(engine) as session:
        session.info["bus"] = registry.bus
        order = orders.lock_order(session, payment.order_id)
        assert order is not None
        event = ProviderEvent(
            code,
            event_id=f"closing:{payment.id}",
            order_id=payment.order_id,
            status="paid" if closing.status == "paid" else "processing",
            payload={},
            provider_reference=closing.reference or payment.reference,
            payment_id=payment.id,
            until=closing.until or now + PATIENCE,
        )
        settle(session, order, event, now=now)
        # Whatever came of it, the order is looked at again only after a while.
        orders.prolong(session, order, now + PAUSE, actor="scheduler")
