"""Stripe's test cards and accounts, and what each of them does: https://docs.stripe.com/testing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Instrument:
    """Something to pay with, under the name that Stripe gives it as a payment method.

    `decline`: the code of the refusal, with `decline_code` where that says more; `declines_attaching`: also when it is
    only to be saved. `authenticates`: whether the bank wants to see its customer: never, for each payment, or once
    (`on_setup`, which is enough for payments off session after it).
    `is_slow`: the money is under way for days. `refund` says how refunds end, `trouble` what follows a payment.
    """

    name: str
    number: str
    brand: str = "visa"
    type: str = "card"
    decline: str | None = None
    decline_code: str | None = None
    authenticates: Literal["never", "always", "on_setup"] = "never"
    declines_attaching: bool = True
    is_slow: bool = False
    refund: Literal["succeeded", "pending", "failed"] = "succeeded"
    trouble: Literal["dispute", "product_not_received", "inquiry", "early_fraud_warning"] | None = None

    @property
    def last4(self) -> str:
        return self.number[-4:]


def _declined(name: str, number: str, decline_code: str) -> Instrument:
    return Instrument(name, number, decline="card_declined", decline_code=decline_code)


ALL = (
    Instrument("pm_card_visa", "4242424242424242"),
    Instrument("pm_card_visa_debit", "4000056655665556"),
    Instrument("pm_card_mastercard", "5555555555554444", "mastercard"),
    Instrument("pm_card_amex", "378282246310005", "amex"),
    Instrument("pm_card_threeDSecure2Required", "4000000000003220", authenticates="always"),
    Instrument("pm_card_authenticationRequired", "4000002760003184", authenticates="always"),
    Instrument("pm_card_authenticationRequiredOnSetup", "4000002500003155", authenticates="on_setup"),
    Instrument(
        "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds",
        "4000008260003178",
        authenticates="always",
        decline="card_declined",
        decline_code="insufficient_funds",
        declines_attaching=False,
    ),
    _declined("pm_card_visa_chargeDeclined", "4000000000000002", "generic_decline"),
    _declined("pm_card_visa_chargeDeclinedInsufficientFunds", "4000000000009995", "insufficient_funds"),
    _declined("pm_card_visa_chargeDeclinedLostCard", "4000000000009987", "lost_card"),
    _declined("pm_card_visa_chargeDeclinedStolenCard", "4000000000009979", "stolen_card"),
    _declined("pm_card_radarBlock", "4100000000000019", "fraudulent"),
    Instrument("pm_card_chargeDeclinedExpiredCard", "4000000000000069", decline="expired_card"),
    Instrument("pm_card_chargeDeclinedIncorrectCvc", "4000000000000127", decline="incorrect_cvc"),
    Instrument("pm_card_chargeDeclinedProcessingError", "4000000000000119", decline="processing_error"),
    # Can be saved, and then cannot be charged: the card of dunning.
    Instrument(
        "pm_card_chargeCustomerFail",
        "4000000000000341",
        decline="card_declined",
        decline_code="generic_decline",
        declines_attaching=False,
    ),
    Instrument("pm_card_createDispute", "4000000000000259", trouble="dispute"),
    Instrument("pm_card_createDisputeProductNotReceived", "4000000000002685", trouble="product_not_received"),
    Instrument("pm_card_createDisputeInquiry", "4000000000001976", trouble="inquiry"),
    Instrument("pm_card_createIssuerFraudRecord", "4000000000005423", trouble="early_fraud_warning"),
    Instrument("pm_card_pendingRefund", "4000000000007726", refund="pending"),
    Instrument("pm_card_refundFail", "4000000000005126", refund="failed"),
    Instrument("pm_usBankAccount_success", "000123456789", "", "us_bank_account", is_slow=True),
    Instrument(
        "pm_usBankAccount_insufficientFunds",
        "000222222227",
        "",
        "us_bank_account",
        is_slow=True,
        decline="insufficient_funds",
        declines_attaching=False,
    ),
    Instrument("pm_sepaDebit_success", "AT611904300234573201", "", "sepa_debit", is_slow=True),
    Instrument(
        "pm_sepaDebit_fails",
        "AT861904300235473202",
        "",
        "sepa_debit",
        is_slow=True,
        decline="debit_not_authorized",
        declines_attaching=False,
    ),
)
BY_NAME = {instrument.name: instrument for instrument in ALL} | {
    # Older names of the same.
    "pm_card_chargeDeclined": ALL[8],
    "pm_card_threeDSecureRequired": ALL[4],
}
BY_NUMBER = {instrument.number: instrument for instrument in ALL}

MESSAGES = {
    "card_declined": "Your card was declined.",
    "insufficient_funds": "Your card has insufficient funds.",
    "expired_card": "Your card has expired.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
    "authentication_required": "Your card was declined. This transaction requires authentication.",
    "debit_not_authorized": "The customer has notified their bank that this payment was unauthorized.",
}
