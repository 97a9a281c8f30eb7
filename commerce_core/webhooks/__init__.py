"""Webhooks that the shop sends: integrators' endpoints are told what has happened.

Those that payment providers send to the shop are not these: see `payments` and its `webhook_event`.
"""

from __future__ import annotations

from pyramid.config import PHASE3_CONFIG, Configurator

from commerce_core.api import API_PREFIX
from commerce_core.webhooks.recording import record_event
from commerce_core.webhooks.sending import Sender
from commerce_core.webhooks.topics import public_events


def includeme(config: Configurator) -> None:
    config.registry.webhook_sender = Sender(config.registry.settings_object)
    # When all is configured, so that plugins' events are among them.
    config.action(None, record_events, args=(config,), order=PHASE3_CONFIG)
    endpoints = f"{API_PREFIX}/admin/webhook-endpoints"
    deliveries = f"{endpoints}/{{id}}/deliveries"
    config.add_route("admin_webhook_endpoints", endpoints)
    config.add_route("admin_webhook_endpoint", f"{endpoints}/{{id}}")
    config.add_route("admin_webhook_endpoint_rotate", f"{endpoints}/{{id}}/rotate-secret")
    config.add_route("admin_webhook_endpoint_test", f"{endpoints}/{{id}}/test")
    config.add_route("admin_webhook_deliveries", deliveries)
    config.add_route("admin_webhook_deliveries_replay", f"{deliveries}/replay")
    config.add_route("admin_webhook_delivery", f"{deliveries}/{{delivery_id}}")
    config.add_route("admin_webhook_delivery_replay", f"{deliveries}/{{delivery_id}}/replay")
    config.registry.figures.add(
        "commerce_webhook_deliveries_oldest_seconds",
        "How long the oldest delivery that an active endpoint has still to be told has waited.",
        (),
        "SELECT coalesce(max(extract(epoch FROM %(now)s - first.created_at)), 0) FROM webhook_endpoint AS endpoint"
        " CROSS JOIN LATERAL (SELECT min(created_at) AS created_at FROM webhook_delivery"
        " WHERE endpoint_id = endpoint.id AND state = 'waiting') AS first WHERE endpoint.active",
    )
    config.include(".jobs")
    config.scan(".views")


def record_events(config: Configurator) -> None:
    """Have deliveries written wherever one of the public events is emitted."""
    clock = config.registry.clock
    for kind in public_events():
        config.registry.bus.record(kind, lambda session, event: record_event(session, event, now=clock.now()))
