"""What a payment provider is to the core: something for the client, a reader of its webhooks, a way to give back."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from uuid import UUID

from pydantic import Field

from commerce_core.api.endpoints import validated
from commerce_core.api.problems import NotFound, Problem, Unauthorized
from commerce_core.api.schemas import Input, ShortText, Text
from commerce_core.payments.models import Payment


class UnknownProvider(NotFound):
    """No payment provider with this name is configured."""

    slug = "unknown-payment-provider"
    title = "There is no such payment provider"


class InvalidSignature(Problem):
    """The webhook is not signed with the secret that we share with the provider."""

    slug = "invalid-signature"
    title = "The signature is not valid"
    status = 401


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """What a provider tells: that the payment of an order has been made or has failed, or a refund of it.

    `provider_reference` names the payment at the provider (or the refund), and tells a second payment of an order from
    the first one told again. `refund_id` is needed for events of refunds.
    """

    provider: str
    event_id: str
    order_id: UUID
    status: Literal["paid", "failed", "refund_succeeded", "refund_failed"]
    payload: dict[str, Any]
    provider_reference: str | None = None
    error: str | None = None
    refund_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """What a provider is asked to give back: `amount` minor units of the payment it calls `payment_reference`.

    The same `idempotency_key` means the same refund: however often it is asked for, the money goes back once.
    """

    id: UUID
    idempotency_key: str
    order_id: UUID
    payment_id: UUID
    payment_reference: str | None
    amount: int
    currency: str
    reason: str


@dataclass(frozen=True, slots=True)
class RefundResult:
    """What a provider says to that. `pending`: it will tell by a webhook. `failed`: it never will, and why."""

    status: Literal["succeeded", "pending", "failed"]
    reference: str | None = None
    error: str | None = None


class PaymentProvider(Protocol):
    """Implemented once per way to pay, and registered with `config.add_payment_provider`."""

    code: str
    # Whether `refund` does no I/O, so that it may be called inside a transaction and its result stands at once.
    refunds_at_once: bool

    def client_data(self, payment: Payment) -> dict[str, Any]:
        """What the client needs to pay. Called in the request's transaction: no I/O."""
        ...

    def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        """Raise InvalidSignature unless the webhook comes from the provider. No database, no I/O."""
        ...

    def read(self, payload: Any) -> ProviderEvent:
        """The event in a webhook whose signature is good. Raises InvalidInput."""
        ...

    def refund(self, request: RefundRequest) -> RefundResult:
        """Give money back. Called by the scheduler, outside of any transaction, and again after a crash.

        Sees to its own time-out, of well under two minutes. Any exception means that the outcome is not known: it is
        asked again later with the same key. What cannot succeed is a `failed` result, not an exception.
        """
        ...


class ManualEventIn(Input):
    """The webhook of the manual provider."""

    event_id: Text = Field(min_length=1, max_length=255, examples=["evt_1"])
    order_id: UUID = Field(strict=False)
    status: Literal["paid", "failed"]
    reference: ShortText | None = Field(
        default=None,
        description="Names the payment. Another one of an order that is paid already is given back.",
        examples=["transfer 4711"],
    )


class ManualProvider:
    """Payments that the merchant sees to: bank transfer, invoice, cash, a provider of the merchant's own.

    Whoever learns of the payment posts a webhook, signed with `payments.manual_webhook_secret`.
    """

    code = "manual"
    refunds_at_once = True

    def __init__(self, secret: str | None) -> None:
        self._secret = secret

    def client_data(self, payment: Payment) -> dict[str, Any]:
        return {"reference": str(payment.id)}

    def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        if self._secret is None:
            raise Unauthorized("payments.manual_webhook_secret is not set, so no webhook is accepted.")
        expected = "sha256=" + self.signature(self._secret, body)
        given = headers.get("X-Webhook-Signature", "")
        if not hmac.compare_digest(expected.encode(), given.strip().encode()):
            raise InvalidSignature(
                "X-Webhook-Signature must be sha256= and the HMAC-SHA256 of the raw body in hexadecimal."
            )

    def read(self, payload: Any) -> ProviderEvent:
        event = payload if isinstance(payload, ManualEventIn) else validated(ManualEventIn, payload)
        return ProviderEvent(
            self.code,
            event.event_id,
            event.order_id,
            event.status,
            event.model_dump(mode="json"),
            provider_reference=event.reference,
        )

    def refund(self, request: RefundRequest) -> RefundResult:
        """The merchant sees to it, as to the payment."""
        return RefundResult("succeeded")

    @staticmethod
    def signature(secret: str, body: bytes) -> str:
        """HMAC-SHA256 of the raw body, in hexadecimal."""
        return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
