"""Plans and subscriptions for staff."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view, path_id
from commerce_core.api.problems import NotFound
from commerce_core.api.schemas import cursor_list_of
from commerce_stripe_payments.amounts import AmountDoesNotFit
from commerce_stripe_payments.models import StripePlan, StripeSubscription
from commerce_stripe_payments.subscriptions import wishes
from commerce_stripe_payments.subscriptions.plans import PlanExists, create_plan
from commerce_stripe_payments.subscriptions.queries import invoices_of, plan_of
from commerce_stripe_payments.subscriptions.schemas import (
    AdminPlanList,
    AdminPlanOut,
    AdminSubscriptionDetail,
    AdminSubscriptionList,
    AdminSubscriptionOut,
    AdminSubscriptionQuery,
    ChangeIn,
    InvoiceOut,
    PlanChange,
    PlanIn,
)
from commerce_stripe_payments.subscriptions.views import want


@api_view(
    route_name="stripe_admin_plans",
    request_method="GET",
    permission=Permission.ORDER_READ_ALL,
    returns=AdminPlanList,
)
def list_plans(request: Any) -> AdminPlanList:
    """All plans, also those that are not offered any more."""
    plans = request.db.scalars(select(StripePlan).order_by(StripePlan.code))
    return AdminPlanList.model_construct(data=[AdminPlanOut.of(plan, request.locale) for plan in plans])


@api_view(
    route_name="stripe_admin_plans",
    request_method="POST",
    permission=Permission.CATALOG_WRITE,
    body=PlanIn,
    returns=AdminPlanOut,
    status=201,
    problems=(PlanExists, AmountDoesNotFit),
)
def add_plan(request: Any, body: PlanIn) -> AdminPlanOut:
    """Offer something to subscribe to, as soon as Stripe knows it. What it costs cannot be changed: make another."""
    plan = create_plan(request.db, now=request.now, **body.model_dump())
    request.audit("stripe.create-plan", f"stripe-plan:{plan.id}", after=body.model_dump())
    return AdminPlanOut.of(plan, request.locale)


@api_view(
    route_name="stripe_admin_plan",
    request_method="PATCH",
    permission=Permission.CATALOG_WRITE,
    body=PlanChange,
    returns=AdminPlanOut,
    problems=(NotFound,),
)
def change_plan(request: Any, body: PlanChange) -> AdminPlanOut:
    """Offer a plan or not, or change what it entitles to, also those who have it."""
    plan = request.db.get(StripePlan, path_id(request), with_for_update=True)
    if plan is None:
        raise NotFound("There is no such plan.")
    before = {"is_active": plan.is_active, "features": plan.features}
    changes = body.model_dump(exclude_none=True)
    for name, value in changes.items():
        setattr(plan, name, value)
    request.audit("stripe.change-plan", f"stripe-plan:{plan.id}", before=before, after=changes)
    return AdminPlanOut.of(plan, request.locale)


@api_view(
    route_name="stripe_admin_subscriptions",
    request_method="GET",
    permission=Permission.ORDER_READ_ALL,
    query=AdminSubscriptionQuery,
    returns=AdminSubscriptionList,
)
def list_subscriptions(request: Any, query: AdminSubscriptionQuery) -> Any:
    """Subscriptions, the latest first."""
    rows = select(StripeSubscription).order_by(StripeSubscription.id.desc()).limit(query.limit + 1)
    if query.status is not None:
        rows = rows.where(StripeSubscription.status == query.status)
    if query.user_id is not None:
        rows = rows.where(StripeSubscription.user_id == query.user_id)
    if query.suspended is not None:
        rows = rows.where(StripeSubscription.suspended_at.is_not(None) == query.suspended)
    if query.after is not None:
        rows = rows.where(StripeSubscription.id < query.after)
    found = request.db.scalars(rows).all()
    shown = [_shown(request, row) for row in found[: query.limit]]
    return cursor_list_of(request.path, query, shown, shown[-1].id if len(found) > query.limit else None)


@api_view(
    route_name="stripe_admin_subscription",
    request_method="GET",
    permission=Permission.ORDER_READ_ALL,
    returns=AdminSubscriptionDetail,
    problems=(NotFound,),
)
def show_subscription(request: Any) -> AdminSubscriptionDetail:
    """A subscription, with its invoices."""
    row = request.db.get(StripeSubscription, path_id(request))
    if row is None:
        raise NotFound("There is no such subscription.")
    invoices = [InvoiceOut.of(invoice, request.locale) for invoice in invoices_of(request.db, row)]
    return AdminSubscriptionDetail.model_construct(**dict(_shown(request, row)), invoices=invoices)


@api_view(
    route_name="stripe_admin_subscription_changes",
    request_method="POST",
    permission=Permission.ORDER_MANAGE,
    body=ChangeIn,
    returns=AdminSubscriptionOut,
    status=202,
    problems=(wishes.ChangeUnderWay, wishes.WrongSubscriptionState, wishes.PlanNotReady, NotFound),
)
def change_subscription(request: Any, body: ChangeIn) -> AdminSubscriptionOut:
    """Change somebody's subscription, in a moment: look at it until nothing is `pending`, then at `error`."""
    row = wishes.lock_subscription(request.db, path_id(request))
    if row is None:
        raise NotFound("There is no such subscription.")
    want(request, row, body)
    request.audit(f"stripe.{body.action}-subscription", f"stripe-subscription:{row.id}", after=body.model_dump())
    return _shown(request, row)


def _shown(request: Any, row: StripeSubscription) -> AdminSubscriptionOut:
    return AdminSubscriptionOut.of(row, plan_of(request.db, row), locale=request.locale, now=request.now)
