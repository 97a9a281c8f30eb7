"""What runtime hooks are told about carts, holds and orders: figures and ids that nobody can change by accident.

Amounts are whole minor units of the `currency` beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldLine:
    """Units that are to be held, or held for longer (then `hold_id` says which hold)."""

    variant_id: UUID
    quantity: int
    hold_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CartLineFacts:
    """A line of a cart. `id` is None for one that is about to be put in."""

    id: UUID | None
    variant_id: UUID
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CartFacts:
    """A cart as it is about to be. `id` is None where a single hold is ordered: its lines are the hold's."""

    id: UUID | None
    owner: str | None
    currency: str | None
    coupons: tuple[str, ...]
    lines: tuple[CartLineFacts, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLineFacts:
    """A line of an order. `total` is before its discount."""

    id: UUID
    variant_id: UUID
    sku: str
    quantity: int
    unit_price: int
    total: int
    discount_total: int
    tax_total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFacts:
    """An order. For the rest, ask `ctx.session`."""

    id: UUID
    number: str
    owner: str | None
    status: str
    payment_status: str
    fulfillment_status: str
    currency: str
    subtotal: int
    discount_total: int
    shipping_total: int
    fee_total: int
    tax_total: int
    total: int
    coupons: tuple[str, ...]
    customer: Mapping[str, Any] | None
    shipping_address: Mapping[str, Any] | None
    billing_address: Mapping[str, Any] | None
