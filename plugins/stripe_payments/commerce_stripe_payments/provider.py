"""Stripe as the core's payment provider `stripe`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session
from stripe import StripeError

from commerce_core.api.problems import InvalidInput
from commerce_core.payments.models import Payment
from commerce_core.payments.provider import (
    Closing,
    InvalidSignature,
    OpenPayment,
    ProviderEvent,
    RefundRequest,
    RefundResult,
)
from commerce_stripe_payments.connection import Connection, say
from commerce_stripe_payments.models import StripeAttempt
from commerce_stripe_payments.payments import PATH, calls
from commerce_stripe_payments.payments.attempts import UNDER_WAY
from commerce_stripe_payments.payments.effects import CODE
from commerce_stripe_payments.refunds import StillUnknown, give_back


class StripeProvider:
    """What the core asks of a way to pay. Webhooks come in by a door of the plugin's own."""

    code = CODE
    refunds_at_once = False
    closes_payments = True

    def __init__(self, stripe: Connection) -> None:
        self.stripe = stripe

    def client_data(self, payment: Payment) -> dict[str, Any]:
        """Where to go on. Stripe is not asked before the payment is committed."""
        return {
            "publishable_key": self.stripe.publishable_key,
            "intents": f"{PATH}/intents",
            "checkout_sessions": f"{PATH}/checkout-sessions",
            "demo": self.stripe.settings.is_demo,
        }

    def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        raise InvalidSignature("Stripe's webhooks go to /webhooks/stripe.")

    def read(self, payload: Any) -> ProviderEvent:
        raise InvalidInput.field("body", "elsewhere", "is to be posted to /webhooks/stripe")

    def refund(self, request: RefundRequest) -> RefundResult:
        return give_back(self.stripe, request)

    def close(self, payment: OpenPayment) -> Closing:
        """Cancel what is open of a payment: its intent, or its checkout session."""
        now: datetime = self.stripe.now()
        with Session(self.stripe.engine) as session:
            attempts = session.scalars(
                select(StripeAttempt.id)
                .where(StripeAttempt.payment_id == payment.id, StripeAttempt.state.in_(UNDER_WAY))
                .order_by(StripeAttempt.id)
            ).all()
        for attempt_id in attempts:
            try:
                closing = calls.cancel(self.stripe, attempt_id, now=now)
            except StripeError as error:
                # The SDK's own hold what was sent and answered.
                raise StillUnknown(say(error)) from None
            if closing.status != "closed":
                return closing
        return Closing("closed")
