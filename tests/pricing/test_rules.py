"""What a rule may do in each stage, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import CapturingLogger
from support.baskets import assert_adds_up, basket, item, key, pricing, rule

from commerce_core.pricing.quote import Quote, Stage, plain
from commerce_core.pricing.rounding import percent_of
from commerce_core.pricing.rules import AmountTooLarge, PriceRuleFailed
from commerce_core.pricing.settlement import calculate

Apply = Callable[[Quote], None]


def percent_off(percent: int, **options: Any) -> Apply:
    def apply(quote: Quote) -> None:
        for line in quote.lines:
            quote.discount_line(line.key, percent_of(line.net, percent), **options)

    return apply


def unit_price(amount: int, **options: Any) -> Apply:
    def apply(quote: Quote) -> None:
        for line in quote.lines:
            quote.set_unit_price(line.key, amount, **options)

    return apply


def entries(quote: Quote, code: str) -> list[dict[str, Any]]:
    return [entry for entry in quote.trace if entry["code"] == code]


def test_the_catalogue_sets_the_price() -> None:
    quote = calculate(pricing(), basket(item(1, 250, 3), item(2, 100)))
    assert (quote.subtotal, quote.total, quote.tax_estimated) == (850, 850, False)
    assert entries(quote, "catalogue-price")[0] == {
        "stage": "BASE",
        "order": 0,
        "source": "core",
        "code": "catalogue-price",
        "outcome": "applied",
        "kind": "price",
        "label": "Catalogue price",
        "key": str(key(1)),
        "amount": 250,
    }
    assert_adds_up(quote)


def test_an_empty_basket_costs_nothing() -> None:
    quote = calculate(pricing(shipping_flat="USD 500", tax_rates="* 10"), basket())
    assert (quote.total, entries(quote, "flat-shipping")[0]["reason"]) == (0, "empty-basket")


def test_of_several_base_prices_the_highest_order_is_believed() -> None:
    rules = [
        rule("list-b", Stage.BASE, unit_price(90), order=50),
        rule("list-a", Stage.BASE, unit_price(120), order=60),
    ]
    quote = calculate(pricing(*rules), basket(item(1, 100)))
    assert quote.total == 120
    assert [(entry["code"], entry.get("beaten_by")) for entry in quote.trace if entry["stage"] == "BASE"] == [
        ("catalogue-price", "list-a"),
        ("list-b", "list-a"),
        ("list-a", None),
    ]


def test_new_unit_prices_are_alternatives_unless_they_are_meant_to_add_up() -> None:
    sale, club = unit_price(70), unit_price(80)
    quote = calculate(
        pricing(rule("sale", Stage.CATALOG, sale), rule("club", Stage.CATALOG, club)), basket(item(1, 100))
    )
    assert quote.total == 70
    assert entries(quote, "club")[0]["beaten_by"] == "sale"
    added = [
        rule("sale", Stage.CATALOG, unit_price(70, exclusive_group=None)),
        rule("surcharge", Stage.CATALOG, unit_price(105, exclusive_group=None)),
    ]
    quote = calculate(pricing(*added), basket(item(1, 100, 2)))
    assert quote.total == 2 * (100 - 30 + 5)
    assert_adds_up(quote)


def test_a_unit_price_is_never_below_zero() -> None:
    rules = [rule(code, Stage.CATALOG, unit_price(40, exclusive_group=None)) for code in ("a", "b")]
    quote = calculate(pricing(*rules), basket(item(1, 100)))
    assert quote.total == 0
    [clamped] = entries(quote, "b")
    assert (clamped["outcome"], clamped["amount"], clamped["asked"]) == ("clamped", -40, -60)
    dearer = rule("dearer", Stage.CATALOG, unit_price(150, exclusive_group=None), order=999)
    assert calculate(pricing(*rules, dearer), basket(item(1, 100))).total == 100 + 50 - 60 - 60


def test_rules_of_one_stage_do_not_see_each_other() -> None:
    rules = [rule("forty", Stage.LINE, percent_off(40)), rule("ten", Stage.LINE, percent_off(10))]
    quote = calculate(pricing(*rules), basket(item(1, 1_000)))
    assert (quote.discount_total, quote.total) == (500, 500)


def test_a_line_is_never_below_zero_and_the_trace_says_what_was_cut() -> None:
    rules = [rule("forty", Stage.LINE, percent_off(40)), rule("seventy", Stage.LINE, percent_off(70))]
    quote = calculate(pricing(*rules), basket(item(1, 1_000), item(2, 0)))
    assert quote.total == 0
    assert [(e["outcome"], e["amount"], e.get("asked")) for e in entries(quote, "seventy")] == [
        ("clamped", -600, -700),
        ("applied", 0, None),
    ]
    assert_adds_up(quote)


def test_in_an_exclusive_group_the_best_for_the_customer_wins_line_by_line() -> None:
    def five_off(quote: Quote) -> None:
        for line in quote.lines:
            quote.discount_line(line.key, 5, exclusive_group="promo")

    rules = [
        rule("ten", Stage.LINE, percent_off(10, exclusive_group="promo")),
        rule("five-off", Stage.LINE, five_off),
        rule("vip", Stage.LINE, percent_off(1)),
    ]
    quote = calculate(pricing(*rules), basket(item(1, 100), item(2, 20)))
    assert [line.discount_total for line in quote.lines] == [10 + 1, 5 + 0]
    lost = [(e["code"], e["key"], e["beaten_by"], e["asked"]) for e in quote.trace if e.get("reason") == "exclusive"]
    assert lost == [("five-off", str(key(1)), "ten", 5), ("ten", str(key(2)), "five-off", 2)]


@pytest.mark.parametrize("swap", [False, True])
def test_equals_in_a_group_are_decided_by_order_then_code(swap: bool) -> None:
    tied = [
        rule("b", Stage.LINE, percent_off(10, exclusive_group="g"), order=10),
        rule("a", Stage.LINE, percent_off(10, exclusive_group="g"), order=20),
        rule("c", Stage.LINE, percent_off(10, exclusive_group="g"), order=10),
    ]
    quote = calculate(pricing(*(reversed(tied) if swap else tied)), basket(item(1, 100)))
    assert [adjustment.code for adjustment in quote.adjustments] == ["b"]


def test_a_cart_discount_is_spread_to_the_last_unit() -> None:
    off = rule("ten-off", Stage.CART, lambda quote: quote.discount_cart(1_000, label="Ten off"))
    quote = calculate(pricing(off), basket(item(1, 3_333), item(2, 3_333), item(3, 3_333)))
    assert [line.discount_total for line in quote.lines] == [334, 333, 333]
    [entry] = entries(quote, "ten-off")
    assert (entry["amount"], [share["amount"] for share in entry["lines"]]) == (-1_000, [-334, -333, -333])
    assert_adds_up(quote)


def test_cart_discounts_find_room_and_take_no_more_than_there_is() -> None:
    one = [rule(code, Stage.CART, lambda quote: quote.discount_cart(1)) for code in ("a", "b")]
    assert calculate(pricing(*one), basket(item(1, 1), item(2, 1))).total == 0
    only = rule("much", Stage.CART, lambda quote: quote.discount_cart(900, keys={key(2)}))
    quote = calculate(pricing(only), basket(item(1, 500), item(2, 300)))
    assert [line.net for line in quote.lines] == [500, 0]
    assert (entries(quote, "much")[0]["outcome"], entries(quote, "much")[0]["asked"]) == ("clamped", -900)


def test_shipping_is_flat_until_it_is_free() -> None:
    shop = {"shipping_flat": "USD 500", "shipping_free_from": "USD 5000"}
    quote = calculate(pricing(**shop), basket(item(1, 4_999)))
    assert (quote.shipping_total, quote.total) == (500, 5_499)
    quote = calculate(pricing(**shop), basket(item(1, 5_000)))
    assert quote.total == 5_000
    assert entries(quote, "flat-shipping")[0]["details"] == {"goods_total": 5_000, "free_from": 5_000}
    discounted = rule("one-off", Stage.CART, lambda quote: quote.discount_cart(1))
    assert calculate(pricing(discounted, **shop), basket(item(1, 5_000))).shipping_total == 500
    quote = calculate(pricing(**shop), basket(item(1, 100), currency="EUR"))
    assert (quote.total, entries(quote, "flat-shipping")[0]["reason"]) == (100, "no-amount-for-currency")


def test_shipping_can_be_reduced_but_not_below_nothing() -> None:
    free = rule("free-delivery", Stage.SHIPPING, lambda quote: quote.reduce_shipping(), order=1)
    quote = calculate(pricing(free, shipping_flat="USD 500"), basket(item(1, 100)))
    assert (quote.shipping_total, quote.total) == (0, 100)
    assert [a.amount for a in quote.adjustments] == [500, -500]
    less = rule("less", Stage.SHIPPING, lambda quote: quote.reduce_shipping(700))
    quote = calculate(pricing(less, shipping_flat="USD 500"), basket(item(1, 100)))
    assert (entries(quote, "less")[0]["outcome"], quote.shipping_total) == ("clamped", 0)
    assert_adds_up(quote)


def test_fees_are_added_and_the_total_is_rounded() -> None:
    wrap = rule("gift-wrap", Stage.FEE, lambda quote: quote.add_fee(250, label="Gift wrap"))
    cash = rule("cash", Stage.ROUND, lambda quote: quote.round_total(-(quote.total % 5)))
    quote = calculate(pricing(wrap, cash), basket(item(1, 103)))
    assert (quote.fee_total, quote.total) == (247, 350)
    quote = calculate(pricing(cash), basket(item(1, 103)))
    assert (quote.fee_total, quote.total) == (-3, 100)
    assert_adds_up(quote)
    away = rule("away", Stage.ROUND, lambda quote: quote.round_total(-1_000))
    assert calculate(pricing(away), basket(item(1, 103))).total == 0


def test_a_rule_may_exempt_from_tax() -> None:
    exempt = rule("business", Stage.TAX, lambda quote: quote.exempt_from_tax({key(1)}, number="DE1"), order=999)
    quote = calculate(pricing(exempt, tax_rates="DE 19"), basket(item(1, 100), item(2, 100)))
    assert [line.tax_total for line in quote.lines] == [0, 19]
    assert entries(quote, "tax")[0]["beaten_by"] == "business"
    everything = rule("export", Stage.TAX, lambda quote: quote.exempt_from_tax())
    assert calculate(pricing(everything, tax_rates="DE 19"), basket(item(1, 100))).tax_total == 0


def test_why_a_rule_did_not_apply_is_in_the_trace() -> None:
    def bulk(quote: Quote) -> None:
        for line in quote.lines:
            quote.reject("BULK", "min-quantity", key=line.key, wanted=3, found=line.quantity, rate=Decimal("2.50"))

    idle, quiet = (rule(code, Stage.LINE, lambda _: None, quiet=code == "quiet") for code in ("idle", "quiet"))
    quote = calculate(pricing(rule("bulk", Stage.LINE, bulk), idle, quiet), basket(item(1, 5)))
    [entry] = entries(quote, "BULK")
    assert (entry["reason"], entry["details"]) == ("min-quantity", {"wanted": 3, "found": 1, "rate": "2.50"})
    assert entries(quote, "idle")[0]["reason"] == "did-not-apply"
    assert entries(quote, "quiet") == []


def broken(quote: Quote) -> None:
    raise LookupError("secret")


FAILING: dict[str, tuple[Stage, Apply]] = {
    "raises": (Stage.LINE, broken),
    "float": (Stage.LINE, lambda quote: quote.discount_line(key(1), 1.5)),  # type: ignore[arg-type]
    "bool": (Stage.LINE, lambda quote: quote.discount_line(key(1), True)),
    "negative": (Stage.LINE, lambda quote: quote.discount_line(key(1), -1)),
    "too large": (Stage.FEE, lambda quote: quote.add_fee(2**63)),
    "unknown item": (Stage.LINE, lambda quote: quote.discount_line(key(99), 1)),
    "wrong stage": (Stage.CART, lambda quote: quote.discount_line(key(1), 1)),
    "cart in line": (Stage.LINE, lambda quote: quote.discount_cart(1)),
    "tax as fee": (Stage.FEE, lambda quote: quote.add_tax(1)),
    "float in trace": (Stage.LINE, lambda quote: quote.discount_line(key(1), 1, rate=0.1)),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_rule_that_fails_fails_the_whole_quote_and_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = CapturingLogger()
    monkeypatch.setattr("commerce_core.pricing.settlement._log", log)
    stage, apply = FAILING[name]
    with pytest.raises(PriceRuleFailed) as caught:
        calculate(pricing(rule("culprit", stage, apply)), basket(item(1, 100)))
    assert caught.value.extra == {"rule": "culprit", "source": "test"}
    assert "secret" not in str(caught.value.body("x"))
    [call] = log.calls
    assert call.kwargs["rule"] == "culprit"
    assert isinstance(call.kwargs["exc_info"], Exception)


def test_a_quote_that_was_tampered_with_does_not_leave() -> None:
    def tamper(quote: Quote) -> None:
        quote.shipping_total = 1

    with pytest.raises(RuntimeError, match="does not add up"):
        calculate(pricing(rule("tamper", Stage.FEE, tamper)), basket(item(1, 100)))


def test_nothing_is_proposed_but_by_the_rule_that_is_asked() -> None:
    quote = calculate(pricing(), basket(item(1, 100)))
    with pytest.raises(RuntimeError, match="being asked"):
        quote.discount_line(key(1), 1)


def test_amounts_beyond_what_can_be_kept_are_refused() -> None:
    most = 2**63 - 1
    assert calculate(pricing(), basket(item(1, most))).total == most
    for too_large in (basket(item(1, most, 2)), basket(item(1, most), item(2, 1))):
        with pytest.raises(AmountTooLarge):
            calculate(pricing(), too_large)
    with pytest.raises(AmountTooLarge):
        calculate(pricing(shipping_flat="USD 1"), basket(item(1, most)))


def test_a_code_is_given_to_one_rule_only() -> None:
    with pytest.raises(ValueError, match="two price rules are called 'tax', of core and of test"):
        pricing(rule("tax", Stage.TAX, broken))


def test_no_line_gets_more_of_a_discount_than_it_may() -> None:
    off = rule("off", Stage.CART, lambda quote: quote.discount_cart(600, most={key(1): 50, key(3): 0}))
    quote = calculate(pricing(off), basket(item(1, 500), item(2, 1_000), item(3, 500)))
    assert [line.discount_total for line in quote.lines] == [50, 550, 0]
    tight = rule("off", Stage.CART, lambda quote: quote.discount_cart(600, most={key(1): 50, key(2): 60}))
    quote = calculate(pricing(tight), basket(item(1, 500), item(2, 1_000)))
    assert (quote.discount_total, entries(quote, "off")[0]["asked"]) == (110, -600)


def test_what_one_rule_says_stays_in_its_order() -> None:
    def several(quote: Quote) -> None:
        quote.reject("zebra", "too-late")
        quote.discount_line(key(1), 10, code="ant")
        quote.reject("bee", "too-early")

    quote = calculate(pricing(rule("several", Stage.LINE, several)), basket(item(1, 100)))
    assert [entry["code"] for entry in quote.trace if entry["stage"] == "LINE"] == ["zebra", "ant", "bee"]


def test_what_was_prefetched_is_there_for_its_rule_only() -> None:
    seen: dict[str, Any] = {}
    rules = [
        rule(code, Stage.LINE, lambda quote, code=code: seen.update({code: quote.prefetched}))  # type: ignore[misc]
        for code in ("a", "b")
    ]
    calculate(pricing(*rules), basket(item(1, 100)), {"a": [1, 2]})
    assert seen == {"a": [1, 2], "b": None}


def test_the_trace_is_json_and_exact() -> None:
    assert plain({"rate": Decimal("7.25"), "of": (key(1),), "stage": Stage.TAX, "on": True}) == {
        "rate": "7.25",
        "of": [str(key(1))],
        "stage": 700,
        "on": True,
    }
    with pytest.raises(TypeError):
        plain(object())
