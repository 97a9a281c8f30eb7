"""Which amounts Stripe takes: https://docs.stripe.com/currencies."""

from __future__ import annotations

from commerce_stripe_payments.testing.failures import Failure, wrong

_THREE_DECIMALS = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
_WHOLE_IN_HUNDREDS = frozenset({"isk", "ugx"})
_AT_LEAST = {
    **dict.fromkeys(("usd", "eur", "chf", "cad", "aud", "nzd", "sgd", "brl", "inr"), 50),
    "gbp": 30,
    "dkk": 250,
    "nok": 300,
    "sek": 300,
    "jpy": 50,
    "huf": 17_500,
    "pln": 200,
    "czk": 1_500,
    "mxn": 1_000,
    "hkd": 400,
}


def check_amount(amount: int, currency: str) -> None:
    """Raises Failure for an amount that cannot be charged."""
    currency = currency.lower()
    if len(currency) != 3 or not currency.isalpha():
        raise wrong("currency", f"Invalid currency: {currency}", None)
    if amount < 1:
        raise wrong("amount", "This value must be greater than or equal to 1.", "parameter_invalid_integer")
    if amount < _AT_LEAST.get(currency, 1):
        raise Failure(
            "The Checkout or Payment Element amount must convert to at least 50 cents.",
            code="amount_too_small",
            param="amount",
            is_kept=False,
        )
    if amount > 99_999_999:
        raise Failure("Amount must be no more than 99999999.", code="amount_too_large", param="amount", is_kept=False)
    step = 10 if currency in _THREE_DECIMALS else 100 if currency in _WHOLE_IN_HUNDREDS else 1
    if amount % step:
        raise Failure(f"Invalid amount for {currency}: {amount}", param="amount", is_kept=False)
