"""Where Stripe tells what has happened."""

from __future__ import annotations

from typing import Any

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view
from commerce_core.api.problems import BodyTooLarge, NotFound
from commerce_core.api.schemas import Output
from commerce_stripe_payments.webhooks import intake
from commerce_stripe_payments.webhooks.signatures import BadWebhook


class Received(Output):
    """It is kept. What becomes of it is nobody's business but the staff's."""

    received: bool


@api_view(
    route_name="stripe_webhook",
    request_method="POST",
    permission=Permission.PUBLIC,
    returns=Received,
    keyed=False,
    limit=None,  # Stripe tells much at once, and what is not signed costs next to nothing
    problems=(BadWebhook, BodyTooLarge),
)
def stripe_webhook(request: Any) -> Received:
    """Stripe's events. Signed in `Stripe-Signature`; safe to deliver many times, and in any order."""
    return _take(request, thin=False)


@api_view(
    route_name="stripe_thin_webhook",
    request_method="POST",
    permission=Permission.PUBLIC,
    returns=Received,
    keyed=False,
    limit=None,
    problems=(BadWebhook, BodyTooLarge, NotFound),
)
def stripe_thin_webhook(request: Any) -> Received:
    """Stripe's thin events, from an event destination with a secret of its own. Without one there is nothing here."""
    return _take(request, thin=True)


def _take(request: Any, *, thin: bool) -> Received:
    body: bytes = request.raw_body
    if thin and not request.registry.stripe.thin_webhook_secrets:
        raise NotFound("This shop takes no thin events: it has no stripe.thin_webhook_secrets.")
    if len(body) > request.registry.stripe.settings.webhook_max_bytes:
        raise BodyTooLarge
    intake.take(request.registry, body, request.headers.get("Stripe-Signature"), thin=thin)
    return Received(received=True)
