"""Whatever is in the basket and whatever the rules do: the sums of a quote add up to the minor unit."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from support.baskets import assert_adds_up, basket, item, pricing, rule

import commerce_core.pricing
from commerce_core.money import Money
from commerce_core.pricing.basket import Basket, Item
from commerce_core.pricing.quote import Quote, Stage
from commerce_core.pricing.rounding import percent_of
from commerce_core.pricing.rules import PriceRule
from commerce_core.pricing.settlement import calculate

SOAK = bool(os.environ.get("COMMERCE_SOAK"))
thorough = settings(max_examples=5_000 if SOAK else 150, deadline=None)

CURRENCIES = st.sampled_from(["USD", "EUR", "JPY", "KWD"])
PLACES = [(None, None), ("DE", None), ("US", "CA"), ("US", "NY"), ("FR", None)]
PERCENT = st.decimals(0, 100, places=2)

Apply = Callable[[Quote], None]


@st.composite
def items(draw: st.DrawFn) -> tuple[Item, ...]:
    prices = draw(st.lists(st.integers(0, 10_000_000), max_size=8))
    return tuple(
        item(number, price, draw(st.integers(1, 50)), draw(st.sampled_from(["standard", "reduced", "books"])))
        for number, price in enumerate(prices, 1)
    )


@st.composite
def baskets(draw: st.DrawFn) -> Basket:
    country, region = draw(st.sampled_from(PLACES))
    return basket(*draw(items()), currency=draw(CURRENCIES), country=country, region=region)


@st.composite
def shops(draw: st.DrawFn) -> dict[str, str]:
    """Settings of taxes and shipping."""
    rates = [
        f"{place} {draw(PERCENT)}"
        for place in ("DE", "DE reduced", "US-CA", "US", "US books", "* reduced", "*")
        if draw(st.booleans())
    ]
    currency = draw(CURRENCIES)
    return {
        "tax_rates": ", ".join(rates),
        "tax_prices_include_tax": draw(st.sampled_from(["true", "false"])),
        "tax_rounding": draw(st.sampled_from(["line", "order"])),
        "tax_round_half": draw(st.sampled_from(["up", "even"])),
        "tax_shipping_class": draw(st.sampled_from(["standard", "reduced"])),
        "tax_default_country": draw(st.sampled_from(["DE", "US"])),
        "shipping_flat": f"{currency} {draw(st.integers(0, 5_000))}",
        "shipping_free_from": f"{currency} {draw(st.integers(0, 1_000_000))}",
    }


def each_line(percent: int, group: str | None) -> Apply:
    def apply(quote: Quote) -> None:
        for line in quote.lines:
            quote.discount_line(line.key, percent_of(line.net, percent), exclusive_group=group)

    return apply


def new_price(percent: int, group: str | None) -> Apply:
    def apply(quote: Quote) -> None:
        for line in quote.lines:
            quote.set_unit_price(line.key, percent_of(line.unit_amount, percent), exclusive_group=group)

    return apply


def off_cart(amount: int, group: str | None, every: int) -> Apply:
    def apply(quote: Quote) -> None:
        quote.discount_cart(amount, keys={line.key for line in quote.lines[::every]}, exclusive_group=group)

    return apply


@st.composite
def rules(draw: st.DrawFn) -> list[PriceRule]:
    group = st.sampled_from([None, None, "a", "b"])
    made: list[tuple[Stage, Apply]] = []
    for _ in range(draw(st.integers(0, 6))):
        stage = draw(st.sampled_from([s for s in Stage if s not in (Stage.BASE, Stage.TAX)]))
        amount = draw(st.integers(0, 100_000))
        chosen = draw(group)
        apply: Apply
        match stage:
            case Stage.CATALOG:
                apply = new_price(draw(st.integers(0, 130)), chosen)
            case Stage.LINE:
                apply = each_line(draw(st.integers(0, 100)), chosen)
            case Stage.CART:
                apply = off_cart(amount, chosen, draw(st.integers(1, 3)))
            case Stage.SHIPPING if draw(st.booleans()):
                apply = lambda quote, amount=amount, chosen=chosen: quote.reduce_shipping(  # type: ignore[misc] # noqa: E731
                    amount, exclusive_group=chosen
                )
            case Stage.SHIPPING:
                apply = lambda quote, amount=amount, chosen=chosen: quote.add_shipping(  # type: ignore[misc] # noqa: E731
                    amount, exclusive_group=chosen
                )
            case Stage.FEE:
                apply = lambda quote, amount=amount, chosen=chosen: quote.add_fee(  # type: ignore[misc] # noqa: E731
                    amount, exclusive_group=chosen
                )
            case _:
                apply = lambda quote: quote.round_total(-(quote.total % 5))  # noqa: E731
        made.append((stage, apply))
    orders = st.sampled_from([1, 100, 100, 200])
    return [rule(f"rule-{number}", stage, apply, draw(orders)) for number, (stage, apply) in enumerate(made)]


@thorough
@given(baskets(), shops(), rules())
def test_every_quote_adds_up(wanted: Basket, shop: dict[str, str], added: list[PriceRule]) -> None:
    quote = calculate(pricing(*added, **shop), wanted)
    assert_adds_up(quote)
    assert len(quote.lines) == len(wanted.items)
    for entry in quote.trace:
        assert entry["outcome"] in ("applied", "clamped", "rejected")
        assert ("reason" in entry) == (entry["outcome"] == "rejected")
    assert Money.of(quote.total, quote.currency).formatted


@thorough
@given(baskets(), shops(), rules(), st.randoms(use_true_random=False))
def test_the_order_in_which_rules_are_registered_changes_nothing(
    wanted: Basket, shop: dict[str, str], added: list[PriceRule], chance: object
) -> None:
    shuffled = list(added)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = calculate(pricing(*added, **shop), wanted), calculate(pricing(*shuffled, **shop), wanted)
    assert (one.total, one.lines, one.adjustments, one.trace) == (
        other.total,
        other.lines,
        other.adjustments,
        other.trace,
    )


@thorough
@given(baskets(), shops(), rules())
def test_the_trace_replays_to_the_price(wanted: Basket, shop: dict[str, str], added: list[PriceRule]) -> None:
    quote = calculate(pricing(*added, **shop), wanted)
    quantity = {str(line.key): line.quantity for line in quote.lines}
    replayed = 0
    for entry in quote.trace:
        if entry["outcome"] == "rejected" or (entry["kind"] == "tax" and quote.prices_include_tax):
            continue
        replayed += entry["amount"] * (quantity[entry["key"]] if entry["kind"] == "price" else 1)
        if "lines" in entry:
            assert sum(share["amount"] for share in entry["lines"]) == entry["amount"]
    assert replayed == quote.total


@thorough
@given(baskets(), shops(), rules())
def test_a_rule_that_does_not_apply_changes_nothing_but_the_trace(
    wanted: Basket, shop: dict[str, str], added: list[PriceRule]
) -> None:
    idle = rule("idle", Stage.LINE, lambda quote: quote.reject("idle", "never"), order=1)
    without, with_it = calculate(pricing(*added, **shop), wanted), calculate(pricing(*added, idle, **shop), wanted)
    assert (without.total, without.adjustments) == (with_it.total, with_it.adjustments)
    assert [entry for entry in with_it.trace if entry["code"] != "idle"] == without.trace


@thorough
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=20), PERCENT, st.booleans(), st.booleans(), st.booleans())
def test_tax_is_the_exact_tax_rounded_by_line_or_by_order(
    prices: list[int], percent: Decimal, by_order: bool, included: bool, even: bool
) -> None:
    quote = calculate(
        pricing(
            tax_rates=f"* {percent}",
            tax_rounding="order" if by_order else "line",
            tax_prices_include_tax=str(included),
            tax_round_half="even" if even else "up",
        ),
        basket(*(item(number, price) for number, price in enumerate(prices))),
    )
    rate = Fraction(percent) / 100
    exact = [price * (rate / (1 + rate) if included else rate) for price in prices]

    def rounded(amount: Fraction) -> int:
        return round(amount) if even else (amount + Fraction(1, 2)).__floor__()

    if by_order:
        assert quote.tax_total == rounded(sum(exact, Fraction(0)))
        assert all(abs(line.tax_total - tax) < 1.5 for line, tax in zip(quote.lines, exact, strict=True))
    else:
        assert [line.tax_total for line in quote.lines] == [rounded(tax) for tax in exact]


def test_there_is_no_float_in_pricing() -> None:
    folder = Path(commerce_core.pricing.__path__[0])
    for path in [*folder.glob("*.py"), folder.parent / "price_tables.py", folder.parent / "orders" / "placing.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{path.name}:{getattr(node, 'lineno', 0)}"
            assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), where
            assert not isinstance(node, ast.Div), f"{path.name}: use divide()"
            assert not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "float"), where
