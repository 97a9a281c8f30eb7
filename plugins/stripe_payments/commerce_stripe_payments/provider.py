"""Stripe as the core's payment provider `stripe`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from commerce_core.payments.models import Payment
from commerce_core.payments.provider import ProviderEvent, RefundRequest, RefundResult
from commerce_stripe_payments.connection import Connection


class StripeProvider:
    """What the core asks of a way to pay. Webhooks come in by a door of the plugin's own."""

    code = "stripe"
    refunds_at_once = False

    def __init__(self, stripe: Connection) -> None:
        self.stripe = stripe

    def client_data(self, payment: Payment) -> dict[str, Any]:
        return {}

    def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        raise NotImplementedError

    def read(self, payload: Any) -> ProviderEvent:
        raise NotImplementedError

    def refund(self, request: RefundRequest) -> RefundResult:
        raise NotImplementedError
