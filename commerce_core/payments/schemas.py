"""Payments as clients see them."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from commerce_core.api.schemas import Output
from commerce_core.orders.schemas import PaymentOut


class PaymentStarted(Output):
    payment: PaymentOut
    client_data: dict[str, Any] = Field(description="What the provider's client needs to go on.")


class WebhookReceipt(Output):
    """What became of an event. A second delivery gets the same, with `duplicate` true."""

    event_id: str
    state: Literal["received", "processed", "ignored", "unmatched", "dead"]
    order_id: UUID | None
    duplicate: bool
