"""Paying by Stripe. What asks Stripe commits before, and writes down what came of it after."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view
from commerce_core.api.problems import NotFound, Problem
from commerce_core.api.schemas import Input, ShortText
from commerce_core.orders import service as orders
from commerce_core.orders.models import Order
from commerce_core.payments import service as payments
from commerce_stripe_payments.amounts import AmountDoesNotFit
from commerce_stripe_payments.connection import Connection, DemoAway
from commerce_stripe_payments.customers import customer_of, usable_method
from commerce_stripe_payments.models import StripeAttempt
from commerce_stripe_payments.payments.attempts import current_attempt
from commerce_stripe_payments.payments.calls import carry_out, give_up
from commerce_stripe_payments.payments.effects import CODE, apply_intent, apply_session, fetch_intent
from commerce_stripe_payments.payments.schemas import ConfigOut, IntentIn, IntentOut, SessionIn, SessionOut
from commerce_stripe_payments.webhooks.plain import gone_as_none


class CannotStart(Problem):
    """Stripe does not take this payment. The shop's log says why; pay another way, or try again later."""

    slug = "stripe/cannot-start"
    title = "The payment cannot be started"
    status = 502


@api_view(route_name="stripe_config", request_method="GET", permission=Permission.PUBLIC, returns=ConfigOut)
def show_config(request: Any) -> ConfigOut:
    """What Stripe's client in the browser or the app needs to know."""
    stripe: Connection = request.registry.stripe
    settings = stripe.settings
    return ConfigOut(
        publishable_key=stripe.publishable_key,
        account=settings.account,
        mode=settings.mode,
        demo=settings.is_demo,
        demo_address=_demo_address(stripe) if settings.is_demo else None,
        capture=settings.capture,
        api_version=settings.api_version,
    )


@api_view(
    route_name="stripe_intents",
    request_method="POST",
    permission=Permission.ORDER_CREATE,
    body=IntentIn,
    returns=IntentOut,
    keyed=False,  # the attempt's id is the key
    problems=(orders.WrongOrderState, AmountDoesNotFit, CannotStart, NotFound),
)
def create_intent(request: Any, body: IntentIn) -> IntentOut:
    """Start to pay your order, or go on: the payment intent to confirm with Stripe's client. Safe to repeat."""
    stripe: Connection = request.registry.stripe
    wanted: dict[str, Any] = {}
    if body.save or body.payment_method is not None:
        wanted["customer"] = customer_of(request)
    if body.save:
        wanted["setup_future_usage"] = "off_session"
    if body.payment_method is not None:
        wanted["payment_method"] = usable_method(request, body.payment_method)
    attempt = _attempt(request, body.order_id, "intent", **wanted)
    intent = None
    if attempt.intent_id is not None:
        intent = fetch_intent(stripe.client, attempt.intent_id)
        if intent is not None:
            with stripe.writing() as session:
                apply_intent(session, stripe, intent, now=request.now)
        else:
            give_up(stripe, attempt.id)
            attempt = _attempt(request, body.order_id, "intent", **wanted)
    if attempt.state == "creating":
        answer = carry_out(stripe, attempt.id, now=request.now)
        if answer.state == "refused":
            raise CannotStart
        intent = answer.object
    with Session(stripe.engine) as session:
        after = session.get_one(StripeAttempt, attempt.id)
    return IntentOut(
        payment_id=attempt.payment_id,
        status="preparing" if intent is None else str(intent["status"]),
        client_secret=None if intent is None else intent.get("client_secret"),
        error=after.error if after.decline_code else None,
        decline_code=after.decline_code,
    )


@api_view(
    route_name="stripe_checkout_sessions",
    request_method="POST",
    permission=Permission.ORDER_CREATE,
    body=SessionIn,
    returns=SessionOut,
    keyed=False,
    problems=(orders.WrongOrderState, AmountDoesNotFit, CannotStart, NotFound),
)
def create_session(request: Any, body: SessionIn) -> SessionOut:
    """Start to pay your order on a page of Stripe's, or go on. Safe to repeat."""
    stripe: Connection = request.registry.stripe
    if not stripe.settings.return_url:
        raise CannotStart("The shop has not said where customers come back to: stripe.return_url.")
    attempt = _attempt(request, body.order_id, "checkout")
    found = None
    if attempt.session_id is not None:
        found = _session(stripe, attempt.session_id)
        if found is not None:
            with stripe.writing() as session:
                apply_session(session, stripe, found, now=request.now)
        else:
            give_up(stripe, attempt.id)
            attempt = _attempt(request, body.order_id, "checkout")
    if attempt.state == "creating":
        answer = carry_out(stripe, attempt.id, now=request.now)
        if answer.state == "refused":
            raise CannotStart
        found = answer.object
    status = "preparing" if found is None else str(found["status"])
    return SessionOut.model_construct(
        payment_id=attempt.payment_id, status=status, url=None if found is None else found.get("url")
    )


class ReturnQuery(Input):
    """What Stripe adds to the address that customers come back to. Only the intent's name is used."""

    payment_intent: ShortText | None = Field(default=None, examples=["pi_3Q0"])
    payment_intent_client_secret: ShortText | None = None
    redirect_status: ShortText | None = None
    session_id: ShortText | None = Field(default=None, examples=["cs_test_1"])


@api_view(
    route_name="stripe_return",
    request_method="GET",
    permission=Permission.PUBLIC,
    query=ReturnQuery,
    returns=IntentOut,
    problems=(NotFound,),
)
def come_back(request: Any, query: ReturnQuery) -> IntentOut:
    """The customer comes back from the bank, or from Stripe's page: Stripe is asked what became of the payment.

    Nothing that the address says about it is believed.
    """
    stripe: Connection = request.registry.stripe
    with Session(stripe.engine) as session:
        attempt = None
        if query.payment_intent is not None:
            attempt = session.scalar(select(StripeAttempt).where(StripeAttempt.intent_id == query.payment_intent))
        elif query.session_id is not None:
            attempt = session.scalar(select(StripeAttempt).where(StripeAttempt.session_id == query.session_id))
    if attempt is None:
        raise NotFound("There is no such payment.")
    if attempt.session_id is not None:
        found = _session(stripe, attempt.session_id)
        with stripe.writing() as session:
            if found is not None:
                apply_session(session, stripe, found, now=request.now)
    intent = fetch_intent(stripe.client, attempt.intent_id)
    if intent is not None:
        with stripe.writing() as session:
            apply_intent(session, stripe, intent, now=request.now)
    with Session(stripe.engine) as session:
        after = session.get_one(StripeAttempt, attempt.id)
    return IntentOut(
        payment_id=attempt.payment_id,
        status="preparing" if intent is None else str(intent["status"]),
        client_secret=None,  # whoever has the address is not the customer yet
        error=after.error if after.decline_code else None,
        decline_code=after.decline_code,
    )


def _attempt(request: Any, order_id: UUID, kind: str, **wanted: Any) -> StripeAttempt:
    """The attempt to go on with, committed. Raises NotFound, WrongOrderState, AmountDoesNotFit."""
    stripe: Connection = request.registry.stripe
    with stripe.writing() as session:
        order = own_order(request, session, order_id)
        payment = payments.start_payment(session, order, CODE, now=request.now)
        attempt = current_attempt(session, stripe, order, payment, kind=kind, now=request.now, **wanted)
        session.flush()
        session.expunge(attempt)
        return attempt


def own_order(request: Any, session: Session, order_id: UUID) -> Order:
    """The requester's order, locked: only who owns it is given a client secret. Raises NotFound."""
    order = orders.lock_order(session, order_id)
    if order is None or (order.owner is not None and order.owner != request.owner):
        raise NotFound("There is no such order.")
    return order


def _demo_address(stripe: Connection) -> str | None:
    try:
        return stripe.demo_address()
    except DemoAway:
        return None


def _session(stripe: Connection, session_id: str) -> dict[str, Any] | None:
    parameters: Any = {"expand": ["payment_intent.latest_charge"]}
    return gone_as_none(lambda: stripe.client.v1.checkout.sessions.retrieve(session_id, parameters))
