"""What a rule is held against: a basket's lines at their prices before discounts, its buyer, its time. Plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from commerce_core.pricing.basket import Basket, Buyer, Item

Categories = Mapping[UUID, frozenset[UUID]]
"""Of each category, itself and all those above it."""
_NOWHERE: frozenset[UUID] = frozenset()


@dataclass(slots=True)
class Line:
    """An item of the basket. `subtotal` is what all its units cost before any discount, in minor units."""

    number: int
    item: Item
    unit_amount: int
    categories: frozenset[UUID] = _NOWHERE

    @property
    def quantity(self) -> int:
        return self.item.quantity

    @property
    def subtotal(self) -> int:
        return self.unit_amount * self.item.quantity


@dataclass(frozen=True, slots=True)
class CouponFact:
    """A code of the basket that there is. `refusal` says why it cannot be used now: a reason, and what was compared."""

    id: UUID
    code: str
    campaign: str | None
    refusal: tuple[str, Any, Any] | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used of a rule so far: in all, how much it has cost, and by this customer."""

    uses: int = 0
    spent: int = 0
    by_customer: int = 0


@dataclass(frozen=True)
class Facts:
    """What only the database knows: read once for a quote. `is_first_order` is None for a guest.

    `list_prices` has for each variant what a unit costs from so many units on, by the price list that counts.
    """

    coupons: tuple[CouponFact, ...] = ()
    usage: Mapping[UUID, Usage] = field(default_factory=dict)
    is_first_order: bool | None = None
    list_prices: Mapping[UUID, Sequence[ListPrice]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ListPrice:
    """A price of a price list that this customer may have."""

    list_id: UUID
    name: str
    priority: int
    from_quantity: int
    amount: int


@dataclass(frozen=True)
class Situation:
    """A basket, as conditions see it."""

    basket: Basket
    lines: Sequence[Line]
    facts: Facts
    zone: ZoneInfo

    @property
    def now(self) -> datetime:
        return self.basket.now

    @property
    def buyer(self) -> Buyer:
        return self.basket.buyer

    @property
    def currency(self) -> str:
        return self.basket.currency

    @property
    def is_guest(self) -> bool:
        return self.basket.buyer.user_id is None

    @cached_property
    def local(self) -> datetime:
        """The time on the shop's clock on the wall."""
        return self.basket.now.astimezone(self.zone)

    @cached_property
    def subtotal(self) -> int:
        """What all goods cost before discounts."""
        return sum(line.subtotal for line in self.lines)

    @cached_property
    def units(self) -> int:
        return sum(line.quantity for line in self.lines)

    def coupon(self, code: str | None, campaign: str | None) -> CouponFact | None:
        """The first code of the basket that is this one, or of this campaign, whether it can be used or not."""
        found = [each for each in self.facts.coupons if each.code == code or (campaign and each.campaign == campaign)]
        return next((each for each in found if each.refusal is None), found[0] if found else None)


def lines_of(items: Iterable[tuple[Item, int]], categories: Categories) -> list[Line]:
    """Lines of items at their unit prices."""
    return [
        Line(number, item, unit_amount, categories.get(item.category_id, _NOWHERE) if item.category_id else _NOWHERE)
        for number, (item, unit_amount) in enumerate(items)
    ]
