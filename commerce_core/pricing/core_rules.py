"""The rules of the core: the catalogue's price, flat shipping, sales tax. Registered like anybody's."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from commerce_core.price_tables import STANDARD, TaxRate
from commerce_core.pricing.basket import Destination
from commerce_core.pricing.quote import Quote, Stage
from commerce_core.pricing.rounding import divide, spread
from commerce_core.pricing.rules import PriceRule
from commerce_core.settings import CoreSettings, ShippingSettings, TaxSettings


def catalogue_price(quote: Quote) -> None:
    """The price in the catalogue."""
    for line in quote.lines:
        quote.set_unit_price(line.key, line.item.unit_amount)


CATALOGUE_PRICE = PriceRule(
    code="catalogue-price", source="core", stage=Stage.BASE, order=0, label="Catalogue price", apply=catalogue_price
)


def core_rules(settings: CoreSettings) -> tuple[PriceRule, ...]:
    """The rules that every shop has, as its settings want them."""
    return (
        CATALOGUE_PRICE,
        PriceRule(
            code="flat-shipping",
            source="core",
            stage=Stage.SHIPPING,
            label="Shipping",
            apply=FlatShipping(settings.shipping).apply,
        ),
        PriceRule(code="tax", source="core", stage=Stage.TAX, label="Tax", apply=Tax(settings.tax).apply),
    )


class FlatShipping:
    """One price for a delivery; none from a certain total of goods (after discounts) on."""

    def __init__(self, settings: ShippingSettings) -> None:
        self._flat = settings.flat
        self._free_from = settings.free_from

    def apply(self, quote: Quote) -> None:
        amount = self._flat.get(quote.currency)
        threshold = self._free_from.get(quote.currency)
        if not quote.lines:
            quote.reject("flat-shipping", "empty-basket")
        elif amount is None:
            quote.reject("flat-shipping", "no-amount-for-currency", currency=quote.currency)
        elif threshold is not None and quote.goods_total >= threshold:
            quote.reject("flat-shipping", "free-from", goods_total=quote.goods_total, free_from=threshold)
        else:
            quote.add_shipping(amount)


class _Part(NamedTuple):
    """Something that is taxed: a line, or (without a key) shipping or fees."""

    what: str
    key: UUID | None
    amount: int
    rate: TaxRate


class Tax:
    """Tax by country and region, for each class of goods.

    A rate for the item's class beats one for the standard class; of those, the region's beats the country's, and that
    `*`. With `tax.rounding = order`, each rate's tax is rounded once for the whole order and spread over what it is on.
    """

    def __init__(self, settings: TaxSettings) -> None:
        self._rates = {(rate.place, rate.tax_class): rate for rate in settings.rates}
        self._settings = settings

    def apply(self, quote: Quote) -> None:
        if not self._rates:
            quote.reject("tax", "no-rates")
            return
        destination = quote.basket.destination
        if destination is None:
            quote.estimate_tax()
            destination = self._default_destination()
        parts = list(self._parts(quote, destination))
        for rate in dict.fromkeys(part.rate for part in parts):
            self._tax(quote, rate, [part for part in parts if part.rate == rate])

    def rate(self, destination: Destination | None, tax_class: str) -> TaxRate | None:
        """The most specific rate; None if there is none."""
        for wanted in dict.fromkeys((tax_class, STANDARD)):
            for place in _places(destination):
                found = self._rates.get((place, wanted))
                if found is not None:
                    return found
        return None

    def _default_destination(self) -> Destination | None:
        country = self._settings.default_country
        return None if country is None else Destination(country=country, region=self._settings.default_region)

    def _parts(self, quote: Quote, destination: Destination | None) -> Iterator[_Part]:
        shipping_class = self._settings.shipping_class
        found: dict[str, TaxRate | None] = {}
        taxable: list[tuple[str, UUID | None, int, str]] = [
            ("line", line.key, line.net, line.item.tax_class) for line in quote.lines
        ]
        taxable += [
            ("shipping", None, quote.shipping_total, shipping_class),
            ("fees", None, quote.fee_total, shipping_class),
        ]
        for what, key, amount, tax_class in taxable:
            if not amount:
                continue
            if tax_class not in found:
                found[tax_class] = self.rate(destination, tax_class)
            rate = found[tax_class]
            if rate is None:
                quote.reject(
                    "tax", "no-rate-for-place", key=key, on=what, tax_class=tax_class, place=_name(destination)
                )
            elif not rate.percent:
                quote.reject("tax", "zero-rated", key=key, on=what, rate=str(rate))
            else:
                yield _Part(what, key, amount, rate)

    def _tax(self, quote: Quote, rate: TaxRate, parts: list[_Part]) -> None:
        numerator, denominator = rate.percent.as_integer_ratio()
        denominator *= 100
        if quote.prices_include_tax:
            # 19 % on top is 19/119 of what is paid.
            denominator += numerator
        half = self._settings.round_half
        amounts = [part.amount for part in parts]
        if self._settings.rounding == "order":
            taxes = spread(divide(sum(amounts) * numerator, denominator, half), amounts)
        else:
            taxes = [divide(amount * numerator, denominator, half) for amount in amounts]
        for part, tax in zip(parts, taxes, strict=True):
            quote.add_tax(
                tax,
                key=part.key,
                label=f"Tax {_shown(rate.percent)} %",
                on=part.what,
                base=part.amount,
                rate=str(rate),
            )


def _places(destination: Destination | None) -> Iterator[str]:
    """The names a tax table may have for a destination, the narrowest first."""
    if destination is not None:
        if destination.region:
            # Some write CA, some US-CA.
            region = destination.region.strip().upper().removeprefix(f"{destination.country}-")
            yield f"{destination.country}-{region}"
        yield destination.country
    yield "*"


def _name(destination: Destination | None) -> str:
    return next(_places(destination))


def _shown(percent: Decimal) -> str:
    """19, not 19.00."""
    text = f"{percent:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
