"""Subscriptions as customers start, see and change them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import stripe
from sqlalchemy import select
from sqlalchemy.orm import Session

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view, path_id
from commerce_core.api.problems import Forbidden, InvalidInput, NotFound
from commerce_core.money import Money
from commerce_stripe_payments.amounts import from_stripe
from commerce_stripe_payments.connection import Connection
from commerce_stripe_payments.customers import customer_of, usable_method
from commerce_stripe_payments.methods import lock_customer
from commerce_stripe_payments.models import StripePlan, StripeSubscription
from commerce_stripe_payments.payments.views import CannotStart
from commerce_stripe_payments.subscriptions import wishes
from commerce_stripe_payments.subscriptions.calls import carry_out, client_secret_of, preview_switch
from commerce_stripe_payments.subscriptions.queries import find_plan, invoices_of, plan_of, subscriptions_of
from commerce_stripe_payments.subscriptions.schemas import (
    ChangeIn,
    InvoiceOut,
    PlanList,
    PlanOut,
    PreviewOut,
    PreviewQuery,
    StartedOut,
    SubscriptionDetail,
    SubscriptionIn,
    SubscriptionList,
    SubscriptionOut,
)


@api_view(route_name="stripe_plans", request_method="GET", permission=Permission.PUBLIC, returns=PlanList)
def list_plans(request: Any) -> PlanList:
    """What there is to subscribe to, the cheapest first."""
    plans = request.db.scalars(
        select(StripePlan)
        .where(StripePlan.is_active, StripePlan.state == "made")
        .order_by(StripePlan.currency, StripePlan.amount, StripePlan.code)
    )
    return PlanList.model_construct(data=[PlanOut.of(plan, request.locale) for plan in plans])


@api_view(
    route_name="stripe_subscriptions",
    request_method="GET",
    permission=Permission.ACCOUNT,
    returns=SubscriptionList,
)
def list_subscriptions(request: Any) -> SubscriptionList:
    """Your subscriptions, the latest first."""
    rows = subscriptions_of(request.db, request.actor.user_id)
    shown = [shown_subscription(request, request.db, row) for row in rows]
    return SubscriptionList.model_construct(data=shown)


@api_view(
    route_name="stripe_subscriptions",
    request_method="POST",
    permission=Permission.ACCOUNT,
    body=SubscriptionIn,
    returns=StartedOut,
    keyed=False,  # one subscription to a plan at a time: asked again, it goes on with that
    problems=(wishes.AlreadySubscribed, wishes.PlanNotReady, CannotStart),
)
def start_subscription(request: Any, body: SubscriptionIn) -> StartedOut:
    """Subscribe, or go on with it. Safe to repeat; while it is `creating`, ask again in a moment."""
    connection: Connection = request.registry.stripe
    try:
        customer_id = customer_of(request)
    except stripe.StripeError:
        raise CannotStart("Stripe does not answer. Try again in a moment.") from None
    method = None if body.payment_method is None else usable_method(request, body.payment_method)
    with connection.writing() as session:
        plan = find_plan(session, body.plan)
        customer = lock_customer(session, customer_id)
        if customer is None:
            raise CannotStart
        row = wishes.subscribe(
            session, connection, customer, plan, payment_method=method, locale=request.locale, now=request.now
        )
        row_id = row.id
    carry_out(connection, row_id, now=request.now)
    with Session(connection.engine) as session:
        row = session.get_one(StripeSubscription, row_id)
        shown = shown_subscription(request, session, row)
        subscription_id = row.subscription_id
    if row.status == "refused":
        raise CannotStart
    secret = None
    if row.status == "incomplete" and subscription_id is not None:
        secret = client_secret_of(connection, subscription_id)
    return StartedOut.model_construct(**dict(shown), client_secret=secret)


@api_view(
    route_name="stripe_subscription",
    request_method="GET",
    permission=Permission.ACCOUNT,
    returns=SubscriptionDetail,
    problems=(NotFound,),
)
def show_subscription(request: Any) -> SubscriptionDetail:
    """One of your subscriptions, with its invoices."""
    row = own_subscription(request, path_id(request))
    invoices = [InvoiceOut.of(invoice, request.locale) for invoice in invoices_of(request.db, row)]
    return SubscriptionDetail.model_construct(**dict(shown_subscription(request, request.db, row)), invoices=invoices)


@api_view(
    route_name="stripe_subscription_changes",
    request_method="POST",
    permission=Permission.ACCOUNT,
    body=ChangeIn,
    returns=SubscriptionOut,
    status=202,
    problems=(wishes.ChangeUnderWay, wishes.WrongSubscriptionState, wishes.PlanNotReady, Forbidden, NotFound),
)
def change_subscription(request: Any, body: ChangeIn) -> SubscriptionOut:
    """Change one of your subscriptions, in a moment: look at it until nothing is `pending`, then at `error`."""
    if body.action not in request.registry.stripe.settings.customer_changes:
        raise Forbidden("Please ask the shop to do that.")
    row = own_subscription(request, path_id(request), lock=True)
    want(request, row, body)
    return shown_subscription(request, request.db, row)


@api_view(
    route_name="stripe_subscription_preview",
    request_method="GET",
    permission=Permission.ACCOUNT,
    query=PreviewQuery,
    returns=PreviewOut,
    problems=(wishes.PlanNotReady, CannotStart, NotFound),
)
def preview(request: Any, query: PreviewQuery) -> PreviewOut:
    """What a switch to another plan would cost now."""
    connection: Connection = request.registry.stripe
    with Session(connection.engine) as session:
        row = session.get(StripeSubscription, query.subscription)
        if row is None or row.user_id != request.actor.user_id or row.subscription_id is None:
            raise NotFound("There is no such subscription.")
        plan = find_plan(session, query.plan)
    if plan.price_id is None:
        raise wishes.PlanNotReady
    try:
        found = preview_switch(connection, row.subscription_id, plan.price_id, wishes.PRORATIONS[query.proration])
    except stripe.StripeError:
        raise CannotStart("Stripe does not say what it would cost.") from None
    currency = str(found["currency"]).upper()
    total, due = (from_stripe(int(found[name]), currency) for name in ("total", "amount_due"))
    return PreviewOut(total=Money.of(total, currency, request.locale), due=Money.of(due, currency, request.locale))


def own_subscription(request: Any, subscription_id: UUID, *, lock: bool = False) -> StripeSubscription:
    """One of the requester's. Raises NotFound."""
    row: StripeSubscription | None = (
        wishes.lock_subscription(request.db, subscription_id)
        if lock
        else request.db.get(StripeSubscription, subscription_id)
    )
    if row is None or row.user_id != request.actor.user_id:
        raise NotFound("There is no such subscription.")
    return row


def want(request: Any, row: StripeSubscription, body: ChangeIn) -> None:
    """Write down what somebody wants of a subscription (locked). Raises what `wishes.change` raises, InvalidInput."""
    if body.action == "switch" and body.plan is None:
        raise InvalidInput.field("plan", "required", "is needed to switch")
    plan = None if body.plan is None else find_plan(request.db, body.plan)
    wishes.change(
        request.db,
        row,
        body.action,
        plan=plan,
        proration=body.proration,
        at_once=body.at_once,
        now=request.now,
    )


def shown_subscription(request: Any, session: Session, row: StripeSubscription) -> SubscriptionOut:
    """As its owner sees it."""
    return SubscriptionOut.of(row, plan_of(session, row), locale=request.locale, now=request.now)
