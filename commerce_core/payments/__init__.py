"""Payments: rows, providers, and the inbox of their webhooks."""

from __future__ import annotations

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

from commerce_core.api import API_PREFIX
from commerce_core.payments.provider import ManualProvider, PaymentProvider


def add_payment_provider(config: Configurator, provider: PaymentProvider) -> None:
    """Directive: offer a way to pay. Its code must be unique."""
    providers = config.registry.payment_providers
    if provider.code in providers:
        raise ConfigurationError(f"two payment providers are called {provider.code!r}")
    providers[provider.code] = provider


def includeme(config: Configurator) -> None:
    config.registry.payment_providers = {}
    config.add_directive("add_payment_provider", add_payment_provider)
    secret = config.registry.settings_object.payments.manual_webhook_secret
    config.add_payment_provider(ManualProvider(secret.get_secret_value() if secret else None))
    config.add_route("order_payments", f"{API_PREFIX}/orders/{{id}}/payments")
    config.add_route("manual_webhook", f"{API_PREFIX}/payments/webhook")
    config.add_route("admin_order_mark_paid", f"{API_PREFIX}/admin/orders/{{id}}/mark-paid")
    config.add_route("admin_order_refunds", f"{API_PREFIX}/admin/orders/{{id}}/refunds")
    config.add_route("admin_refunds", f"{API_PREFIX}/admin/refunds")
    config.add_route("admin_refund_retry", f"{API_PREFIX}/admin/refunds/{{id}}/retry")
    config.add_route("admin_webhook_events", f"{API_PREFIX}/admin/webhook-events")
    config.add_route("admin_webhook_event_retry", f"{API_PREFIX}/admin/webhook-events/{{id}}/retry")
    config.include(".jobs")
    config.include(".metrics")
    config.scan(".views")
    config.scan(".admin_views")
