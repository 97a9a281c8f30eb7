"""What a payment provider is to the core: something for the client, a reader of its webhooks, a way to give back."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
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

    `processing`: the customer has done all there is to do, and the bank will take until `until` at most; the order
    stays open for as long. `cancelled`: this payment will not be made, and no fault of anybody's.

    `provider_reference` names the payment at the provider (or the refund), and tells a second payment of an order from
    the first one told again. `payment_id` is the payment that it was made for, if the provider knows. `refund_id` is
    needed for events of refunds. After a payment that was `processing` has failed, the order stays open until `until`.
    """

    provider: str
    event_id: str
    order_id: UUID
    status: Literal["paid", "failed", "processing", "cancelled", "refund_succeeded", "refund_failed"]
    payload: dict[str, Any]
    provider_reference: str | None = None
    error: str | None = None
    refund_id: UUID | None = None
    payment_id: UUID | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class OpenPayment:
    """A payment that is not made yet, of an order that has lapsed. Amount in minor units."""

    id: UUID
    order_id: UUID
    reference: str | None
    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class Closing:
    """What became of it. `closed`: it cannot be made any more. `paid`: it had been, by `reference`. `processing`: the
    bank is at it, until `until` at most.
    """

    status: Literal["closed", "paid", "processing"]
    reference: str | None = None
    until: datetime | None = None


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
    # Whether a payment can be made at the provider until it is told otherwise: then `close` is asked.
    closes_payments: bool

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

    def close(self, payment: OpenPayment) -> Closing:
        """See to it that a payment cannot be made any more: its order has lapsed, and its stock is about to be sold.

        Called by a worker, outside of any transaction. Sees to its own time-out. Any exception means that it is not
        known: it is asked again, for half an hour, and then the order lapses all the same. If the payment is made after
        that, tell so: the stock is taken again, or the money goes back.
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
    closes_payments = False

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

    def close(self, payment: OpenPayment) -> Closing:
        """Nobody can be kept from paying; what comes too late is seen to then."""
        return Closing("closed")

    @staticmethod
    def signature(secret: str, body: bytes) -> str:
        """HMAC-SHA256 of the raw body, in hexadecimal."""
        return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
