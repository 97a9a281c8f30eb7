"""Whether a webhook comes from Stripe, and just now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import stripe
from pydantic import SecretStr

from commerce_core.api.problems import Problem

TOLERANCE_SECONDS = 300


class BadWebhook(Problem):
    """This is no event that Stripe has signed just now. Nothing was kept of it."""

    slug = "stripe/bad-webhook"
    title = "The webhook cannot be used"
    status = 400


def verify(body: bytes, header: str | None, secrets: Sequence[SecretStr], *, now: datetime) -> int:
    """Which of the secrets has signed it, counted from 0. Raises BadWebhook, without a word of why.

    The signature covers the raw body. Stripe signs with both secrets while one is rolled, so each is tried. The SDK
    knows no upper bound of the time, and looks at the system's clock, so the time is looked at here.
    """
    if not header or not header.isascii():
        raise BadWebhook
    try:
        text = body.decode()
        # One time alone: of several, the SDK might sign by another than the one that is compared here.
        [signed_at] = [int(part[2:]) for part in header.split(",") if part.startswith("t=")]
    except ValueError:
        raise BadWebhook from None
    # Whole seconds of any size: a float would overflow.
    if abs(int(now.timestamp()) - signed_at) > TOLERANCE_SECONDS:
        raise BadWebhook
    for position, secret in enumerate(secrets):
        value = secret.get_secret_value().strip()
        try:
            if value and stripe.WebhookSignature.verify_header(text, header, value):
                return position
        except (stripe.SignatureVerificationError, ValueError, TypeError):
            # What it raises holds the header and the whole body.
            continue
    raise BadWebhook
