"""Webhooks in figures: what came, what was refused, what waits, and for how long."""

from __future__ import annotations

from pyramid.config import Configurator

from commerce_stripe_payments.connection import Meters


def includeme(config: Configurator) -> None:
    registry = config.registry
    counter = registry.metrics.counter
    registry.stripe.meters = Meters(
        received=counter(
            "commerce_stripe_webhooks_total", "Events of Stripe that were filed, and those that had been.", ("what",)
        ),
        refused=counter("commerce_stripe_webhooks_refused_total", "Webhooks that nobody has signed for us just now."),
        signed_by=counter(
            "commerce_stripe_webhooks_signed_total", "Webhooks by the place of the secret in the settings.", ("secret",)
        ),
        used=counter("commerce_stripe_events_total", "Events of Stripe, by what became of them.", ("state",)),
    )
    registry.figures.add(
        "commerce_stripe_events_waiting",
        "Events of Stripe that are not used yet, that nothing is known about, or that somebody must look at.",
        ("state",),
        "SELECT asked.state, (SELECT count(*) FROM stripe_event WHERE stripe_event.state = asked.state)"
        " FROM (VALUES ('received'), ('unmatched'), ('dead')) AS asked (state)",
    )
    registry.figures.add(
        "commerce_stripe_oldest_event_seconds",
        "For how long the oldest event that is not used yet has waited.",
        (),
        "SELECT coalesce(extract(epoch FROM now() - min(received_at)), 0) FROM stripe_event WHERE state = 'received'",
    )
