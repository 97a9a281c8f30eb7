"""What it does to prices. A rule is pure: everything that it may depend on is in the quote."""

from __future__ import annotations

from commerce_core.pricing.quote import Quote, Stage
from commerce_core.pricing.rounding import percent_of
from commerce_core.pricing.rules import PriceRule

from commerce_${name}.settings import Settings


def bulk_rule(settings: Settings) -> PriceRule:
    """Who buys many of one variant pays less for each."""

    def apply(quote: Quote) -> None:
        for line in quote.lines:
            if line.quantity >= settings.bulk_from:
                quote.discount_line(line.key, percent_of(line.net, settings.bulk_percent))
            else:
                quote.reject("BULK", "min-quantity", key=line.key, wanted=settings.bulk_from, found=line.quantity)

    return PriceRule(
        code="${name}-bulk",
        source="${name}",
        stage=Stage.LINE,
        order=100,
        label="Bulk",
        apply=apply,
    )
