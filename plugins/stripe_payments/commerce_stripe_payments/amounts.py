"""Money as Stripe counts it, and as the core does: the same but for a few currencies.

The core counts in the currency's own minor unit (CLDR's, through babel). Stripe does so, too, except that it wants UGX
and ISK with two decimals that must be zero, and the third decimal of the dinars to be zero.
"""

from __future__ import annotations

from babel.numbers import get_currency_precision

from commerce_core.api.problems import Conflict

# docs.stripe.com/currencies: those that Stripe counts whole.
ZERO_DECIMAL = frozenset(
    "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF".split()  # noqa: SIM905 (read as a list)
)
THREE_DECIMAL = frozenset(("BHD", "JOD", "KWD", "OMR", "TND"))
# They have no minor unit (any more), but Stripe counts hundredths, which must be none.
WHOLE_IN_HUNDREDTHS = frozenset(("ISK", "UGX"))
LARGEST = 99_999_999
"""Eight digits, whatever the currency."""
# docs.stripe.com/currencies#minimum-and-maximum-charge-amounts, in Stripe's units.
SMALLEST = {
    "AED": 200,
    "AUD": 50,
    "BGN": 100,
    "BRL": 50,
    "CAD": 50,
    "CHF": 50,
    "CZK": 1_500,
    "DKK": 250,
    "EUR": 50,
    "GBP": 30,
    "HKD": 400,
    "HUF": 17_500,
    "INR": 50,
    "JPY": 50,
    "MXN": 1_000,
    "MYR": 200,
    "NOK": 300,
    "NZD": 50,
    "PLN": 200,
    "RON": 200,
    "SEK": 300,
    "SGD": 50,
    "THB": 1_000,
    "USD": 50,
}


class AmountDoesNotFit(Conflict):
    """Stripe cannot collect this amount: too small, too large, or with more decimals than it takes."""

    slug = "stripe/amount-does-not-fit"
    title = "Stripe cannot collect this amount"


def stripe_decimals(currency: str) -> int:
    """How many decimals Stripe counts."""
    code = currency.upper()
    return 0 if code in ZERO_DECIMAL else 3 if code in THREE_DECIMAL else 2


def _power(exponent: int) -> int:
    return int(10**exponent)


def _decimals(currency: str) -> int:
    """How many decimals the core counts."""
    return int(get_currency_precision(currency))


def to_stripe(amount: int, currency: str) -> int:
    """Minor units of the core's as Stripe counts them. Raises AmountDoesNotFit where that is not exact."""
    code = currency.upper()
    shift = stripe_decimals(code) - _decimals(code)
    scaled, rest = (amount * _power(shift), 0) if shift >= 0 else divmod(amount, _power(-shift))
    if rest or (code in THREE_DECIMAL and scaled % 10) or (code in WHOLE_IN_HUNDREDTHS and scaled % 100):
        raise AmountDoesNotFit(f"{amount} of {code} has more decimals than Stripe takes.")
    return scaled


def from_stripe(amount: int, currency: str) -> int:
    """What Stripe says, in minor units of the core's. Raises AmountDoesNotFit where that is not exact."""
    code = currency.upper()
    shift = _decimals(code) - stripe_decimals(code)
    if shift >= 0:
        return amount * _power(shift)
    whole, rest = divmod(amount, _power(-shift))
    if rest:
        raise AmountDoesNotFit(f"{amount} of {code} at Stripe is no whole amount here.")
    return whole


def chargeable(amount: int, currency: str) -> int:
    """An amount that is to be collected, as Stripe counts it. Raises AmountDoesNotFit."""
    scaled = to_stripe(amount, currency)
    if scaled > LARGEST:
        raise AmountDoesNotFit("That is more than Stripe collects at once.")
    if scaled < SMALLEST.get(currency.upper(), 1):
        raise AmountDoesNotFit("That is less than Stripe collects.")
    return scaled
