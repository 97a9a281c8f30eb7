"""The one place that makes a client of Stripe's API: pinned version, short time-outs, retries, no telemetry."""

from __future__ import annotations

import logging

import stripe
from stripe._base_address import BaseAddresses

from commerce_stripe_payments.settings import Settings

# The SDK would write a file into the home directory, and send how long requests took.
stripe.enable_telemetry = False
# It would log each request, and at the level of debugging what is in it.
logging.getLogger("stripe").setLevel(logging.WARNING)

DEMO_SECRET_KEY = "sk_test_demo"
DEMO_PUBLISHABLE_KEY = "pk_test_demo"


def make_client(settings: Settings, *, api_base: str | None = None) -> stripe.StripeClient:
    """A client for the shop's account. `api_base` is where the fake of a demo listens.

    Nothing of it may be called while a row is locked, nor in the transaction of a request: a call takes up to
    (retries + 1) times the read time-out.
    """
    base = api_base or settings.api_base
    addresses: BaseAddresses = {}
    if base is not None:
        # Each would fall back to the internet by itself.
        addresses = {"api": base, "connect": base, "files": base, "meter_events": base}
    key = settings.secret_key
    return stripe.StripeClient(
        key.get_secret_value() if key is not None else DEMO_SECRET_KEY,
        stripe_account=settings.account,
        stripe_version=settings.api_version,
        base_addresses=addresses,
        max_network_retries=settings.max_network_retries,
        http_client=stripe.RequestsClient(timeout=(settings.connect_timeout_seconds, settings.read_timeout_seconds)),
    )
