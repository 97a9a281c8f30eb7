"""What no rule goes below: a margin over the cost, and the most that is ever taken off."""

from __future__ import annotations

from typing import NamedTuple

from commerce_pricing_rules.settings import Settings
from commerce_pricing_rules.situation import Line


class Floor(NamedTuple):
    """What all units of a line must still cost, in minor units, and which setting says so."""

    amount: int
    by: str


class Floors:
    """The floors of a shop, by its settings."""

    def __init__(self, settings: Settings) -> None:
        self._margin = settings.minimum_margin
        self._most = settings.maximum_discount

    def of(self, line: Line) -> Floor:
        """The higher of the two. A line that costs less than its floor anyway is not reduced, nor made dearer."""
        subtotal = line.subtotal
        most, parts = self._most.as_integer_ratio()
        floor = Floor(subtotal - subtotal * most // (100 * parts), "maximum-discount")
        cost = line.item.cost_amount
        if self._margin is not None and cost is not None:
            # The margin is a part of the price, price - cost >= price * margin; what is not whole is rounded up.
            margin, parts = self._margin.as_integer_ratio()
            at_least = -(-cost * line.quantity * 100 * parts // (100 * parts - margin))
            if at_least > floor.amount:
                return Floor(at_least, "minimum-margin")
        return floor
