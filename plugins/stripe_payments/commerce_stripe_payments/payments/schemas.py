"""Paying by Stripe as clients send and see it."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field

from commerce_core.api.schemas import Input, Output, ShortText

IntentStatus = Literal[
    "preparing",
    "requires_payment_method",
    "requires_confirmation",
    "requires_action",
    "processing",
    "requires_capture",
    "succeeded",
    "canceled",
]


class ConfigOut(Output):
    """What Stripe's own client needs to know of this shop. Nothing of it is secret."""

    publishable_key: str = Field(examples=["pk_test_51..."])
    account: str | None = Field(description="Of a connected account.", examples=["acct_1"])
    mode: Literal["test", "live"]
    demo: bool = Field(description="Payments go to a fake Stripe in this very shop: no money moves.")
    demo_address: str | None = Field(
        description="Of the fake: POST to its /_fake/confirm what Stripe's client would do.",
        examples=["http://127.0.0.1:8420"],
    )
    capture: Literal["automatic", "manual"]
    api_version: str = Field(examples=["2026-10-28.endive"])


class IntentIn(Input):
    order_id: UUID = Field(strict=False, examples=["01932c07-209c-7e3a-b6f4-5d2a8c9e1f70"])
    payment_method: ShortText | None = Field(
        default=None, description="A saved one of yours, to pay with.", examples=["pm_1Q0"]
    )
    save: bool = Field(default=False, description="Keep what you pay with for the next time. You must be signed in.")


class IntentOut(Output):
    """Confirm it with Stripe's client and the `client_secret`. While `preparing`, ask for it again in a moment."""

    payment_id: UUID
    status: IntentStatus | str
    client_secret: str | None = Field(description="For the customer's own client only.")
    error: str | None = Field(description="Why the last try to pay did not work, for the customer to read.")
    decline_code: str | None = Field(examples=["insufficient_funds"])


class SessionIn(Input):
    order_id: UUID = Field(strict=False, examples=["01932c07-209c-7e3a-b6f4-5d2a8c9e1f70"])


class SessionOut(Output):
    """Send the customer to `url`. While it is null, ask for it again in a moment."""

    payment_id: UUID
    status: Literal["preparing", "open", "complete", "expired"]
    url: str | None = Field(examples=["https://checkout.stripe.com/c/pay/cs_test_1"])


class AttemptOut(Output):
    """An attempt to collect a payment."""

    id: UUID
    payment_id: UUID
    state: Literal["creating", "open", "processing", "succeeded", "canceled", "refused"]
    intent: str | None = Field(examples=["pi_3Q0"])
    stripe_status: str | None
    error: str | None
