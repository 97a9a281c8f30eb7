"""Money that staff take: what a customer has authorized, and what a saved card pays without the customer."""

from __future__ import annotations

from typing import Any

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view
from commerce_core.api.problems import Conflict, NotFound
from commerce_core.orders import service as orders
from commerce_core.orders.views import visible_order
from commerce_core.payments import service as payments
from commerce_stripe_payments.connection import Connection
from commerce_stripe_payments.customers import saved_default
from commerce_stripe_payments.models import StripeAttempt
from commerce_stripe_payments.payments.attempts import current_attempt, under_way
from commerce_stripe_payments.payments.effects import CODE
from commerce_stripe_payments.payments.jobs import capture_attempt
from commerce_stripe_payments.payments.schemas import AttemptOut


class NothingToCapture(Conflict):
    """The customer has authorized no payment of this order, or it was taken already."""

    slug = "stripe/nothing-to-capture"
    title = "There is nothing to capture"


class NoSavedMethod(Conflict):
    """The customer has saved no way to pay, or is a guest."""

    slug = "stripe/no-saved-method"
    title = "There is no saved way to pay"


@api_view(
    route_name="stripe_admin_capture",
    request_method="POST",
    permission=Permission.ORDER_MANAGE,
    returns=AttemptOut,
    status=202,
    problems=(NothingToCapture, NotFound),
)
def capture(request: Any) -> AttemptOut:
    """Take the money that the customer has authorized, in a moment. The order is paid when Stripe says so."""
    order = visible_order(request, lock=True)
    for attempt in under_way(request.db, order.id):
        if attempt.stripe_status == "requires_capture":
            capture_attempt.enqueue(
                request.db, now=request.now, attempt=attempt.id, unique_key=f"stripe.capture:{attempt.id}"
            )
            request.audit("stripe.capture", f"order:{order.id}", after={"intent": attempt.intent_id})
            return attempt_out(attempt)
    raise NothingToCapture


@api_view(
    route_name="stripe_admin_charge",
    request_method="POST",
    permission=Permission.ORDER_MANAGE,
    returns=AttemptOut,
    status=202,
    problems=(NoSavedMethod, orders.WrongOrderState, NotFound),
)
def charge(request: Any) -> AttemptOut:
    """Collect an order from the customer's saved way to pay, in a moment, without the customer.

    If the bank wants the customer to confirm it, the customer is written a mail with a link.
    """
    stripe: Connection = request.registry.stripe
    order = visible_order(request, lock=True)
    saved = saved_default(request.db, stripe, order.owner)
    if saved is None:
        raise NoSavedMethod
    payment = payments.start_payment(request.db, order, CODE, now=request.now)
    attempt = current_attempt(
        request.db,
        stripe,
        order,
        payment,
        kind="intent",
        now=request.now,
        customer=saved[0],
        payment_method=saved[1],
        confirm=True,
        off_session=True,
    )
    request.audit("stripe.charge", f"order:{order.id}", after={"payment": str(attempt.payment_id)})
    return attempt_out(attempt)


def attempt_out(attempt: StripeAttempt) -> AttemptOut:
    """An attempt as staff see it."""
    return AttemptOut.model_construct(
        id=attempt.id,
        payment_id=attempt.payment_id,
        state=attempt.state,
        intent=attempt.intent_id,
        stripe_status=attempt.stripe_status,
        error=attempt.error,
    )
