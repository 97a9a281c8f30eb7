"""Orders over REST."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from commerce_core.accounts.models import User
from commerce_core.accounts.permissions import Permission
from commerce_core.accounts.users import keep_user
from commerce_core.api.endpoints import api_view
from commerce_core.api.problems import InvalidInput, NotFound
from commerce_core.api.schemas import cursor_list_of
from commerce_core.carts.schemas import CartMerge, MergedCart
from commerce_core.carts.service import EmptyCart
from commerce_core.carts.validation import CartRefused
from commerce_core.carts.views import show_cart
from commerce_core.orders import checkout, placing, queries, service
from commerce_core.orders.adoption import adopt_guest
from commerce_core.orders.models import Order
from commerce_core.orders.schemas import Customer, LookupIn, OrderIn, OrderList, OrderOut, OrderQuery
from commerce_core.payments import service as payments
from commerce_core.payments.provider import UnknownProvider
from commerce_core.pricing.rules import AmountTooLarge, PriceRuleFailed
from commerce_core.pricing.service import PriceChanged
from commerce_core.stock.service import HoldNotActive


@api_view(
    route_name="orders",
    request_method="POST",
    permission=Permission.ORDER_CREATE,
    body=OrderIn,
    returns=OrderOut,
    status=201,
    located=True,
    problems=(
        placing.HoldAlreadyConverted,
        HoldNotActive,
        EmptyCart,
        checkout.CartAlreadyOrdered,
        checkout.CartOutOfStock,
        CartRefused,
        PriceChanged,
        PriceRuleFailed,
        AmountTooLarge,
        UnknownProvider,
        NotFound,
    ),
)
def create_order(request: Any, body: OrderIn) -> OrderOut:
    """Turn a hold or your cart into an order, exactly once. Pay it before `expires_at`."""
    provider = None if body.payment is None else payments.provider(request.registry, body.payment.provider)
    user = None if request.actor is None else keep_user(request.db, request.actor.user_id)
    details = placing.OrderDetails(
        customer=_customer(request, body, user),
        shipping_address=_snapshot(body.shipping_address),
        billing_address=_snapshot(body.billing_address),
        note=body.note,
        locale=request.locale,
    )
    terms: dict[str, Any] = {
        "pricing": request.registry.pricing,
        "buyer": request.buyer,
        "payment_ttl": timedelta(seconds=request.settings.orders.payment_seconds),
        "now": request.now,
        "expected_total": body.expected_total,
    }
    if body.hold_id is not None:
        order = placing.place_order(request.db, body.hold_id, details, **terms)
    else:
        order = checkout.place_order_from_cart(request.db, details, **terms)
    # What costs nothing is paid already.
    if provider is not None and order.status == "pending":
        payments.start_payment(request.db, order, provider.code, now=request.now)
    return present(request, order)


@api_view(
    route_name="cart_merge",
    request_method="POST",
    permission=Permission.ACCOUNT,
    returns=MergedCart,
)
def merge_cart(request: Any) -> MergedCart:
    """Sent with X-Cart-Token and signed in: that guest's cart, holds and orders become yours. Safe to repeat."""
    if request.guest_owner is None:
        raise InvalidInput.field("X-Cart-Token", "missing", "is required")
    keep_user(request.db, request.actor.user_id)
    report = adopt_guest(
        request.db,
        guest_owner=request.guest_owner,
        user_owner=request.owner,
        settings=request.settings.carts,
        now=request.now,
    )
    return MergedCart.model_construct(cart=show_cart(request), cart_merge=report and CartMerge.of(report))


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
    request.registry.extensions.extend(request, "order", rows)
    return cursor_list_of(request.path, query, rows, orders[-1].id if more else None)


@api_view(route_name="order", request_method="GET", permission=Permission.ORDER_CREATE, returns=OrderOut)
def show_order(request: Any) -> OrderOut:
    """One order, by id or number. A guest without a cart token reaches it by its id, which nobody can guess."""
    return present(request, visible_order(request))


@api_view(
    route_name="order_lookup",
    request_method="POST",
    permission=Permission.ORDER_CREATE,
    body=LookupIn,
    returns=OrderOut,
    keyed=False,
    limit="lookup",
    problems=(NotFound,),
)
def look_up_order(request: Any, body: LookupIn) -> OrderOut:
    """A guest's order, by its number and the customer's e-mail address. Not for orders of users: they sign in."""
    order_id = queries.id_of_guest_order(request.db, body.number, body.email)
    order = None if order_id is None else queries.get_order(request.db, order_id)
    if order is None:
        raise NotFound("There is no order with this number and e-mail address.")
    return present(request, order)


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
    before = {"status": order.status}
    service.cancel_order(request.db, order, now=request.now, actor=request.owner)
    payments.cancel_open_payments(request.db, order)
    request.audit_for(order.owner, "order.cancel", f"order:{order.id}", before=before, after={"status": order.status})
    return present(request, order)


def present(request: Any, order: Order) -> OrderOut:
    shown = OrderOut.of(order, payments.payments_of(request.db, [order.id])[order.id], request.locale)
    request.registry.extensions.extend(request, "order", [shown])
    return shown


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


def _customer(request: Any, body: OrderIn, user: User | None) -> dict[str, Any] | None:
    """Who buys: as given, or who is signed in. Raises InvalidInput where it must be known and is not."""
    if body.customer is not None or not (body.cart or request.settings.orders.require_customer):
        return _snapshot(body.customer)
    if user is None or not user.name:
        raise InvalidInput.field("customer", "missing", "is required")
    return Customer(email=user.email, name=user.name, phone=user.phone).model_dump()


def _snapshot(given: BaseModel | None) -> dict[str, Any] | None:
    return None if given is None else given.model_dump()
