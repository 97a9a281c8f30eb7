"""Refunds and webhooks in figures: the ones that somebody should look at, above all."""

from __future__ import annotations

from pyramid.config import Configurator

from commerce_core.events import RefundFailed, RefundSucceeded, WebhookReceived


def includeme(config: Configurator) -> None:
    registry = config.registry
    refunds = registry.metrics.counter("commerce_refunds_total", "Refunds carried out, by outcome.", ("outcome",))
    for outcome in ("succeeded", "failed"):
        refunds.labels(outcome)  # it is 0 at first, so that the first one is an increase, which an alert is about
    webhooks = registry.metrics.counter(
        "commerce_webhooks_total", "Events of payment providers, by what became of them.", ("provider", "state")
    )
    registry.bus.subscribe(RefundSucceeded, lambda _: refunds.labels("succeeded").inc())
    registry.bus.subscribe(RefundFailed, lambda _: refunds.labels("failed").inc())
    registry.bus.subscribe(WebhookReceived, lambda event: webhooks.labels(event.provider, event.state).inc())
    registry.figures.add(
        "commerce_webhook_events_oldest_seconds",
        "How long the oldest event of a payment provider that has not taken effect yet has been there.",
        (),
        "SELECT coalesce(extract(epoch FROM %(now)s - min(received_at)), 0) FROM webhook_event"
        " WHERE state IN ('received', 'unmatched')",
    )
    registry.figures.add(
        "commerce_webhook_events",
        "Events of payment providers that wait for their order, or are dead.",
        ("state",),
        "SELECT asked.state, (SELECT count(*) FROM webhook_event WHERE webhook_event.state = asked.state)"
        " FROM (VALUES ('unmatched'), ('dead')) AS asked (state)",
    )
