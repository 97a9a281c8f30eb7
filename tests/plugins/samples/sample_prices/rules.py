from commerce_core.pricing.quote import Stage
from commerce_core.pricing.rounding import percent_of
from commerce_core.pricing.rules import PriceRule


def percent_rule(code, percent, exclusive_group=None, order=100):
    def apply(quote):
        for line in quote.lines:
            quote.discount_line(line.key, percent_of(line.net, percent), exclusive_group=exclusive_group)

    return PriceRule(code=code, source="whatever", stage=Stage.LINE, order=order, label=code, apply=apply)
