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

    In minor units of the basket's currency: `unit_amount` is the catalogue's price, and `cost_amount` what a unit costs
    the shop, None if nobody has said.
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
    cost_amount: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where it goes, as far as that matters for tax and shipping."""

    country: str
    region: str | None = None
    postal_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Buyer:
    """Who asks for the price. All None for a guest of whom nothing is known.

    `channel` is where they say they come from (`X-Channel`): an app, a fair, a partner. It proves nothing.
    """

    owner: str | None = None
    user_id: UUID | None = None
    tier: str | None = None
    email: str | None = None
    channel: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Basket:
    """Everything that a price may depend on. `now` is in UTC.

    With `explain`, somebody wants to know all there is to know: rules put into the trace what else would be too much.
    """

    currency: str
    items: tuple[Item, ...]
    now: datetime
    buyer: Buyer = field(default_factory=Buyer)
    destination: Destination | None = None
    coupons: tuple[str, ...] = ()
    explain: bool = False
