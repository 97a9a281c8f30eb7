"""The small tables that a shop's prices are set in: amounts by currency, tax rates by place. As settings write them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from babel.numbers import list_currencies

_RATE = re.compile(
    r"(\*|[A-Z]{2}(?:-[A-Z0-9]{1,20})?)(?:\s+([a-z][a-z0-9_-]{0,49}))?\s+([0-9]{1,3}(?:\.[0-9]{1,4})?)\s*%?"
)
STANDARD = "standard"
# The largest amount that a setting may name, in minor units.
LARGEST = 10**12


class TaxRate(NamedTuple):
    """So many per cent in a country (`*` for anywhere), in one of its regions, on one class of goods."""

    country: str
    region: str | None
    tax_class: str
    percent: Decimal

    @property
    def place(self) -> str:
        return self.country if self.region is None else f"{self.country}-{self.region}"

    def __str__(self) -> str:
        return " ".join([self.place, *([self.tax_class] if self.tax_class != STANDARD else []), str(self.percent)])


class TaxRates(tuple[TaxRate, ...]):
    """A tax table. Reads back as it is written."""

    def __str__(self) -> str:
        return ", ".join(str(rate) for rate in self)


class Amounts(dict[str, int]):
    """Minor units by currency. Reads back as it is written."""

    def __str__(self) -> str:
        return ", ".join(f"{currency} {amount}" for currency, amount in self.items())


def parse_amounts(value: object) -> Amounts:
    """`USD 500, EUR 450`: whole minor units by currency. Raises ValueError."""
    amounts = Amounts()
    for entry in _entries(value):
        currency, _, number = entry.partition(" ")
        number = number.strip()
        if not (re.fullmatch(r"[A-Z]{3}", currency) and re.fullmatch(r"[0-9]{1,13}", number)):
            raise ValueError(f"{entry!r} should be a currency and whole minor units, as in USD 500")
        if currency not in list_currencies():
            raise ValueError(f"{currency} is no currency of ISO 4217")
        if currency in amounts:
            raise ValueError(f"{currency} is there twice")
        if int(number) > LARGEST:
            raise ValueError(f"{entry!r} is more than {LARGEST} minor units")
        amounts[currency] = int(number)
    return amounts


def parse_tax_rates(value: object) -> TaxRates:
    """`DE 19`, `DE reduced 7`, `US-CA 7.25`, `* 0`, one to a line: per cent by place and class. Raises ValueError."""
    rates: dict[tuple[str, str], TaxRate] = {}
    for entry in _entries(value):
        match = _RATE.fullmatch(entry)
        if match is None:
            raise ValueError(
                f"{entry!r} should be a place, a tax class unless it is the standard one, and per cent with at most"
                " four decimals, as in DE 19, DE reduced 7, US-CA 7.25 or * 0"
            )
        country, _, region = match[1].partition("-")
        rate = TaxRate(country, region or None, match[2] or STANDARD, Decimal(match[3]))
        if rate.percent > 100:
            raise ValueError(f"{entry!r} is more than 100 per cent")
        if (rate.place, rate.tax_class) in rates:
            raise ValueError(f"{rate.place} has two rates for {rate.tax_class}")
        rates[rate.place, rate.tax_class] = rate
    return TaxRates(rates.values())


def _entries(value: object) -> Iterable[str]:
    if not isinstance(value, str):
        raise ValueError("should be text")
    return filter(None, (" ".join(entry.split()) for entry in re.split(r"[,\n]", value)))
