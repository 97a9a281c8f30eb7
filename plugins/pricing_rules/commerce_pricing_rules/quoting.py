"""The plugin's rules in the core's quote: one in each of the stages that they need, which stand for all of ours.

They share one `Evaluation`, made before the quote begins: the rules as they are now, and what only the database knows.
The plan is made when LINE begins, and CART and SHIPPING carry out their parts of it. Everything that was tried is in
the trace under the rule's id, with its type, priority, and what was compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from commerce_core.pricing.basket import Basket
from commerce_core.pricing.quote import Quote, QuoteLine, Stage
from commerce_core.pricing.rounding import spread_within
from commerce_core.pricing.rules import PriceRule
from commerce_pricing_rules.floors import Floors
from commerce_pricing_rules.planning import Applied, Plan, Rejected, plan
from commerce_pricing_rules.ruleset import RuleSet
from commerce_pricing_rules.situation import Facts, Line, ListPrice, Situation, lines_of

SOURCE = "pricing"
LISTS, LINES, CART, SHIPPING = "pricing-lists", "pricing-lines", "pricing-cart", "pricing-shipping"
CODES = (LISTS, LINES, CART, SHIPPING)
# Traces are kept with orders: of a thousand rules that do not apply, the first are enough. `explain` tells all.
MOST_TOLD = 200


@dataclass(slots=True)
class Evaluation:
    """The rules and facts that one quote goes by, and its plan as soon as there is one."""

    ruleset: RuleSet
    facts: Facts
    floors: Floors
    plan: Plan | None = None
    lines: tuple[Line, ...] = ()
    rejected: int = 0

    def make_plan(self, quote: Quote) -> Plan:
        lines = lines_of(((line.item, line.unit_amount) for line in quote.lines), self.ruleset.categories)
        self.lines = tuple(lines)
        self.rejected = 0
        self.plan = plan(self.ruleset, Situation(quote.basket, lines, self.facts, self.ruleset.zone), self.floors.of)
        return self.plan

    def as_prefetched(self) -> dict[str, Any]:
        """For `calculate(pricing, basket, ...)`: what each of our rules finds in `quote.prefetched`."""
        return dict.fromkeys(CODES, self)


def price_rules(prefetch: Callable[[Session, Basket], Evaluation]) -> Iterable[PriceRule]:
    """The four rules of the core's registry."""
    for code, stage, order, apply, label in (
        # Above the catalogue's price, which is 0: the highest is believed.
        (LISTS, Stage.BASE, 100, apply_lists, "Price list"),
        (LINES, Stage.LINE, 50, apply_to_lines, "Price rules"),
        (CART, Stage.CART, 50, apply_to_cart, "Price rules"),
        (SHIPPING, Stage.SHIPPING, 50, apply_to_shipping, "Price rules"),
    ):
        yield PriceRule(
            code=code, source=SOURCE, stage=stage, order=order, label=label, apply=apply, prefetch=prefetch, quiet=True
        )


def apply_lists(quote: Quote) -> None:
    """BASE: what the customer's price list says, from the quantity that is bought."""
    evaluation: Evaluation = quote.prefetched
    prices = evaluation.facts.list_prices
    for line in quote.lines if prices else ():
        found = price_in(prices, line)
        if found is not None:
            quote.set_unit_price(
                line.key,
                found.amount,
                code=str(found.list_id),
                label=found.name,
                type="price_list",
                from_quantity=found.from_quantity,
            )
        elif quote.basket.explain and line.item.variant_id in prices:
            least = min(price.from_quantity for price in prices[line.item.variant_id])
            quote.reject(LISTS, "min-quantity", key=line.key, wanted=least, found=line.quantity)


def price_in(prices: Mapping[Any, Iterable[ListPrice]], line: QuoteLine) -> ListPrice | None:
    """The price that counts: of the list with the highest priority, from the most units on; of equals the lowest."""
    fitting = [price for price in prices.get(line.item.variant_id, ()) if price.from_quantity <= line.quantity]
    return min(
        fitting,
        key=lambda price: (-price.priority, -price.from_quantity, price.amount, price.list_id),
        default=None,
    )


def apply_to_lines(quote: Quote) -> None:
    """LINE: make the plan, and carry out what concerns lines."""
    evaluation: Evaluation = quote.prefetched
    made = evaluation.make_plan(quote)
    steps = sorted((step for level in ("line", "lines") for step in made.steps[level]), key=_place)
    for step in steps:
        if isinstance(step, Rejected):
            tell(quote, step, evaluation)
        else:
            assert step.line is not None
            key = quote.lines[step.line.number].key
            quote.discount_line(key, step.amount, code=step.rule.code, label=step.rule.name, **step.details)


def apply_to_cart(quote: Quote) -> None:
    """CART: each rule in its order, on what those before it have left of the goods; no line below its floor."""
    evaluation: Evaluation = quote.prefetched
    assert evaluation.plan is not None
    before = [line.net for line in quote.lines]
    left = list(before)
    room = [max(0, net - evaluation.floors.of(line).amount) for net, line in zip(before, evaluation.lines, strict=True)]
    for step in evaluation.plan.steps["cart"]:
        if isinstance(step, Rejected):
            tell(quote, step, evaluation)
            continue
        numbers = {line.number for line in step.lines}
        asked = step.rule.modifiers.off_cart(sum(left[number] for number in numbers), quote.currency)
        budget = step.rule.budget_left(evaluation.facts)
        amount = asked if budget is None else min(asked, budget)
        shares = spread_within(
            amount,
            [net if number in numbers else 0 for number, net in enumerate(before)],
            [space if number in numbers else 0 for number, space in enumerate(room)],
        )
        given = sum(shares)
        details = dict(step.details)
        if given < asked:
            by = "budget" if given == budget else evaluation.floors.of(step.lines[0]).by
            details["floor"] = {"by": by, "asked": asked, "given": given}
        if not given:
            reason = "floor" if asked else "nothing-off"
            quote.reject(step.rule.code, reason, name=step.rule.name, **details)
            continue
        keys = {quote.lines[number].key for number in numbers}
        most = {quote.lines[number].key: room[number] for number in numbers if room[number] < left[number]}
        for number, share in enumerate(shares):
            left[number] -= share
            room[number] -= share
        quote.discount_cart(given, keys=keys, code=step.rule.code, label=step.rule.name, most=most or None, **details)


def apply_to_shipping(quote: Quote) -> None:
    """SHIPPING: nothing for the delivery."""
    evaluation: Evaluation = quote.prefetched
    assert evaluation.plan is not None
    for step in evaluation.plan.steps["shipping"]:
        if isinstance(step, Rejected):
            tell(quote, step, evaluation)
        else:
            quote.reduce_shipping(code=step.rule.code, label=step.rule.name, **step.details)
    if evaluation.rejected > MOST_TOLD and not quote.basket.explain:
        quote.reject(SHIPPING, "more-rules", rules=evaluation.rejected - MOST_TOLD)


def tell(quote: Quote, step: Rejected, evaluation: Evaluation) -> None:
    """Into the trace: why a rule does not apply, to which lines, and by whom it was stopped; at most so many."""
    evaluation.rejected += 1
    if evaluation.rejected > MOST_TOLD and not quote.basket.explain:
        return
    details: dict[str, Any] = {
        "name": step.rule.name,
        "type": step.rule.definition.type,
        "priority": step.rule.priority,
        "wanted": step.why.wanted,
        "found": step.why.found,
    }
    if step.by is not None:
        details["stopped_by"] = step.by.code
    if len(step.lines) == 1:
        quote.reject(step.rule.code, step.why.reason, key=quote.lines[step.lines[0].number].key, **details)
        return
    if step.lines and len(step.lines) < len(evaluation.lines):
        details["lines"] = [quote.lines[line.number].key for line in step.lines]
    quote.reject(step.rule.code, step.why.reason, **details)


def _place(step: Applied | Rejected) -> Any:
    return step.rule.place
