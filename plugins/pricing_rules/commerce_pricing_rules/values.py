"""The kinds of values that rules are written in, all of them exact: money by currency, per cents, times of day."""

from __future__ import annotations

import re
from datetime import date, time
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from commerce_core.api.schemas import INT32_MAX, Input, Text
from commerce_core.money import is_currency

_PERCENT = re.compile(r"\d{1,3}(\.\d{1,4})?")
_TIME = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
# Ten billion dollars: more is a mistake, and sums of it stay within what the database counts.
MOST_AMOUNT = 10**12


class Definition(Input):
    """A part of a rule: strict, without unknown fields, and never changed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _decimal(value: Any) -> Any:
    """A per cent is a whole number, or a text such as "7.25"; never a float, which could not be exact."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, str) and _PERCENT.fullmatch(value):
        return Decimal(value)
    raise PydanticCustomError("percent", 'must be a whole number, or a text such as "7.25"')


def _time(value: Any) -> Any:
    if isinstance(value, time):
        return value
    if isinstance(value, str) and _TIME.fullmatch(value):
        return time.fromisoformat(value)
    raise PydanticCustomError("time", 'must be a time of day such as "14:00"')


def _date(value: Any) -> Any:
    if isinstance(value, date):
        return value
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise PydanticCustomError("date", 'must be a date such as "2026-11-27"')


def _currency(code: str) -> str:
    if not is_currency(code):
        raise PydanticCustomError("currency", "must be a currency of ISO 4217, such as USD")
    return code


def _shown(percent: Decimal) -> str:
    text = f"{percent:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _sorted(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(sorted(set(values)))


Percent = Annotated[
    Decimal,
    BeforeValidator(_decimal),
    Field(gt=0, le=100),
    PlainSerializer(_shown),
    WithJsonSchema({"type": ["string", "integer"], "description": "Per cent.", "examples": ["15", "7.25"]}),
]
TimeOfDay = Annotated[
    time,
    BeforeValidator(_time),
    PlainSerializer(lambda value: value.strftime("%H:%M")),
    WithJsonSchema({"type": "string", "pattern": _TIME.pattern, "examples": ["14:00"]}),
]
Day = Annotated[
    date,
    BeforeValidator(_date),
    PlainSerializer(lambda value: value.isoformat()),
    WithJsonSchema({"type": "string", "format": "date", "examples": ["2026-11-27"]}),
]
CurrencyCode = Annotated[str, AfterValidator(_currency), Field(examples=["USD"])]
Amount = Annotated[int, Field(ge=0, le=MOST_AMOUNT)]
# By currency, in whole minor units.
Amounts = Annotated[dict[CurrencyCode, Amount], Field(min_length=1, max_length=50, examples=[{"USD": 500, "JPY": 700}])]
Units = Annotated[int, Field(ge=1, le=INT32_MAX)]
Name = Annotated[Text, Field(min_length=1, max_length=100)]
Key = Annotated[UUID, Field(strict=False)]


# JSON has lists, and what is frozen has tuples.
tuple_of = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)

Keys = Annotated[tuple[Key, ...], tuple_of, AfterValidator(_sorted), Field(min_length=1, max_length=1_000)]
Names = Annotated[tuple[Name, ...], tuple_of, AfterValidator(_sorted), Field(min_length=1, max_length=200)]
Currencies = Annotated[tuple[CurrencyCode, ...], tuple_of, AfterValidator(_sorted), Field(min_length=1)]
