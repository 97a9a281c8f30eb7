"""Subscriptions: plans, what customers and staff want of them, renewals and their failures, what they entitle to.

Stripe keeps the truth and bills by itself. `wishes` are rows, committed before Stripe is asked; `calls` asks Stripe;
`effects` is what Stripe's answers and events do to our rows; `dunning` what failed renewals do to customers;
`entitlement` what the rest of the shop asks. Lock order: the customer, the subscription, its invoice, the user.
"""

from __future__ import annotations

from pyramid.config import Configurator

from commerce_stripe_payments.payments import ADMIN_PATH, PATH
from commerce_stripe_payments.subscriptions.effects import HANDLERS

__all__ = ["HANDLERS", "includeme"]


def includeme(config: Configurator) -> None:
    config.add_root_route("stripe_plans", f"{PATH}/plans")
    config.add_root_route("stripe_subscriptions", f"{PATH}/subscriptions")
    config.add_root_route("stripe_subscription", f"{PATH}/subscriptions/{{id}}")
    config.add_root_route("stripe_subscription_changes", f"{PATH}/subscriptions/{{id}}/changes")
    config.add_root_route("stripe_subscription_preview", f"{PATH}/subscription-preview")
    # They ask Stripe between transactions of their own.
    config.add_autocommit_request("POST", f"{PATH}/subscriptions")
    config.add_autocommit_request("GET", f"{PATH}/subscription-preview")
    config.add_root_route("stripe_admin_plans", f"{ADMIN_PATH}/plans")
    config.add_root_route("stripe_admin_plan", f"{ADMIN_PATH}/plans/{{id}}")
    config.add_root_route("stripe_admin_subscriptions", f"{ADMIN_PATH}/subscriptions")
    config.add_root_route("stripe_admin_subscription", f"{ADMIN_PATH}/subscriptions/{{id}}")
    config.add_root_route("stripe_admin_subscription_changes", f"{ADMIN_PATH}/subscriptions/{{id}}/changes")
    config.scan(".views")
    config.scan(".admin_views")
