"""What the queries answer: one product, one variant, as the database tells of them.

Tuples with names, because a page has hundreds of values to read: reading them from SQLAlchemy's rows takes ten times as
long. The order of the members is that of the columns in queries.py. Amounts are in minor units of `currency`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID


class ProductRow(NamedTuple):
    """A visible product with its category, its brand, and the units available of all its variants.

    `available` is None when one of them is not tracked: then there is no number to tell.
    """

    id: UUID
    slug: str
    name: str
    description: str
    status: str
    images: list[dict[str, str]]
    attributes: dict[str, Any]
    is_featured: bool
    published_at: datetime
    currency: str
    price_amount: int
    compare_at_amount: int | None
    price_min: int
    price_max: int
    variant_count: int
    category_id: UUID | None
    category_slug: str | None
    category_name: str | None
    brand_id: UUID | None
    brand_slug: str | None
    brand_name: str | None
    available: int | None


class VariantRow(NamedTuple):
    """A variant with its stock level."""

    id: str
    sku: str
    name: str
    currency: str
    price_amount: int
    compare_at_amount: int | None
    attributes: dict[str, Any]
    weight_grams: int | None
    is_default: bool
    on_hand: int
    reserved: int
    policy: str
    allow_backorder: bool
    low_stock_threshold: int
    version: int
