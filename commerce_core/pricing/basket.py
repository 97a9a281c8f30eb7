"""What is to be priced: items, a buyer, a destination. Plain values, made by carts, orders and product pages alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """So many units of a variant. `key` names the item within its basket (a cart line's id, say).

    `unit_amount` is the catalogue's price, in minor units of the basket's currency.
    """

    key: UUID
    variant_id: UUID
    product_id: UUID
    category_id: UUID | None
    brand_id: UUID | None
    sku: str
    name: str
    quantity: int
    unit_amount: int
    attributes: Mapping[str, Any]
    weight_grams: int | None
    tax_class: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where it goes, as far as that matters for tax and shipping."""

    country: str
    region: str | None = None
    postal_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Buyer:
    """Who asks for the price. All None for a guest of whom nothing is known."""

    owner: str | None = None
    user_id: UUID | None = None
    tier: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Basket:
    """Everything that a price may depend on. `now` is in UTC."""

    currency: str
    items: tuple[Item, ...]
    now: datetime
    buyer: Buyer = field(default_factory=Buyer)
    destination: Destination | None = None
    coupons: tuple[str, ...] = ()
