"""How values are written in the cells of a file: money, truth, attributes, and text that a spreadsheet would run.

Each `read_*` takes a cell that is not empty and raises CellError; each `write_*` is its exact inverse.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import orjson
from babel.numbers import get_currency_precision

from commerce_core.money import is_currency

MOST_AMOUNT = 10**12
MOST_NUMBER = 2**53
JSON = "json:"
# What makes a spreadsheet take a cell for a formula; and how we write such text, which is undone when it is read.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_QUOTED_FORMULA = re.compile(r"'+[=+\-@\t\r]")
_DECIMAL = re.compile(r"([0-9]{1,13})(?:\.([0-9]{1,6}))?")
_WHOLE = re.compile(r"-?[0-9]{1,10}")
_TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class CellError(Exception):
    """What is wrong with a cell: a stable code, and a message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def read_text(cell: str) -> str:
    """Text as it was before `write_text`."""
    return cell[1:] if _QUOTED_FORMULA.match(cell) else cell


def write_text(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def read_currency(cell: str) -> str:
    if not is_currency(cell):
        raise CellError("unknown_currency", "is not an ISO 4217 currency")
    return cell


@lru_cache(maxsize=512)
def exponent_of(currency: str) -> int:
    decimals: int = get_currency_precision(currency)
    return decimals


def read_amount(cell: str, currency: str) -> int:
    """Minor units of a decimal number such as 29.99; no rounding, no float."""
    found = _DECIMAL.fullmatch(cell)
    if found is None:
        raise CellError("not_an_amount", "must be a number such as 29.99, with a point and without a currency sign")
    exponent = exponent_of(currency)
    fraction = found[2] or ""
    if len(fraction.rstrip("0")) > exponent:
        raise CellError("too_many_decimals", f"{currency} has {exponent} decimals")
    amount: int = int(found[1]) * 10**exponent + int(fraction[:exponent].ljust(exponent, "0") or 0)
    if amount > MOST_AMOUNT:
        raise CellError("too_large", f"must be at most {write_amount(MOST_AMOUNT, currency)}")
    return amount


def write_amount(amount: int, currency: str) -> str:
    exponent = exponent_of(currency)
    whole, fraction = divmod(amount, 10**exponent)
    return f"{whole}.{fraction:0{exponent}d}" if exponent else str(whole)


def read_truth(cell: str) -> bool:
    try:
        return _TRUTHS[cell.lower()]
    except KeyError:
        raise CellError("not_a_truth", "must be true or false") from None


def write_truth(value: bool) -> str:
    return "true" if value else "false"


def read_whole(cell: str, least: int, most: int) -> int:
    if not _WHOLE.fullmatch(cell):
        raise CellError("not_a_whole_number", "must be a whole number")
    number = int(cell)
    if not least <= number <= most:
        raise CellError("out_of_range", f"must be between {least} and {most}")
    return number


def read_attribute(cell: str) -> Any:
    """A string as it is, or what follows `json:`: a number, true, false, a list of strings, or a string."""
    if not cell.startswith(JSON):
        value: Any = read_text(cell)
    else:
        try:
            value = orjson.loads(cell[len(JSON) :])
        except orjson.JSONDecodeError:
            raise CellError("not_json", "what follows json: is not valid JSON") from None
    if isinstance(value, list):
        if len(value) > 50 or not all(isinstance(part, str) for part in value):
            raise CellError("not_an_attribute", "a list holds at most 50 texts")
        texts = value
    else:
        texts = [value] if isinstance(value, str) else []
        if isinstance(value, (int, float)) and abs(value) > MOST_NUMBER:
            raise CellError("number_too_large", "must be between -2**53 and 2**53")
        if value is None or isinstance(value, dict):
            raise CellError("not_an_attribute", "must be a text, a number, true, false, or a list of texts")
    if any(len(part) > 500 for part in texts):
        raise CellError("too_long", "must be at most 500 characters")
    if any("\x00" in part for part in texts):  # JSON can say so without holding it
        raise CellError("nul_character", "must not contain the NUL character")
    return value


def write_attribute(value: Any) -> str:
    if isinstance(value, str) and value and not value.startswith(JSON):
        return write_text(value)
    return JSON + orjson.dumps(value).decode()
