"""Tax: known examples, the tax table, and how it is rounded."""

from __future__ import annotations

from decimal import Decimal

import pytest
from support.baskets import assert_adds_up, basket, item, pricing, rule

from commerce_core.price_tables import TaxRate
from commerce_core.pricing.basket import Destination
from commerce_core.pricing.core_rules import Tax
from commerce_core.pricing.quote import Quote, Stage
from commerce_core.pricing.rounding import percent_of
from commerce_core.pricing.settlement import calculate
from commerce_core.settings import SettingsError, TaxSettings, parse_settings

SHOP = {"sqlalchemy.url": "postgresql://db/shop", "commerce.environment": "development"}


def tax_settings(rates: str) -> TaxSettings:
    return parse_settings({**SHOP, "tax.rates": rates}, environ={}).tax


def ten_percent(quote: Quote) -> None:
    for line in quote.lines:
        quote.discount_line(line.key, percent_of(line.net, 10))


TEN_OFF = rule("ten-off", Stage.LINE, ten_percent)


def test_119_with_tax_included_contain_19() -> None:
    quote = calculate(
        pricing(tax_rates="DE 19", tax_prices_include_tax="true"), basket(item(1, 11_900), currency="EUR")
    )
    assert (quote.subtotal, quote.tax_total, quote.total) == (11_900, 1_900, 11_900)
    assert quote.adjustments[0].included
    assert_adds_up(quote)


def test_100_without_tax_become_119() -> None:
    quote = calculate(pricing(tax_rates="DE 19"), basket(item(1, 10_000), currency="EUR"))
    assert (quote.subtotal, quote.tax_total, quote.total) == (10_000, 1_900, 11_900)
    assert quote.adjustments[0].label == "Tax 19 %"


def test_california_charges_seven_and_a_quarter() -> None:
    # 19.99 x 7.25 % = 1.449275
    quote = calculate(pricing(tax_rates="US-CA 7.25"), basket(item(1, 1_999), country="US", region="CA"))
    assert (quote.tax_total, quote.total) == (145, 2_144)
    assert quote.trace[-1]["details"] == {"on": "line", "base": 1_999, "rate": "US-CA 7.25"}


@pytest.mark.parametrize(("half", "tax"), [("up", 13), ("even", 12)])
def test_exactly_half_a_cent_goes_where_the_setting_says(half: str, tax: int) -> None:
    # 1.25 x 10 % = 0.125
    assert calculate(pricing(tax_rates="* 10", tax_round_half=half), basket(item(1, 125))).tax_total == tax


@pytest.mark.parametrize(("rounding", "taxes"), [("line", [0, 0, 0]), ("order", [1, 0, 0])])
def test_three_lines_of_33_cents_with_ten_per_cent_off(rounding: str, taxes: list[int]) -> None:
    # 0.33 less 10 % is 0.30 (0.033 rounds to 0.03). 1.5 % of that is 0.0045, and of all three 0.0135.
    shop = pricing(TEN_OFF, tax_rates="* 1.5", tax_rounding=rounding)
    quote = calculate(shop, basket(item(1, 33), item(2, 33), item(3, 33)))
    assert [(line.subtotal, line.discount_total, line.net) for line in quote.lines] == [(33, 3, 30)] * 3
    assert [line.tax_total for line in quote.lines] == taxes
    assert quote.total == 90 + sum(taxes)
    assert_adds_up(quote)


def test_rounding_by_order_is_exact_on_the_whole_and_spread_over_the_lines() -> None:
    lines = [item(number, 10) for number in range(1, 6)]
    by_line = calculate(pricing(tax_rates="* 5"), basket(*lines))
    by_order = calculate(pricing(tax_rates="* 5", tax_rounding="order"), basket(*lines))
    # 5 % of 0.10 is half a cent, up to a whole one on each of five lines; of 0.50 it is 2.5 cents.
    assert (by_line.tax_total, by_order.tax_total) == (5, 3)
    assert [line.tax_total for line in by_order.lines] == [1, 1, 1, 0, 0]


def test_each_rate_is_rounded_by_itself() -> None:
    shop = pricing(tax_rates="DE 19, DE reduced 7", tax_rounding="order")
    quote = calculate(shop, basket(item(1, 103), item(2, 103), item(3, 103, tax_class="reduced")))
    # 2.06 x 19 % = 0.3914; 1.03 x 7 % = 0.0721
    assert [line.tax_total for line in quote.lines] == [20, 19, 7]


def test_shipping_and_fees_are_taxed_by_their_class() -> None:
    fee = rule("fee", Stage.FEE, lambda quote: quote.add_fee(200))
    shop = pricing(fee, tax_rates="DE 19, DE reduced 7", tax_shipping_class="reduced", shipping_flat="EUR 1000")
    quote = calculate(shop, basket(item(1, 100), currency="EUR"))
    assert [(a.key is None, a.amount) for a in quote.adjustments if a.kind == "tax"] == [
        (False, 19),
        (True, 70),
        (True, 14),
    ]
    assert quote.total == 100 + 1_000 + 200 + 19 + 70 + 14


@pytest.mark.parametrize(
    ("currency", "amount", "tax", "total"), [("JPY", 1_980, 198, 2_178), ("KWD", 1_234_567, 123_457, 1_358_024)]
)
def test_minor_units_are_the_currencys_own(currency: str, amount: int, tax: int, total: int) -> None:
    quote = calculate(pricing(tax_rates="* 10"), basket(item(1, amount), currency=currency))
    assert (quote.tax_total, quote.total) == (tax, total)


def test_a_basket_that_goes_nowhere_yet_is_taxed_by_default_and_says_so() -> None:
    rates = "DE 19, US-CA 7.25, * 1"
    shop = pricing(tax_rates=rates, tax_default_country="US", tax_default_region="CA")
    quote = calculate(shop, basket(item(1, 10_000), country=None))
    assert (quote.tax_estimated, quote.tax_total) == (True, 725)
    assert calculate(shop, basket(item(1, 10_000))).tax_estimated is False
    quote = calculate(pricing(tax_rates=rates), basket(item(1, 10_000), country=None))
    assert (quote.tax_estimated, quote.tax_total) == (True, 100)


def test_a_place_without_a_rate_is_untaxed_and_the_trace_says_so() -> None:
    quote = calculate(pricing(tax_rates="DE 19, FR 0"), basket(item(1, 100), country="CH"))
    assert (quote.tax_total, quote.trace[-1]["reason"], quote.trace[-1]["details"]["place"]) == (
        0,
        "no-rate-for-place",
        "CH",
    )
    quote = calculate(pricing(tax_rates="DE 19, FR 0"), basket(item(1, 100), country="FR"))
    assert (quote.tax_total, quote.trace[-1]["reason"]) == (0, "zero-rated")


TABLE = """
    DE 19
    DE reduced 7%
    US-CA 7.25
    US 1
    US food 0.5
    * exempt 0
    * 2
"""


@pytest.mark.parametrize(
    ("country", "region", "tax_class", "rate"),
    [
        ("DE", None, "standard", "DE 19"),
        ("DE", "BY", "reduced", "DE reduced 7"),
        ("DE", None, "unheard-of", "DE 19"),
        ("US", "CA", "standard", "US-CA 7.25"),
        ("US", " us-ca ", "standard", "US-CA 7.25"),
        ("US", "NY", "standard", "US 1"),
        ("US", "CA", "food", "US food 0.5"),
        ("US", "CA", "exempt", "* exempt 0"),
        ("FR", None, "reduced", "* 2"),
    ],
)
def test_the_most_specific_rate_wins_and_a_class_is_more_specific_than_a_place(
    country: str, region: str | None, tax_class: str, rate: str
) -> None:
    found = Tax(tax_settings(TABLE)).rate(Destination(country=country, region=region), tax_class)
    assert str(found) == rate


def test_the_table_reads_back_as_it_was_written() -> None:
    settings = tax_settings("DE 19\n DE  reduced 7 %\n\nUS-CA 7.25, * 0")
    assert settings.rates[1] == TaxRate("DE", None, "reduced", Decimal(7))
    assert str(settings.rates) == "DE 19, DE reduced 7, US-CA 7.25, * 0"


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("tax.rates", "Germany 19", "'Germany 19' should be a place"),
        ("tax.rates", "DE", "'DE' should be a place"),
        ("tax.rates", "DE 19,5", "'5' should be a place"),
        ("tax.rates", "DE -1", "'DE -1' should be a place"),
        ("tax.rates", "DE 1e1", "'DE 1e1' should be a place"),
        ("tax.rates", "DE 101", "more than 100 per cent"),
        ("tax.rates", "DE 19\nDE 7", "DE has two rates for standard"),
        ("tax.round_half", "down", "'up' or 'even'"),
        ("tax.default_country", "Germany", "pattern"),
        ("tax.default_region", "CA", "needs tax.default_country"),
        ("shipping.flat", "USD 5.00", "'USD 5.00' should be a currency and whole minor units, as in USD 500"),
        ("shipping.flat", "500", "as in USD 500"),
        ("shipping.flat", "USD 500, USD 600", "USD is there twice"),
        ("shipping.flat", "ZZZ 500", "ZZZ is no currency"),
        ("shipping.free_from", "USD 9999999999999", "more than"),
    ],
)
def test_a_table_with_a_mistake_is_refused_with_the_line_at_fault(key: str, value: str, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_settings({**SHOP, key: value}, environ={})
    [line] = caught.value.problems
    assert problem in line
