"""Orders over REST."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view
from commerce_core.api.problems import InvalidInput, NotFound
from commerce_core.api.schemas import cursor_list_of
from commerce_core.orders import queries, service
from commerce_core.orders.models import Order
from commerce_core.orders.schemas import OrderIn, OrderList, OrderOut, OrderQuery
from commerce_core.payments import service as payments
from commerce_core.payments.provider import UnknownProvider
from commerce_core.stock.service import HoldNotActive


@api_view(
    route_name="orders",
    request_method="POST",
    permission=Permission.ORDER_CREATE,
    body=OrderIn,
    returns=OrderOut,
    status=201,
    problems=(service.HoldAlreadyConverted, HoldNotActive, UnknownProvider, NotFound),
)
def create_order(request: Any, body: OrderIn) -> OrderOut:
    """Turn a hold into an order, exactly once. Pay it before `expires_at`."""
    settings = request.settings.orders
    if settings.require_customer and body.customer is None:
        raise InvalidInput.field("customer", "missing", "is required")
    provider = None if body.payment is None else payments.provider(request.registry, body.payment.provider)
    order = service.place_order(
        request.db,
        body.hold_id,
        service.OrderDetails(
            customer=_snapshot(body.customer),
            shipping_address=_snapshot(body.shipping_address),
            billing_address=_snapshot(body.billing_address),
            note=body.note,
        ),
        owner=request.owner,
        payment_ttl=timedelta(seconds=settings.payment_seconds),
        now=request.now,
    )
    if provider is not None:
        payments.start_payment(request.db, order, provider.code, now=request.now)
    return present(request, order)


@api_view(
    route_name="orders",
    request_method="GET",
    permission=Permission.ORDER_CREATE,
    query=OrderQuery,
    returns=OrderList,
)
def list_orders(request: Any, query: OrderQuery) -> Any:
    """Your own orders, newest first; all of them for staff."""
    everybody = request.has_permission(Permission.ORDER_READ_ALL)
    if not everybody and request.owner is None:
        return cursor_list_of(request.path, query, [], None)
    orders, more = queries.list_orders(
        request.db,
        owner=None if everybody else request.owner,
        status=query.status,
        payment_status=query.payment_status,
        before=query.after,
        limit=query.limit,
    )
    of_order = payments.payments_of(request.db, [order.id for order in orders])
    rows = [OrderOut.of(order, of_order[order.id], request.locale) for order in orders]
    return cursor_list_of(request.path, query, rows, orders[-1].id if more else None)


@api_view(route_name="order", request_method="GET", permission=Permission.ORDER_CREATE, returns=OrderOut)
def show_order(request: Any) -> OrderOut:
    """One order, by id or number. A guest without a cart token reaches it by its id, which nobody can guess."""
    return present(request, visible_order(request))


@api_view(
    route_name="order_cancel",
    request_method="POST",
    permission=Permission.ORDER_CREATE,
    returns=OrderOut,
    problems=(service.WrongOrderState, NotFound),
)
def cancel_order(request: Any) -> OrderOut:
    """Cancel an order that has not been paid; its stock goes back on sale at once."""
    order = visible_order(request, lock=True)
    service.cancel_order(request.db, order, now=request.now, actor=request.owner)
    payments.cancel_open_payments(request.db, order)
    return present(request, order)


def present(request: Any, order: Order) -> OrderOut:
    return OrderOut.of(order, payments.payments_of(request.db, [order.id])[order.id], request.locale)


def visible_order(request: Any, *, lock: bool = False) -> Order:
    """The order in the path, if it is the requester's to see. Raises NotFound."""
    given = request.matchdict["id"]
    order_id: UUID | None
    try:
        order_id, by_number = UUID(given), False
    except ValueError:
        order_id, by_number = queries.id_of_number(request.db, given), True
    order = None
    if order_id is not None:
        order = service.lock_order(request.db, order_id) if lock else queries.get_order(request.db, order_id)
    if order is not None:
        # A number may be read over somebody's shoulder; only an id is secret.
        mine = order.owner == request.owner if order.owner is not None else not by_number
        if mine or request.has_permission(Permission.ORDER_MANAGE if lock else Permission.ORDER_READ_ALL):
            return order
    raise NotFound("There is no such order.")


def _snapshot(given: BaseModel | None) -> dict[str, Any] | None:
    return None if given is None else given.model_dump()
