"""The plugin against cases that were worked out by hand: pricing_cases.md."""

from __future__ import annotations

from collections import Counter

import pytest
from pricing_cases import Case, minor, pricing_of, quote_of, read_cases, situate

from commerce_core.testing.contract import assert_adds_up

CASES, RULES = read_cases()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_costs_what_was_worked_out_by_hand(case: Case) -> None:
    given = situate(case)
    rules = [RULES[name] for name in case.rules]
    pricing = pricing_of(shipping_flat=given.shipping) if given.shipping else None
    quotes = [
        quote_of(given.basket, chosen, facts=given.facts, zone=given.zone, settings=given.settings, pricing=pricing)
        for chosen in (rules, rules[::-1])
    ]
    currency = given.basket.currency
    for quote in quotes:
        assert [line.net for line in quote.lines] == [minor(amount, currency) for amount in case.lines], case.working
        names = {rule.code: rule.name for rule in rules}
        off: Counter[str] = Counter()
        for adjustment in quote.adjustments:
            if adjustment.source == "pricing":
                off[names[adjustment.code]] -= adjustment.amount
        assert off == {name: minor(amount, currency) for name, amount in case.off.items()}, case.working
        told = {
            f"{names[entry['code']]} {entry['reason']}"
            for entry in quote.trace
            if entry["source"] == "pricing" and entry["outcome"] == "rejected"
        }
        assert tuple(sorted(told)) == case.why_not
        assert_adds_up(quote)


def test_there_are_enough_cases_and_each_shows_its_working() -> None:
    assert len(CASES) >= 150
    assert [str(case) for case in CASES if not case.working] == []
    assert {case.basket[:3] for case in CASES if case.basket[:3].isupper()} >= {"JPY", "KWD", "EUR"}
    used = {name for case in CASES for name in case.rules}
    assert RULES.keys() <= used, f"no case has {RULES.keys() - used}"
