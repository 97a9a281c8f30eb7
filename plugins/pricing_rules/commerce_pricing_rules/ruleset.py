"""The active rules of a shop, ready to be asked: sorted, and indexed by what they are about.

Never changed once it is made; another one takes its place (rulebook.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from functools import cached_property
from uuid import UUID
from zoneinfo import ZoneInfo

from commerce_pricing_rules.conditions import MIDNIGHT, Condition, Why
from commerce_pricing_rules.definitions import RuleDefinition
from commerce_pricing_rules.modifiers import Level, Modifiers
from commerce_pricing_rules.situation import Categories, Facts, Line, Situation, Usage
from commerce_pricing_rules.times import changes_by_clock, instant_of

_LEVELS: dict[Level, int] = {"line": 0, "lines": 1, "cart": 2, "shipping": 3}
_UNUSED = Usage()


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """A rule with its id, and what of it is asked all the time."""

    id: UUID
    definition: RuleDefinition
    code: str = field(init=False)
    name: str = field(init=False)
    priority: int = field(init=False)
    stackable: bool = field(init=False)
    group: str | None = field(init=False)
    level: Level = field(init=False)
    modifiers: Modifiers = field(init=False)
    condition: Condition | None = field(init=False)
    condition_of_basket: bool = field(init=False)
    currencies: frozenset[str] | None = field(init=False)
    is_limited: bool = field(init=False)

    def __post_init__(self) -> None:
        definition = self.definition
        modifiers = definition.modifiers
        amounts = [frozenset(each) for each in modifiers.currencies()]
        if definition.budget is not None:
            amounts.append(frozenset({definition.budget.currency}))
        set_once = object.__setattr__
        set_once(self, "code", str(self.id))
        set_once(self, "name", definition.name)
        set_once(self, "priority", definition.priority)
        set_once(self, "stackable", definition.stackable)
        set_once(self, "group", definition.exclusive_group)
        set_once(self, "level", modifiers.level)
        set_once(self, "modifiers", modifiers)
        set_once(self, "condition", definition.conditions)
        set_once(
            self, "condition_of_basket", definition.conditions is None or not definition.conditions.depends_on_line()
        )
        set_once(self, "currencies", frozenset.intersection(*amounts) if amounts else None)
        set_once(
            self,
            "is_limited",
            bool(definition.usage_limit or definition.usage_limit_per_customer or definition.budget is not None),
        )

    @property
    def place(self) -> tuple[int, int, str, str]:
        """Its place among the others: by priority, then by level, and then so that it is always the same."""
        return (-self.priority, _LEVELS[self.level], self.definition.type, self.code)

    def why_not(self, situation: Situation, lines: Sequence[Line]) -> Why | None:
        """Why it does not apply to the basket, whatever becomes of its lines; None if it may. `lines` are in scope."""
        definition = self.definition
        now = situation.basket.now
        if definition.starts_at is not None and now < definition.starts_at:
            return Why("not-started", definition.starts_at, now)
        if definition.ends_at is not None and now >= definition.ends_at:
            return Why("ended", definition.ends_at, now)
        if self.currencies is not None and situation.basket.currency not in self.currencies:
            return Why("no-amount-for-currency", sorted(self.currencies), situation.basket.currency)
        condition = self.condition
        if condition is not None and self.condition_of_basket and not condition.holds(situation, lines[0], lines):
            return condition.why_not(situation, lines[0], lines)
        return self._used_up(situation) if self.is_limited else None

    def _used_up(self, situation: Situation) -> Why | None:
        definition = self.definition
        usage = situation.facts.usage.get(self.id, _UNUSED)
        if definition.usage_limit is not None and usage.uses >= definition.usage_limit:
            return Why("used-up", definition.usage_limit, usage.uses)
        if definition.usage_limit_per_customer is not None:
            if situation.is_guest:
                return Why("guest", "customer", None)
            if usage.by_customer >= definition.usage_limit_per_customer:
                return Why("used-up-by-customer", definition.usage_limit_per_customer, usage.by_customer)
        if definition.budget is not None and usage.spent >= definition.budget.amount:
            return Why("budget-spent", definition.budget.amount, usage.spent)
        return None

    def budget_left(self, facts: Facts) -> int | None:
        """How much it may still take off; None if nobody minds."""
        budget = self.definition.budget
        return None if budget is None else budget.amount - facts.usage.get(self.id, _UNUSED).spent


class RuleSet:
    """Rules in their order, and which of them are about what."""

    def __init__(
        self,
        rules: Iterable[Rule],
        *,
        zone: ZoneInfo,
        categories: Categories | None = None,
        has_lists: bool = False,
        list_instants: Iterable[datetime] = (),
    ) -> None:
        self.rules: tuple[Rule, ...] = tuple(sorted(rules, key=lambda rule: rule.place))
        self.zone = zone
        self.categories: Categories = categories or {}
        # Whether there are price lists at all, so that they are worth a look; and when one of them begins or ends.
        self.has_lists = has_lists
        self._list_instants = tuple(list_instants)
        self.everywhere: list[int] = []
        self._by_id: defaultdict[UUID, list[int]] = defaultdict(list)
        self._by_attribute: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for number, rule in enumerate(self.rules):
            scope = rule.definition.scope
            if scope.is_everything:
                self.everywhere.append(number)
            for ids in (scope.products, scope.variants, scope.categories, scope.brands):
                for id_ in ids or ():
                    self._by_id[id_].append(number)
            for name, values in (scope.attributes or {}).items():
                for value in values:
                    self._by_attribute[name, value].append(number)

    def with_rules(self, rules: Iterable[Rule]) -> RuleSet:
        """The same shop with other rules."""
        return RuleSet(
            rules,
            zone=self.zone,
            categories=self.categories,
            has_lists=self.has_lists,
            list_instants=self._list_instants,
        )

    def find(self, rule_id: UUID) -> Rule | None:
        return next((rule for rule in self.rules if rule.id == rule_id), None)

    def about(self, lines: Sequence[Line]) -> dict[int, list[Line]]:
        """The numbers of the rules that are about any of these lines, in order, each with its lines in theirs."""
        found: defaultdict[int, list[Line]] = defaultdict(list)
        for line in lines:
            for number in self._about(line):
                found[number].append(line)
        if lines:
            every = list(lines)
            for number in self.everywhere:
                found[number] = every
        return {number: found[number] for number in sorted(found)}

    def _about(self, line: Line) -> Iterable[int]:
        """The rules that name this line in one way or another, each once."""
        by_id, item = self._by_id, line.item
        found: set[int] = set()
        for id_ in (item.product_id, item.variant_id, item.brand_id, *line.categories):
            if id_ is not None and id_ in by_id:
                found.update(by_id[id_])
        for name, value in item.attributes.items() if self._by_attribute else ():
            for each in value if isinstance(value, (list, tuple)) else (value,):
                found.update(self._by_attribute.get((name, str(each)), ()))
        return found

    @cached_property
    def needs_first_order(self) -> bool:
        return any(part.type == "first_order" for part in self._conditions())  # type: ignore[attr-defined]

    @cached_property
    def needs_categories(self) -> bool:
        """Whether it matters where a category is in the tree."""
        in_scopes = any(rule.definition.scope.categories for rule in self.rules)
        return in_scopes or any(part.type == "category" for part in self._conditions())  # type: ignore[attr-defined]

    @cached_property
    def limited(self) -> list[UUID]:
        return [rule.id for rule in self.rules if rule.is_limited]

    @cached_property
    def codes(self) -> Mapping[str, list[Rule]]:
        """The rules that ask for a coupon, by its code."""
        return self._by_coupon("wanted_code")

    @cached_property
    def campaigns(self) -> Mapping[str, list[Rule]]:
        """The rules that ask for a coupon of a campaign."""
        return self._by_coupon("campaign")

    def next_change(self, now: datetime) -> datetime | None:
        """When, after `now`, a rule or a price list may begin or cease to apply by itself, at the earliest."""
        coming = [instant for instant in self._instants if instant > now][:1]
        coming += changes_by_clock(self._times_of_day, now, self.zone)[:1]
        return min(coming, default=None)

    @cached_property
    def _instants(self) -> list[datetime]:
        found = set(self._list_instants)
        for rule in self.rules:
            found.update(instants_of(rule, self.zone))
        return sorted(found)

    @cached_property
    def _times_of_day(self) -> frozenset[time]:
        return frozenset(time_ for part in self._conditions() for time_ in part.times_of_day())

    def _conditions(self) -> Iterable[Condition]:
        for rule in self.rules:
            if rule.condition is not None:
                yield from rule.condition.within()

    def _by_coupon(self, field_: str) -> Mapping[str, list[Rule]]:
        found: defaultdict[str, list[Rule]] = defaultdict(list)
        for rule in self.rules:
            for part in rule.condition.within() if rule.condition is not None else ():
                if part.type == "coupon" and getattr(part, field_) is not None:  # type: ignore[attr-defined]
                    found[getattr(part, field_)].append(rule)
        return found


def instants_of(rule: Rule, zone: ZoneInfo) -> Iterable[datetime]:
    """When, once and for all, a rule may begin or cease to apply."""
    definition = rule.definition
    yield from (instant for instant in (definition.starts_at, definition.ends_at) if instant is not None)
    for part in rule.condition.within() if rule.condition is not None else ():
        yield from (instant_of(day, MIDNIGHT, zone) for day in part.dates())


def changes_of(rule: Rule, now: datetime, zone: ZoneInfo) -> list[datetime]:
    """The instants within the next days at which a rule may begin or cease to apply by itself, and its dates."""
    times = {time_ for part in (rule.condition.within() if rule.condition else ()) for time_ in part.times_of_day()}
    fixed = [instant for instant in instants_of(rule, zone) if instant > now]
    return sorted({*fixed, *changes_by_clock(times, now, zone)})
