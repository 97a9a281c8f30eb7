"""Under which tags answers are kept: what has to change for them to be old. What drops them: cache/changes.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from commerce_core.cache.changes import CATALOGUE, IN_STOCK, LISTS, brand_tag, category_tag, product_tag
from commerce_core.catalog.schemas import FiltersWithinCategory


def of_product(product: dict[str, Any]) -> Iterator[str]:
    """Of a ProductDetail."""
    yield CATALOGUE
    yield product_tag(product["id"])
    if product["category"]:
        yield category_tag(product["category"]["id"])
    if product["brand"]:
        yield brand_tag(product["brand"]["id"])


def of_page(page: dict[str, Any], query: FiltersWithinCategory) -> Iterator[str]:
    """Of a ProductPage. Categories and brands are left out: where one changes, every list is dropped."""
    yield CATALOGUE
    yield LISTS
    if query.in_stock is not None:
        yield IN_STOCK
    for product in page["data"]:
        yield product_tag(product["id"])


def of_groups(_groups: dict[str, Any]) -> Iterator[str]:
    """Of categories and brands, one or all."""
    yield CATALOGUE
    yield LISTS
