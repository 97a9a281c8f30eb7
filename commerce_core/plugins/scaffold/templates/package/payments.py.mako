"""A way to pay. Replace the webhook's shape, and `refund`, by what the provider's API needs."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

from commerce_core.api.endpoints import validated
from commerce_core.api.schemas import Input, Text
from commerce_core.payments.models import Payment
from commerce_core.payments.provider import (
    Closing,
    InvalidSignature,
    OpenPayment,
    ProviderEvent,
    RefundRequest,
    RefundResult,
)
from pydantic import Field

from commerce_${name}.settings import Settings


class WebhookIn(Input):
    event_id: Text = Field(min_length=1, max_length=255)
    order_id: UUID = Field(strict=False)
    status: Literal["paid", "failed"]
    reference: Text | None = None


class Provider:
    """Orders choose it by `"payment": {"provider": "${name}"}`."""

    code = "${name}"
    # `refund` calls nobody, so its result stands at once.
    refunds_at_once = True
    # Nothing is open at a provider that could be paid after the order has lapsed.
    closes_payments = False

    def __init__(self, settings: Settings) -> None:
        self._secret = settings.webhook_secret

    def client_data(self, payment: Payment) -> dict[str, Any]:
        """What the client needs to pay."""
        return {"reference": str(payment.id)}

    def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        """Believe a webhook only if it was signed with our secret."""
        given = headers.get("X-Signature", "")
        if self._secret is None or not hmac.compare_digest(self.signature(body).encode(), given.encode()):
            raise InvalidSignature("X-Signature must be the HMAC-SHA256 of the raw body in hexadecimal.")

    def read(self, payload: Any) -> ProviderEvent:
        """What has happened to a payment, out of a webhook that is believed."""
        event = validated(WebhookIn, payload)
        return ProviderEvent(
            self.code,
            event.event_id,
            event.order_id,
            event.status,
            event.model_dump(mode="json"),
            provider_reference=event.reference,
        )

    def refund(self, request: RefundRequest) -> RefundResult:
        """Give money back: the same `request.idempotency_key` means the same refund."""
        return RefundResult("succeeded", f"refund-{request.idempotency_key}")

    def close(self, payment: OpenPayment) -> Closing:
        """With `closes_payments`: see to it that this cannot be paid any more; say so, or that it has been paid."""
        return Closing("closed")

    def signature(self, body: bytes) -> str:
        secret = self._secret.get_secret_value() if self._secret else ""
        return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
