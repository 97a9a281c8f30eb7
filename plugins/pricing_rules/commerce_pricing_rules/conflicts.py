"""Which rules can come together on one line, and how low that can bring a price.

Conditions are taken to hold, unless two of them never can at once. So the prices are the lowest that could ever be;
most customers never see them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from commerce_core.catalog.models import Product, Variant
from commerce_core.pricing.basket import Basket, Item
from commerce_core.pricing.core_rules import CATALOGUE_PRICE
from commerce_core.pricing.rules import Pricing
from commerce_core.pricing.service import items_of
from commerce_core.pricing.settlement import calculate
from commerce_pricing_rules.conditions import All, Condition, CustomerTier, DayOfWeek, InCurrency, OfChannel
from commerce_pricing_rules.quoting import CART, LINES, Evaluation, price_rules
from commerce_pricing_rules.rulebook import RuleBook
from commerce_pricing_rules.ruleset import Rule, RuleSet
from commerce_pricing_rules.situation import Facts, lines_of

MOST_VARIANTS = 500
MOST_PAIRS = 1_000
# How often a rule is applied for one report, at most, but for its last variant.
MOST_STEPS = 30_000
# Rules that stack of which it is found out which go together: the first, since they are compared each with each.
MOST_STACKABLE = 1_000
_MOST_QUANTITY = 100


@dataclass(frozen=True, slots=True)
class Lowest:
    """The lowest price of a unit of a variant, in minor units, and the rules and quantity that bring it there."""

    item: Item
    currency: str
    base: int
    lowest: int
    quantity: int
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class LowestOfSome:
    """The lowest prices of some `looked_at` variants; `next` is the last of them, if there are more."""

    found: list[Lowest]
    looked_at: int
    next: UUID | None


def pairs(ruleset: RuleSet, now: datetime) -> tuple[list[tuple[Rule, Rule]], bool]:
    """Rules that can apply to one line together, from now on; up to `MOST_PAIRS`. And whether these are all."""
    live = [rule for rule in ruleset.rules if rule.stackable and _is_live(rule, now)]
    found = []
    for number, one in enumerate(live[:MOST_STACKABLE]):
        for other in live[number + 1 : MOST_STACKABLE]:
            if go_together(one, other):
                found.append((one, other))
                if len(found) == MOST_PAIRS:
                    return found, False
    return found, len(live) <= MOST_STACKABLE


def go_together(one: Rule, other: Rule) -> bool:
    """Whether two rules may ever apply to the same line of the same basket."""
    return (
        (one.level == "shipping") == (other.level == "shipping")
        and one.stackable
        and other.stackable
        and (one.group is None or one.group != other.group)
        and _times_meet(one, other)
        and _scopes_may_meet(one, other)
        and not _exclude_each_other(one, other)
    )


def lowest_prices(
    session: Session, book: RuleBook, ruleset: RuleSet, now: datetime, *, limit: int, after: UUID | None = None
) -> LowestOfSome:
    """Of the next variants for sale, those whose price can go lowest, as a part of what it is.

    So many variants are looked at as there is time for: up to `MOST_VARIANTS`, fewer the more rules are about each.
    """
    statement = (
        select(Variant.id)
        .join(Product, Product.id == Variant.product_id)
        .where(Variant.deleted_at.is_(None), Product.deleted_at.is_(None), Product.status == "active")
        .order_by(Variant.id)
        .limit(MOST_VARIANTS + 1)
    )
    if after is not None:
        statement = statement.where(Variant.id > after)
    more = session.scalars(statement).all()
    ids = more[:MOST_VARIANTS]
    offers = {offer.item.key: offer for offer in items_of(session, [(id_, id_, 1) for id_ in ids])}
    company = _Company(rule for rule in ruleset.rules if _is_live(rule, now) and rule.level != "shipping")
    found = []
    steps = looked_at = 0
    for variant_id in ids:
        if steps >= MOST_STEPS:
            break
        looked_at += 1
        offer = offers.get(variant_id)
        if offer is not None and offer.for_sale and offer.item.unit_amount:
            trials = list(_trials(company, ruleset, offer.item, offer.currency))
            steps += sum(len(rules) for rules, _ in trials)
            lowest = _lowest(book, ruleset, company, trials, offer.item, offer.currency, now)
            if lowest is not None:
                found.append(lowest)
    found.sort(key=lambda each: (each.lowest * 10_000 // each.base, each.item.sku))
    return LowestOfSome(found[:limit], looked_at, ids[looked_at - 1] if looked_at < len(more) else None)


class _Company:
    """The rules that count, and which of them go together, as sets of bits: found out once for all variants."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = list(rules)
        self.bare = {rule.id: _bare(rule) for rule in self.rules}
        self._stackable = [number for number, rule in enumerate(self.rules) if rule.stackable][:MOST_STACKABLE]
        self._together: dict[int, int] = {}

    def sets(self, about: Sequence[int]) -> Iterator[tuple[Rule, ...]]:
        """Sets of these rules that could apply at once, each set once: each alone, and as many as go around each."""
        everything = sum(1 << number for number in about)
        seen = set()
        for number in about:
            chosen, rest = 1 << number, self._with(number) & everything
            while rest:
                lowest = rest & -rest
                chosen |= lowest
                rest &= self._with(lowest.bit_length() - 1) & ~lowest
            if chosen not in seen:
                seen.add(chosen)
                yield tuple(self.rules[each] for each in about if chosen >> each & 1)

    def _with(self, number: int) -> int:
        """Those that go together with this one."""
        if not self.rules[number].stackable:
            return 0
        if number not in self._together:
            one = self.rules[number]
            self._together[number] = sum(
                1 << other for other in self._stackable if other != number and go_together(one, self.rules[other])
            )
        return self._together[number]


def _trials(company: _Company, ruleset: RuleSet, item: Item, currency: str) -> Iterator[tuple[tuple[Rule, ...], int]]:
    """Sets of rules that could apply to the item at once, with the quantities at which one takes off more."""
    [line] = lines_of([(item, item.unit_amount)], ruleset.categories)
    about = [
        number
        for number, rule in enumerate(company.rules)
        if rule.definition.scope.takes(line) and (rule.currencies is None or currency in rule.currencies)
    ]
    for rules in company.sets(about):
        for quantity in sorted({1, *(each for rule in rules for each in _quantities(rule))}):
            yield rules, quantity


def _lowest(
    book: RuleBook,
    ruleset: RuleSet,
    company: _Company,
    trials: Iterable[tuple[tuple[Rule, ...], int]],
    item: Item,
    currency: str,
    now: datetime,
) -> Lowest | None:
    best: Lowest | None = None
    for rules, quantity in trials:
        bare = ruleset.with_rules(company.bare[rule.id] for rule in rules)
        paid = _paid(book, bare, item, currency, quantity, now)
        per_unit = -(-paid // quantity)
        if per_unit < item.unit_amount and (best is None or per_unit < best.lowest):
            best = Lowest(item, currency, item.unit_amount, per_unit, quantity, rules)
    return best


def _paid(book: RuleBook, ruleset: RuleSet, item: Item, currency: str, quantity: int, now: datetime) -> int:
    basket = Basket(currency=currency, items=(replace(item, quantity=quantity),), now=now)
    pricing = Pricing((CATALOGUE_PRICE,))
    for rule in price_rules(book.prefetch):
        if rule.code in (LINES, CART):
            pricing = pricing.with_rule(rule)
    return calculate(pricing, basket, Evaluation(ruleset, Facts(), book.floors).as_prefetched()).goods_total


def _bare(rule: Rule) -> Rule:
    """The rule as if its conditions, times and limits did not matter."""
    nothing = {"conditions": None, "starts_at": None, "ends_at": None, "usage_limit": None}
    more = {"usage_limit_per_customer": None, "budget": None}
    return Rule(rule.id, rule.definition.model_copy(update={**nothing, **more}))


def _quantities(rule: Rule) -> Iterable[int]:
    """The quantities at which a rule begins to take off more."""
    modifiers: Any = rule.modifiers
    if rule.definition.type == "buy_x_get_y":
        yield min(_MOST_QUANTITY, modifiers.buy + modifiers.get)
    for tier in getattr(modifiers, "tiers", ()):
        yield min(_MOST_QUANTITY, tier.from_)


def _is_live(rule: Rule, now: datetime) -> bool:
    return rule.definition.ends_at is None or rule.definition.ends_at > now


def _times_meet(one: Rule, other: Rule) -> bool:
    starts = [each for each in (one.definition.starts_at, other.definition.starts_at) if each is not None]
    ends = [each for each in (one.definition.ends_at, other.definition.ends_at) if each is not None]
    return not starts or not ends or max(starts) < min(ends)


def _scopes_may_meet(one: Rule, other: Rule) -> bool:
    """False only where both name variants, or both name products, and none is the same."""
    scopes = one.definition.scope, other.definition.scope
    for kind in ("variants", "products"):
        ids = [set(getattr(scope, kind) or ()) for scope in scopes]
        only = [scope.model_dump(exclude_none=True).keys() == {kind} for scope in scopes]
        if all(only) and not ids[0] & ids[1]:
            return False
    return True


def _exclude_each_other(one: Rule, other: Rule) -> bool:
    """Whether both want something of which there is only one, and not the same."""
    wanted = [dict(_wants(rule.condition)) for rule in (one, other)]
    return any(not wanted[0][kind] & wanted[1][kind] for kind in wanted[0].keys() & wanted[1].keys())


def _wants(condition: Condition | None) -> Iterator[tuple[str, set[Any]]]:
    match condition:
        case All():
            for part in condition.of:
                yield from _wants(part)
        case CustomerTier():
            yield "tier", set(condition.tiers)
        case InCurrency():
            yield "currency", set(condition.currencies)
        case OfChannel():
            yield "channel", set(condition.channels)
        case DayOfWeek():
            yield "day", set(condition.days)
