"""Why a card was declined, in words that a customer can do something with.

Stripe asks not to pass on codes such as `stolen_card`: whoever has stolen it would learn that it is known. Those read
like any other refusal.
"""

from __future__ import annotations

from typing import Any

GENERIC = "Your bank has declined the payment. Please try another way to pay, or ask your bank."
_TEXTS = {
    "authentication_required": "Your bank wants to know that it is you. Please confirm the payment.",
    "card_velocity_exceeded": "The card has been used too often. Please try another one.",
    "currency_not_supported": "The card cannot pay in this currency. Please try another one.",
    "duplicate_transaction": "The same payment was made just now. Please look at your account before you pay again.",
    "expired_card": "The card has expired. Please try another one.",
    "incorrect_address": "The address does not belong to the card. Please correct it.",
    "incorrect_cvc": "The security code is wrong. Please correct it.",
    "incorrect_number": "The card's number is wrong. Please correct it.",
    "incorrect_zip": "The postal code does not belong to the card. Please correct it.",
    "insufficient_funds": "There is not enough money on the account. Please try another way to pay.",
    "invalid_cvc": "The security code is wrong. Please correct it.",
    "invalid_expiry_month": "The month in which the card expires is wrong. Please correct it.",
    "invalid_expiry_year": "The year in which the card expires is wrong. Please correct it.",
    "invalid_number": "The card's number is wrong. Please correct it.",
    "issuer_not_available": "Your bank cannot be reached. Please try again in a few minutes.",
    "payment_intent_authentication_failure": "Your bank could not confirm that it is you. Please try again.",
    "processing_error": "Something went wrong at the bank. Please try again in a few minutes.",
    "reenter_transaction": "Your bank could not process the payment. Please try again.",
    "try_again_later": "Your bank could not process the payment. Please try again later.",
    "withdrawal_count_limit_exceeded": "The card's limit is reached. Please try another one.",
}


def decline_code(error: dict[str, Any]) -> str | None:
    """The code of an error of a payment, the bank's own if it gave one."""
    code = error.get("decline_code") or error.get("code")
    return code if isinstance(code, str) else None


def text_of(code: str | None) -> str:
    """What a customer is told."""
    return _TEXTS.get(code or "", GENERIC)
