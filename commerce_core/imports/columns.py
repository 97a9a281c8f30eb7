"""The columns of a file of products, and what their cells may hold. docs/imports.md says the same for people."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from pydantic import TypeAdapter, ValidationError

from commerce_core.database import uuid7
from commerce_core.imports import cells
from commerce_core.imports.cells import CellError, read_text, read_truth, read_whole
from commerce_core.imports.reports import Report
from commerce_core.merchandising.schemas import SLUG_PATTERN, TAX_CLASS_PATTERN, Images, check_slug

ATTRIBUTE = "attribute:"
VARIANT_ATTRIBUTE = "variant_attribute:"
AMOUNTS = ("price", "compare_at", "cost")
PRODUCT_COLUMNS = (
    "slug",
    "name",
    "description",
    "status",
    "category",
    "brand",
    "is_featured",
    "popularity",
    "tax_class",
    "images",
)
VARIANT_COLUMNS = ("sku", "variant_name", "is_default", "currency", *AMOUNTS, "weight_grams")
LEVEL_COLUMNS = ("track_stock", "allow_backorder", "low_stock_threshold")
COLUMNS = (*PRODUCT_COLUMNS, *VARIANT_COLUMNS, *LEVEL_COLUMNS)

_SLUG = re.compile(SLUG_PATTERN)
_TAX_CLASS = re.compile(TAX_CLASS_PATTERN)
_IMAGES: TypeAdapter[Any] = TypeAdapter(Images)


def _text(longest: int) -> Callable[[str], str]:
    def read(cell: str) -> str:
        text = read_text(cell).strip()
        if len(text) > longest:
            raise CellError("too_long", f"must be at most {longest} characters")
        return text

    return read


def _read_slug(cell: str) -> str:
    if len(cell) > 120 or not _SLUG.fullmatch(cell):
        raise CellError("not_a_slug", "must be small letters and digits, joined by single hyphens, at most 120")
    try:
        return check_slug(cell)
    except ValueError:
        raise CellError("not_a_slug", "must not look like an id") from None


def _read_sku(cell: str) -> str:
    sku = _text(100)(cell)
    if not sku.isprintable():
        raise CellError("not_printable", "must be printable")
    return sku


def _read_status(cell: str) -> str:
    if cell not in ("draft", "active", "archived"):
        raise CellError("not_a_status", "must be draft, active or archived")
    return cell


def _read_tax_class(cell: str) -> str:
    if len(cell) > 50 or not _TAX_CLASS.fullmatch(cell):
        raise CellError("not_a_tax_class", "must be small letters, digits, - and _, at most 50")
    return cell


def _read_images(cell: str) -> str:
    try:
        images = _IMAGES.validate_json(cell)
    except ValidationError as error:
        raise CellError("not_images", f"must be a JSON list of url and alt ({error.errors()[0]['msg']})") from None
    return orjson.dumps([image.model_dump() for image in images]).decode()


# What a cell that is not empty becomes. Categories and brands depend on the shop, amounts on the currency.
_READERS: dict[str, Callable[[str], Any]] = {
    "slug": _read_slug,
    "name": _text(200),
    "description": _text(20_000),
    "status": _read_status,
    "is_featured": read_truth,
    "popularity": lambda cell: read_whole(cell, 0, 1_000_000_000),
    "tax_class": _read_tax_class,
    "images": _read_images,
    "sku": _read_sku,
    "variant_name": _text(200),
    "is_default": read_truth,
    "currency": cells.read_currency,
    "weight_grams": lambda cell: read_whole(cell, 0, 100_000_000),
    "track_stock": read_truth,
    "allow_backorder": read_truth,
    "low_stock_threshold": lambda cell: read_whole(cell, 0, 1_000_000_000),
}
# What an empty cell empties; other columns are left as they are by an empty cell.
_EMPTY = {"description": "", "images": "[]"}

# The columns of the staging table, and their types.
STAGED = {
    "row": "integer",
    "new_product_id": "uuid",
    "new_variant_id": "uuid",
    "slug": "text",
    "name": "text",
    "description": "text",
    "status": "text",
    "category": "uuid",
    "brand": "uuid",
    "is_featured": "boolean",
    "popularity": "integer",
    "tax_class": "text",
    "images": "jsonb",
    "sku": "text",
    "variant_name": "text",
    "is_default": "boolean",
    "currency": "text",
    "price": "bigint",
    "compare_at": "bigint",
    "cost": "bigint",
    "weight_grams": "integer",
    "track_stock": "boolean",
    "allow_backorder": "boolean",
    "low_stock_threshold": "integer",
    "attributes": "jsonb",
    "variant_attributes": "jsonb",
}


class ProductRows:
    """Turns records into rows of the staging table, and notes what is wrong with them."""

    def __init__(
        self, header: Sequence[str], categories: Mapping[str, UUID], brands: Mapping[str, UUID], report: Report
    ) -> None:
        self._report = report
        readers = {
            **_READERS,
            "category": lambda cell: _find(categories, cell, "category"),
            "brand": lambda cell: _find(brands, cell, "brand"),
        }
        places = {name: place for place, name in enumerate(header)}
        self._plain = [(name, places[name], readers[name]) for name in readers if name in places]
        self._amounts = [(name, places[name]) for name in AMOUNTS if name in places]
        self._attributes = _prefixed(header, ATTRIBUTE)
        self._variant_attributes = _prefixed(header, VARIANT_ATTRIBUTE)

    def read(self, row: int, record: Sequence[str]) -> tuple[Any, ...] | None:
        """The staged row, or None when something is wrong with it."""
        errors_before = self._report.error_count
        found: dict[str, Any] = {"row": row, "new_product_id": uuid7(), "new_variant_id": uuid7()}
        for name, place, reader in self._plain:
            cell = record[place].strip()
            found[name] = self._cell(row, name, reader, cell) if cell else _EMPTY.get(name)
        for name, place in self._amounts:
            cell = record[place].strip()
            found[name] = self._amount(row, name, cell, found.get("currency")) if cell else None
        found["attributes"] = self._read_attributes(row, record, self._attributes, ATTRIBUTE)
        found["variant_attributes"] = self._read_attributes(row, record, self._variant_attributes, VARIANT_ATTRIBUTE)
        if found["slug"] is None and self._report.error_count == errors_before:
            self._report.add(row, "slug", "missing", "is needed in every row")
        if self._report.error_count > errors_before:
            return None
        return tuple(found.get(name) for name in STAGED)

    def _cell(self, row: int, name: str, reader: Callable[[str], Any], cell: str) -> Any:
        try:
            return reader(cell)
        except CellError as error:
            self._report.add(row, name, error.code, error.message)
            return None

    def _amount(self, row: int, name: str, cell: str, currency: str | None) -> int | None:
        if currency is None:
            self._report.add(row, name, "currency_missing", "an amount needs the currency of its row")
            return None
        amount: int | None = self._cell(row, name, lambda text: cells.read_amount(text, currency), cell)
        return amount

    def _read_attributes(
        self, row: int, record: Sequence[str], places: Sequence[tuple[str, int]], prefix: str
    ) -> str | None:
        """Those in the file, as JSON; null stands for one that is to go."""
        if not places:
            return None
        found = {
            name: self._cell(row, prefix + name, cells.read_attribute, record[place]) if record[place] else None
            for name, place in places
        }
        if sum(value is not None for value in found.values()) > 50:
            self._report.add(row, None, "too_many_attributes", "a product or variant has at most 50 attributes")
        text = orjson.dumps(found).decode()
        if len(text) > 16_384:
            self._report.add(row, None, "too_large", "attributes must be at most 16 KB in all")
        return text


def _prefixed(header: Sequence[str], prefix: str) -> list[tuple[str, int]]:
    return [(name[len(prefix) :], place) for place, name in enumerate(header) if name.startswith(prefix)]


def _find(known: Mapping[str, UUID], cell: str, kind: str) -> UUID:
    """By path (`clothing/shirts`) or slug."""
    found = known.get(cell)
    if found is None:
        raise CellError(f"unknown_{kind}", f"there is no such {kind} in the shop")
    return found
