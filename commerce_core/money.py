"""Money for people: whole minor units with their currency, and how they read in the client's language."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import Self

from babel import Locale, UnknownLocaleError
from babel.numbers import format_currency, get_currency_precision, list_currencies
from pydantic import BaseModel, Field

DEFAULT_LOCALE = "en_US"


class Money(BaseModel):
    """An amount in whole minor units of an ISO 4217 currency (2999 USD is $29.99, 2999 JPY is ¥2,999)."""

    amount: int = Field(description="Whole minor units of the currency.", examples=[2999])
    currency: str = Field(description="ISO 4217 code.", examples=["USD"])
    formatted: str = Field(description="For people, in the language of Accept-Language.", examples=["$29.99"])

    @classmethod
    def of(cls, amount: int, currency: str, locale: str = DEFAULT_LOCALE) -> Self:
        """Trusted values from the database; not validated again."""
        return cls.model_construct(amount=amount, currency=currency, formatted=formatted(amount, currency, locale))


@lru_cache(maxsize=16_384)
def formatted(amount: int, currency: str, locale: str = DEFAULT_LOCALE) -> str:
    """`amount` minor units as a person of `locale` would write them."""
    exponent = get_currency_precision(currency)
    return format_currency(Decimal(amount).scaleb(-exponent), currency, locale=locale)


@lru_cache(maxsize=1_024)
def is_currency(code: str) -> bool:
    """Whether it is an ISO 4217 code that we can write money in."""
    return code in list_currencies()


@lru_cache(maxsize=1_024)
def negotiate_locale(accept_language: str) -> str:
    """The first language of an Accept-Language header that we can write money in; English otherwise."""
    weighted = []
    for position, part in enumerate(accept_language[:200].split(",")):
        tag, _, parameters = part.strip().partition(";")
        try:
            quality = float(parameters.strip().removeprefix("q=")) if parameters else 1.0
            locale = str(Locale.parse(tag.strip(), sep="-"))
        except (ValueError, UnknownLocaleError, TypeError):
            continue
        if quality > 0:
            weighted.append((-quality, position, locale))
    return min(weighted)[2] if weighted else DEFAULT_LOCALE
