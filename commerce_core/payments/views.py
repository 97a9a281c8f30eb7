"""Paying an order, and the manual provider's webhook."""

from __future__ import annotations

from typing import Any

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view
from commerce_core.api.problems import NotFound
from commerce_core.orders.schemas import PaymentChoice, PaymentOut
from commerce_core.orders.service import WrongOrderState
from commerce_core.orders.views import visible_order
from commerce_core.payments import service
from commerce_core.payments.provider import InvalidSignature, ManualEventIn, UnknownProvider
from commerce_core.payments.schemas import PaymentStarted, WebhookReceipt


@api_view(
    route_name="order_payments",
    request_method="POST",
    permission=Permission.ORDER_CREATE,
    body=PaymentChoice,
    returns=PaymentStarted,
    status=201,
    problems=(WrongOrderState, UnknownProvider, NotFound),
)
def create_payment(request: Any, body: PaymentChoice) -> PaymentStarted:
    """Start to pay an order, or go on with the payment that is open."""
    provider = service.provider(request.registry, body.provider)
    order = visible_order(request, lock=True)
    before = {"payment_status": order.payment_status}
    payment = service.start_payment(request.db, order, provider.code, now=request.now)
    after = {"payment_status": order.payment_status, "payment": payment.id}
    request.audit_for(order.owner, "order.start-payment", f"order:{order.id}", before=before, after=after)
    return PaymentStarted(payment=PaymentOut.of(payment, request.locale), client_data=provider.client_data(payment))


def _verify_manual(request: Any) -> None:
    service.provider(request.registry, "manual").verify(request.headers, request.raw_body)


@api_view(
    route_name="manual_webhook",
    request_method="POST",
    permission=Permission.PUBLIC,
    guard=_verify_manual,
    body=ManualEventIn,
    returns=WebhookReceipt,
    keyed=False,  # the event's own id is the key
    limit="webhook",
    problems=(InvalidSignature, service.EventIdReused),
)
def manual_webhook(request: Any, body: ManualEventIn) -> WebhookReceipt:
    """The manual provider says that an order was paid, or that its payment failed. Safe to deliver many times.

    Signed with the header `X-Webhook-Signature: sha256=...`, the HMAC-SHA256 of the raw body in hexadecimal, with the
    secret `payments.manual_webhook_secret`.
    """
    provider = service.provider(request.registry, "manual")
    event = provider.read(body)
    row, duplicate = service.receive_event(request.db, event, request.raw_body, now=request.now)
    if duplicate and provider.read(row.payload) != event:
        raise service.EventIdReused(f"The event {event.event_id!r} was received before with another content.")
    return WebhookReceipt.model_construct(
        event_id=row.event_id, state=row.state, order_id=row.order_id, duplicate=duplicate
    )
