"""What the plugin brings to a shop."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import click
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

from commerce_core.events import JobDied, OrderCancelled, OrderPaid
from commerce_core.jobs.kinds import JobKind, Periodic, Watched
from commerce_core.payments.provider import PaymentProvider
from commerce_core.plugin import AdminResource, Context, ExtensionField, OrderFacts, Subscriber, hookimpl
from commerce_stripe_payments import disputes, methods
from commerce_stripe_payments.commands import all_commands
from commerce_stripe_payments.connection import Connection
from commerce_stripe_payments.demo import Demo
from commerce_stripe_payments.payments import jobs
from commerce_stripe_payments.payments.attempts import attempts_of
from commerce_stripe_payments.provider import StripeProvider
from commerce_stripe_payments.reconcile import reconcile_daily
from commerce_stripe_payments.settings import Settings
from commerce_stripe_payments.subscriptions import jobs as subscription_jobs
from commerce_stripe_payments.subscriptions.entitlement import features_of
from commerce_stripe_payments.webhooks.handlers import all_handlers
from commerce_stripe_payments.webhooks.processing import (
    bury_event,
    events_have_come,
    hand_out_events,
    process_event,
    prune_events,
    sweep_events,
)


@hookimpl
def commerce_register_payment_providers(settings: Settings) -> Iterable[PaymentProvider]:
    return [StripeProvider(Connection(settings))]


@hookimpl
def commerce_includeme(config: Configurator, settings: Settings) -> None:
    registry = config.registry
    if settings.is_demo and registry.settings_object.commerce.environment == "production":
        raise ConfigurationError("set stripe.secret_key and stripe.publishable_key: without them no money is collected")
    connection: Connection = registry.payment_providers["stripe"].stripe
    connection.attach(registry)
    connection.handlers = all_handlers()
    registry.stripe = connection
    config.include("commerce_stripe_payments.webhooks")
    config.include("commerce_stripe_payments.payments")
    config.include("commerce_stripe_payments.subscriptions")
    config.include("commerce_stripe_payments.differences")


_SUBSCRIPTION_JOBS: tuple[JobKind | Periodic | Watched, ...] = (
    Watched(subscription_jobs.make_plans, subscription_jobs.plans_are_due),
    Watched(subscription_jobs.change_subscriptions, subscription_jobs.changes_are_due),
    Periodic(subscription_jobs.tell_defaults, timedelta(minutes=1)),
    subscription_jobs.refund_late_invoice,
    Periodic(subscription_jobs.read_overdue_subscriptions, timedelta(hours=1)),
    Periodic(subscription_jobs.sync_customers, timedelta(minutes=5)),
)


@hookimpl
def commerce_startup(registry: Any, role: str, settings: Settings) -> None:
    if settings.is_demo and settings.api_base is None and role == "web":
        registry.stripe.demo = Demo(registry)
        registry.stripe.demo.start()


@hookimpl
def commerce_shutdown(registry: Any) -> None:
    demo: Demo | None = registry.stripe.demo
    if demo is not None:
        demo.stop()


@hookimpl
def commerce_register_jobs() -> Iterable[JobKind | Periodic | Watched]:
    return [
        process_event,
        Watched(hand_out_events, events_have_come),
        Periodic(sweep_events, timedelta(minutes=1)),
        Periodic(prune_events, timedelta(days=1)),
        Watched(jobs.carry_out_attempts, jobs.attempts_are_due),
        jobs.cancel_attempt,
        jobs.capture_attempt,
        jobs.settle_orphan,
        *_SUBSCRIPTION_JOBS,
        methods.detach_method,
        Periodic(reconcile_daily, timedelta(days=1)),
    ]


@hookimpl
def commerce_register_subscribers() -> Iterable[Subscriber]:
    return [
        Subscriber(JobDied, bury_event),
        Subscriber(OrderCancelled, jobs.end_attempts_of_cancelled),
        Subscriber(OrderPaid, jobs.end_attempts_of_paid),
    ]


@hookimpl
def commerce_register_admin_resources() -> Iterable[AdminResource]:
    path = "/api/v1/admin/stripe"
    return [
        AdminResource(name="events", title="Stripe's events", path=f"{path}/events", permission="order:read-all"),
        AdminResource(
            name="differences", title="Differences to Stripe", path=f"{path}/differences", permission="order:read-all"
        ),
    ]


@hookimpl
def commerce_register_commands() -> Iterable[click.Command]:
    return all_commands()


@hookimpl
def commerce_register_extension_fields() -> Iterable[ExtensionField]:
    return [
        ExtensionField(
            resource="order",
            name="payment",
            load_many=lambda ctx, ids: attempts_of(ctx.session, ids),
            schema={"type": "object", "description": "The latest attempt to collect it by Stripe."},
        ),
        ExtensionField(
            resource="order",
            name="dispute",
            load_many=lambda ctx, ids: disputes.flags_of(ctx.session, ids),
            schema={"type": "object", "description": "Whether its payment is disputed."},
        ),
    ]


@hookimpl
def commerce_order_fulfilling(ctx: Context, order: OrderFacts) -> None:
    disputes.refuse_if_disputed(ctx.session, order.id)


@hookimpl
def commerce_principals(ctx: Context) -> Iterable[str]:
    """Subscribers belong to a group for each feature: a permission can be given to `stripe.reports`."""
    if ctx.actor is None:
        return ()
    user_id = ctx.actor.user_id
    return [f"stripe.{name}" for name in features_of(ctx.session, [user_id], now=ctx.now).get(user_id, ())]
