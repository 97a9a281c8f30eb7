"""What the staff do with orders: find them, correct them, cancel and ship them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view, path_id
from commerce_core.api.problems import Forbidden, NotFound
from commerce_core.api.schemas import cursor_list_of
from commerce_core.orders import fulfillment, queries, service
from commerce_core.orders.admin_schemas import (
    AdminOrderList,
    AdminOrderOut,
    AdminOrderQuery,
    CancelIn,
    FulfillmentIn,
    OrderPatch,
    TrackingPatch,
)
from commerce_core.orders.models import Order
from commerce_core.orders.schemas import FulfillmentOut, OrderOut
from commerce_core.payments import refunds
from commerce_core.payments import service as payments


@api_view(
    route_name="admin_orders",
    request_method="GET",
    permission=Permission.ORDER_READ_ALL,
    query=AdminOrderQuery,
    returns=AdminOrderList,
)
def find_orders(request: Any, query: AdminOrderQuery) -> Any:
    """Everybody's orders, newest first: those for which all that is asked for holds."""
    which = queries.OrderFilter(**query.model_dump(exclude={"limit", "cursor"}))
    orders, more = queries.find_orders(request.db, which, before=query.after, limit=query.limit)
    of_order = payments.payments_of(request.db, [order.id for order in orders])
    rows = [OrderOut.of(order, of_order[order.id], request.locale) for order in orders]
    request.registry.extensions.extend(request, "order", rows)
    return cursor_list_of(request.path, query, rows, orders[-1].id if more else None)


@api_view(route_name="admin_order", request_method="GET", permission=Permission.ORDER_READ_ALL, returns=AdminOrderOut)
def show_order_to_staff(request: Any) -> AdminOrderOut:
    """One order, by id or number, with its history."""
    return present_to_staff(request, order_in_path(request))


@api_view(
    route_name="admin_order",
    request_method="PATCH",
    permission=Permission.ORDER_MANAGE,
    body=OrderPatch,
    returns=AdminOrderOut,
    problems=(service.WrongOrderState,),
)
def change_order(request: Any, body: OrderPatch) -> AdminOrderOut:
    """Correct the shipping address, as long as nothing was shipped; keep a note."""
    order = order_in_path(request, lock=True)
    changes = body.model_dump(exclude_unset=True)
    before = {field: getattr(order, field) for field in changes}
    service.change_order(request.db, order, changes, actor=request.actor.name)
    request.audit("order.update", f"order:{order.id}", before=before, after=changes)
    return present_to_staff(request, order)


@api_view(
    route_name="admin_order_cancel",
    request_method="POST",
    permission=Permission.ORDER_MANAGE,
    body=CancelIn,
    returns=AdminOrderOut,
    problems=(service.WrongOrderState,),
)
def cancel_order_as_staff(request: Any, body: CancelIn) -> AdminOrderOut:
    """Cancel an order of which nothing was shipped. What was paid goes back, and so do its units."""
    order = order_in_path(request, lock=True)
    before = states_of(order)
    if order.status == "pending":
        service.cancel_order(request.db, order, now=request.now, actor=request.actor.name)
        payments.cancel_open_payments(request.db, order)
    elif not request.has_permission(Permission.ORDER_REFUND):
        raise Forbidden("To cancel an order that is paid is to refund it.")
    else:
        refunds.cancel_paid_order(
            request.db,
            request.registry,
            order,
            reason=body.reason,
            restock=body.restock,
            now=request.now,
            actor=request.actor.name,
        )
    after = {**states_of(order), "reason": body.reason, "restock": body.restock}
    request.audit("order.cancel", f"order:{order.id}", before=before, after=after)
    return present_to_staff(request, order)


@api_view(
    route_name="admin_order_fulfillments",
    request_method="POST",
    permission=Permission.ORDER_MANAGE,
    body=FulfillmentIn,
    returns=FulfillmentOut,
    status=201,
    problems=(service.WrongOrderState, fulfillment.NotEnoughLeft, fulfillment.AwaitingStock),
)
def create_fulfillment(request: Any, body: FulfillmentIn) -> FulfillmentOut:
    """Units of a paid order have been shipped: those named, or all that is left and on hand."""
    order = order_in_path(request, lock=True)
    before = states_of(order)
    made = fulfillment.fulfil_order(
        request.db,
        order,
        None if body.lines is None else {line.line_id: line.quantity for line in body.lines},
        fulfillment.Tracking(body.carrier, body.tracking_number, body.tracking_url),
        notify=body.notify,
        now=request.now,
        actor=request.actor.name,
    )
    shown = FulfillmentOut.of(made)
    after = {**states_of(order), "fulfillment": shown.model_dump(mode="json")}
    request.audit("order.fulfill", f"order:{order.id}", before=before, after=after)
    return shown


@api_view(
    route_name="admin_order_fulfillment",
    request_method="PATCH",
    permission=Permission.ORDER_MANAGE,
    body=TrackingPatch,
    returns=FulfillmentOut,
)
def change_tracking(request: Any, body: TrackingPatch) -> FulfillmentOut:
    """Say where a parcel is, or correct it."""
    order = order_in_path(request, lock=True)
    found = fulfillment.fulfillment_of(order, path_id(request, "fulfillment_id"))
    changes = body.model_dump(exclude_unset=True)
    before = {field: getattr(found, field) for field in changes}
    for field, value in changes.items():
        setattr(found, field, value)
    request.audit("fulfillment.update", f"fulfillment:{found.id}", before=before, after=changes)
    return FulfillmentOut.of(found)


@api_view(
    route_name="admin_order_fulfillment_cancel",
    request_method="POST",
    permission=Permission.ORDER_MANAGE,
    returns=FulfillmentOut,
    problems=(service.WrongOrderState,),
)
def cancel_fulfillment(request: Any) -> FulfillmentOut:
    """The parcel was recorded by mistake: its units are still to be shipped. (What came back is a refund.)"""
    order = order_in_path(request, lock=True)
    found = fulfillment.fulfillment_of(order, path_id(request, "fulfillment_id"))
    before = {**states_of(order), "fulfillment": found.status}
    fulfillment.cancel_fulfillment(request.db, order, found, now=request.now, actor=request.actor.name)
    after = {**states_of(order), "fulfillment": found.status}
    request.audit("fulfillment.cancel", f"fulfillment:{found.id}", before=before, after=after)
    return FulfillmentOut.of(found)


def order_in_path(request: Any, *, lock: bool = False) -> Order:
    """The order with the id or number in the path, whosever it is. Raises NotFound."""
    given = request.matchdict["id"]
    order_id: UUID | None
    try:
        order_id = UUID(given)
    except ValueError:
        order_id = queries.id_of_number(request.db, given)
    order = None
    if order_id is not None:
        order = service.lock_order(request.db, order_id) if lock else queries.get_order(request.db, order_id)
    if order is None:
        raise NotFound("There is no such order.")
    return order


def present_to_staff(request: Any, order: Order) -> AdminOrderOut:
    request.db.flush()
    of_order = payments.payments_of(request.db, [order.id])[order.id]
    request.db.expire(order, ["events"])
    shown = AdminOrderOut.with_history(
        order,
        of_order,
        request.locale,
        refundable=sum(
            payment.amount - payment.refund_total for payment in of_order if payment.status in ("paid", "refunded")
        ),
        refundable_shipping=refunds.refundable_shipping(request.db, order),
    )
    request.registry.extensions.extend(request, "order", [shown])
    return shown


def states_of(order: Order) -> dict[str, Any]:
    """What of an order the audit log compares."""
    return {
        "status": order.status,
        "payment_status": order.payment_status,
        "fulfillment_status": order.fulfillment_status,
        "units": {
            str(line.id): [line.fulfilled_quantity, line.cancelled_quantity, line.returned_quantity]
            for line in order.lines
        },
    }
