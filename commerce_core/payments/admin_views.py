"""What the staff do about money: refunds, payments that came another way, events that found no order."""

from __future__ import annotations

from typing import Any

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view, path_id
from commerce_core.api.problems import NotFound
from commerce_core.api.schemas import CursorQuery, cursor_list_of
from commerce_core.orders.admin_schemas import AdminOrderOut
from commerce_core.orders.admin_views import order_in_path, present_to_staff, states_of
from commerce_core.orders.fulfillment import NotEnoughLeft, UnitsBack, line_of
from commerce_core.orders.service import WrongOrderState
from commerce_core.payments import queries, refunds, service
from commerce_core.payments.admin_schemas import (
    MarkPaidIn,
    RefundIn,
    RefundList,
    RefundOut,
    RefundQuery,
    WebhookEventList,
    WebhookEventOut,
    WebhookEventQuery,
)
from commerce_core.payments.models import WebhookEvent


@api_view(
    route_name="admin_order_refunds",
    request_method="POST",
    permission=Permission.ORDER_REFUND,
    body=RefundIn,
    returns=RefundOut,
    status=201,
    problems=(WrongOrderState, NotEnoughLeft, refunds.RefundTooLarge),
)
def create_refund(request: Any, body: RefundIn) -> RefundOut:
    """Give money back: for units of lines, any amount, or shipping; never more than was paid.

    Units that were not shipped will not be; those that were count as returned. It is `pending` until the provider has
    given the money back.
    """
    order = order_in_path(request, lock=True)
    before = states_of(order)
    wish = refunds.RefundWish(
        reason=body.reason,
        lines=[
            UnitsBack(line_of(order, line.line_id, at), line.quantity, line.restock, line.returned)
            for at, line in enumerate(body.lines or ())
        ],
        amount=body.amount,
        shipping=body.shipping,
        payment_id=body.payment_id,
    )
    refund = refunds.refund_order(request.db, request.registry, order, wish, now=request.now, actor=request.actor.name)
    shown = RefundOut.of(refund, request.locale)
    after = {**states_of(order), "refund": shown.model_dump(mode="json")}
    request.audit("order.refund", f"order:{order.id}", before=before, after=after)
    return shown


@api_view(
    route_name="admin_order_refunds",
    request_method="GET",
    permission=Permission.ORDER_READ_ALL,
    query=CursorQuery,
    returns=RefundList,
)
def list_refunds_of_order(request: Any, query: CursorQuery) -> Any:
    """The refunds of one order, newest first."""
    order = order_in_path(request)
    found, more = queries.list_refunds(
        request.db, order_id=order.id, status=None, before=query.after, limit=query.limit
    )
    rows = [RefundOut.of(refund, request.locale) for refund in found]
    return cursor_list_of(request.path, query, rows, found[-1].id if more else None)


@api_view(
    route_name="admin_refunds",
    request_method="GET",
    permission=Permission.ORDER_READ_ALL,
    query=RefundQuery,
    returns=RefundList,
)
def list_refunds(request: Any, query: RefundQuery) -> Any:
    """All refunds, newest first."""
    found, more = queries.list_refunds(request.db, status=query.status, before=query.after, limit=query.limit)
    rows = [RefundOut.of(refund, request.locale) for refund in found]
    return cursor_list_of(request.path, query, rows, found[-1].id if more else None)


@api_view(
    route_name="admin_refund_retry",
    request_method="POST",
    permission=Permission.ORDER_REFUND,
    returns=RefundOut,
    problems=(refunds.WrongRefundState,),
)
def retry_refund(request: Any) -> RefundOut:
    """Ask the provider again for a refund that has failed."""
    order, refund = refunds.lock_refund(request.db, path_id(request))
    before = {"status": refund.status, "error": refund.error}
    refunds.retry_refund(request.db, request.registry, order, refund, now=request.now, actor=request.actor.name)
    request.audit("refund.retry", f"refund:{refund.id}", before=before, after={"status": refund.status})
    return RefundOut.of(refund, request.locale)


@api_view(
    route_name="admin_order_mark_paid",
    request_method="POST",
    permission=Permission.ORDER_MANAGE,
    body=MarkPaidIn,
    returns=AdminOrderOut,
    problems=(WrongOrderState, service.PaymentReferenceUsed),
)
def mark_paid(request: Any, body: MarkPaidIn) -> AdminOrderOut:
    """The money came some other way. Saying it again, with the same reference, changes nothing."""
    order = order_in_path(request, lock=True)
    before = states_of(order)
    service.record_payment(
        request.db, order, reference=body.reference, note=body.note, now=request.now, actor=request.actor.name
    )
    request.audit(
        "order.mark-paid", f"order:{order.id}", before=before, after={**states_of(order), **body.model_dump()}
    )
    return present_to_staff(request, order)


@api_view(
    route_name="admin_webhook_events",
    request_method="GET",
    permission=Permission.ORDER_READ_ALL,
    query=WebhookEventQuery,
    returns=WebhookEventList,
)
def list_webhook_events(request: Any, query: WebhookEventQuery) -> Any:
    """What the providers told us, newest first."""
    events, more = queries.list_webhook_events(
        request.db, state=query.state, provider=query.provider, before=query.after, limit=query.limit
    )
    rows = [WebhookEventOut.of(event) for event in events]
    return cursor_list_of(request.path, query, rows, events[-1].id if more else None)


@api_view(
    route_name="admin_webhook_event_retry",
    request_method="POST",
    permission=Permission.ORDER_MANAGE,
    returns=WebhookEventOut,
    problems=(service.WrongEventState,),
)
def retry_webhook_event(request: Any) -> WebhookEventOut:
    """Try an event again that has not found its order, or could not be used."""
    event = request.db.get(WebhookEvent, path_id(request), with_for_update=True)
    if event is None:
        raise NotFound("There is no such event.")
    before = {"state": event.state, "detail": event.detail}
    service.retry_event_now(request.db, request.registry, event, now=request.now)
    after = {"state": event.state, "detail": event.detail}
    request.audit("webhook-event.retry", f"webhook-event:{event.id}", before=before, after=after)
    return WebhookEventOut.of(event)
