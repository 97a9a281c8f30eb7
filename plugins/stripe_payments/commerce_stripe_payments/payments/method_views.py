"""What customers have saved to pay with, over REST. Card numbers never come here: Stripe's own client takes them."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from sqlalchemy.orm import Session
from stripe import StripeError

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view
from commerce_core.api.problems import NotFound, Problem
from commerce_core.api.schemas import Output
from commerce_stripe_payments.connection import Connection, say
from commerce_stripe_payments.customers import customer_of, find_customer
from commerce_stripe_payments.methods import detach_method, drop_method, lock_customer, methods_of
from commerce_stripe_payments.models import StripeCustomer, StripePaymentMethod


class StripeAway(Problem):
    """Stripe cannot be asked at the moment. Try again."""

    slug = "stripe/away"
    title = "Stripe does not answer"
    status = 503


class MethodOut(Output):
    """A way to pay that you have saved."""

    id: str = Field(examples=["pm_1Q0"])
    type: str = Field(examples=["card"])
    brand: str | None = Field(examples=["visa"])
    last4: str | None = Field(examples=["4242"])
    exp_month: int | None
    exp_year: int | None
    is_default: bool


class MethodList(Output):
    data: list[MethodOut]


class SetupOut(Output):
    """Confirm it with Stripe's client, which takes the card; then it is saved."""

    client_secret: str


@api_view(
    route_name="stripe_setup_intents",
    request_method="POST",
    permission=Permission.ACCOUNT,
    returns=SetupOut,
    keyed=False,  # an intent that nobody confirms does no harm
    problems=(StripeAway,),
)
def create_setup_intent(request: Any) -> SetupOut:
    """Save a way to pay, without paying."""
    stripe: Connection = request.registry.stripe
    try:
        parameters: Any = {"customer": customer_of(request), "usage": "off_session"}
        made = stripe.client.v1.setup_intents.create(parameters)
    except StripeError as error:
        raise StripeAway from RuntimeError(say(error))
    return SetupOut(client_secret=str(made.client_secret))


@api_view(route_name="stripe_payment_methods", request_method="GET", permission=Permission.ACCOUNT, returns=MethodList)
def list_methods(request: Any) -> MethodList:
    """What you have saved to pay with, the newest first."""
    customer = find_customer(request.db, request.registry.stripe, request.actor.user_id)
    return MethodList(data=[] if customer is None else _shown(request.db, customer))


@api_view(
    route_name="stripe_payment_method_default",
    request_method="PUT",
    permission=Permission.ACCOUNT,
    returns=MethodList,
    problems=(NotFound,),
)
def set_default(request: Any) -> MethodList:
    """Pay with this one unless you say otherwise."""
    customer, method = _own_method(request)
    customer.default_payment_method = method.id
    return MethodList(data=_shown(request.db, customer))


@api_view(
    route_name="stripe_payment_method",
    request_method="DELETE",
    permission=Permission.ACCOUNT,
    status=204,
    problems=(NotFound,),
)
def remove_method(request: Any) -> None:
    """Do not keep it any more. It cannot be used from now on."""
    _, method = _own_method(request)
    drop_method(request.db, method.id, now=request.now)
    detach_method.enqueue(request.db, now=request.now, method=method.id)


def _own_method(request: Any) -> tuple[StripeCustomer, StripePaymentMethod]:
    """The method in the path and its customer, locked, if it is the requester's. Raises NotFound."""
    found = find_customer(request.db, request.registry.stripe, request.actor.user_id)
    method = request.db.get(StripePaymentMethod, request.matchdict["id"])
    if found is None or method is None or method.customer_row != found.id or method.detached_at is not None:
        raise NotFound("You have saved no such way to pay.")
    customer = lock_customer(request.db, found.customer_id)
    assert customer is not None
    return customer, method


def _shown(session: Session, customer: StripeCustomer) -> list[MethodOut]:
    return [
        MethodOut.model_construct(
            id=method.id,
            type=method.type,
            brand=method.brand,
            last4=method.last4,
            exp_month=method.exp_month,
            exp_year=method.exp_year,
            is_default=method.id == customer.default_payment_method,
        )
        for method in methods_of(session, customer)
    ]
