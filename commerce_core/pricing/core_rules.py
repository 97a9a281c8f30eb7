"""The rules of the core, registered like anybody's."""

from __future__ import annotations

from commerce_core.pricing.quote import Quote, Stage
from commerce_core.pricing.rules import PriceRule


def catalogue_price(quote: Quote) -> None:
    """The price in the catalogue."""
    for line in quote.lines:
        quote.set_unit_price(line.key, line.item.unit_amount)


CATALOGUE_PRICE = PriceRule(
    code="catalogue-price", source="core", stage=Stage.BASE, order=0, label="Catalogue price", apply=catalogue_price
)
