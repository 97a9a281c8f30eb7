"""The plan: which rules apply to which lines of a basket, in which order, what each takes off, and why others do not.

The rules are gone through once, by priority. A rule that is not `stackable` goes with no other on the same line, of
whichever priority: what comes after it there is stopped, and it does not apply itself where another has. Rules that go
together act on what those before them have left, so 40 % and 70 % are 82 %, and never all of it. Of rules of equal
priority that comes first which takes off most, so their order in the database does not matter. No line goes below its
floor (floors.py).

Amounts off the cart are only settled in its own stage, when other plugins' discounts of lines are known (quoting.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from commerce_pricing_rules.conditions import Why, coupons_used
from commerce_pricing_rules.floors import Floor
from commerce_pricing_rules.modifiers import Cut, Level, Priced
from commerce_pricing_rules.ruleset import Rule, RuleSet
from commerce_pricing_rules.situation import Line, Situation

ALL_LEVELS: tuple[Level, ...] = ("line", "lines", "cart", "shipping")


class Applied(NamedTuple):
    """A rule takes something off a line; or, at the level of the cart or the delivery, off all `lines` together."""

    rule: Rule
    line: Line | None
    lines: tuple[Line, ...]
    amount: int
    details: dict[str, Any]


class Rejected(NamedTuple):
    """A rule does not apply, to some lines or (without `lines`) at all; `by` is the rule that stopped it."""

    rule: Rule
    why: Why
    lines: tuple[Line, ...] = ()
    by: Rule | None = None


Step = Applied | Rejected


@dataclass(slots=True)
class Plan:
    """The steps of each level, in the order in which the rules were tried."""

    steps: dict[Level, list[Step]] = field(default_factory=lambda: {level: [] for level in ALL_LEVELS})

    def applied(self, *levels: Level) -> list[Applied]:
        return [step for level in levels for step in self.steps[level] if isinstance(step, Applied)]


@dataclass(slots=True)
class _Standing:
    """How a line stands: what is left of its price, and who has had it."""

    priced: Priced
    floor: Floor
    first: Rule | None = None
    alone: Rule | None = None
    groups: dict[str, Rule] = field(default_factory=dict)

    def stops(self, rule: Rule) -> tuple[Why, Rule] | None:
        """Why the line is not for this rule, and by whom."""
        if self.alone is not None:
            return Why("stopped", "alone", self.alone.name), self.alone
        if self.first is not None and not rule.stackable:
            return Why("not-stackable", "no other", self.first.name), self.first
        holder = None if rule.group is None else self.groups.get(rule.group)
        if holder is not None:
            return Why("exclusive-group", rule.group, holder.name), holder
        return None

    def take(self, rule: Rule) -> None:
        if self.first is None:
            self.first = rule
        if not rule.stackable:
            self.alone = rule
        if rule.group is not None:
            self.groups[rule.group] = rule


def plan(
    ruleset: RuleSet,
    situation: Situation,
    floor_of: Callable[[Line], Floor],
    *,
    levels: Collection[Level] = ALL_LEVELS,
) -> Plan:
    """What becomes of the rules with this basket. Pure."""
    planner = _Planner(situation, floor_of)
    about = ruleset.about(situation.lines)
    batch: list[tuple[Rule, list[Line]]] = []
    for number, lines in about.items():
        rule = ruleset.rules[number]
        if rule.level not in levels:
            continue
        if batch and batch[0][0].priority != rule.priority:
            planner.settle(batch)
            batch = []
        why = rule.why_not(situation, lines)
        if why is not None:
            planner.reject(rule, why)
            continue
        kept = lines if rule.condition_of_basket else planner.holding(rule, lines)
        if kept:
            batch.append((rule, kept))
    planner.settle(batch)
    if situation.basket.explain:
        for number, rule in enumerate(ruleset.rules):
            if number not in about and rule.level in levels:
                planner.reject(rule, Why("not-in-scope"))
    return planner.finish()


class _Planner:
    def __init__(self, situation: Situation, floor_of: Callable[[Line], Floor]) -> None:
        self._situation = situation
        self._standings = {
            line.number: _Standing(Priced(line, line.subtotal), floor_of(line)) for line in situation.lines
        }
        self._delivery = _Standing(Priced(situation.lines[0], 0), Floor(0, "")) if situation.lines else None
        self._budgets: dict[Rule, int] = {}
        self._steps: list[Step] = []

    def finish(self) -> Plan:
        made = Plan()
        for step in self._steps:
            made.steps[step.rule.level].append(step)
        for steps in made.steps.values():
            steps.sort(key=lambda step: step.rule.place)
        return made

    def reject(self, rule: Rule, why: Why, lines: Iterable[Line] = (), by: Rule | None = None) -> None:
        self._steps.append(Rejected(rule, why, tuple(lines), by))

    def holding(self, rule: Rule, lines: Sequence[Line]) -> list[Line]:
        """Those of the lines for which the rule's condition holds; the others are told why not."""
        condition = rule.condition
        assert condition is not None
        kept: list[Line] = []
        refused: defaultdict[str, list[tuple[Why, Line]]] = defaultdict(list)
        for line in lines:
            if condition.holds(self._situation, line, lines):
                kept.append(line)
            else:
                why = condition.why_not(self._situation, line, lines)
                refused[repr(why)].append((why, line))
        for alike in refused.values():
            self.reject(rule, alike[0][0], [line for _, line in alike])
        return kept

    def settle(self, batch: Sequence[tuple[Rule, list[Line]]]) -> None:
        """Rules of one priority: line by line, then those of several lines, of the cart, and of the delivery."""
        if len(batch) == 1:
            rule, lines = batch[0]
            self._settle_one(rule, lines)
            return
        rules_of: defaultdict[int, list[tuple[Rule, list[Line]]]] = defaultdict(list)
        for rule, lines in batch:
            if rule.level == "line":
                for line in lines:
                    rules_of[line.number].append((rule, lines))
        blocked: defaultdict[tuple[Rule, Why, Rule | None], list[Line]] = defaultdict(list)
        for number, contenders in rules_of.items():
            if len(contenders) > 1:
                contenders = sorted(
                    contenders, key=lambda pair: (-self._worth(pair[0], number, pair[1]), pair[0].place)
                )
            for rule, lines in contenders:
                self._off_line(rule, number, lines, blocked)
        self._tell(blocked)
        others = [(rule, lines) for rule, lines in batch if rule.level != "line"]
        others.sort(key=lambda pair: (pair[0].place[1], -self._worth_of_several(*pair), pair[0].place))
        for rule, lines in others:
            self._settle_one(rule, lines)

    def _settle_one(self, rule: Rule, lines: list[Line]) -> None:
        blocked: defaultdict[tuple[Rule, Why, Rule | None], list[Line]] = defaultdict(list)
        if rule.level == "line":
            for line in lines:
                self._off_line(rule, line.number, lines, blocked)
        elif rule.level == "lines":
            self._off_lines(rule, self._open(rule, lines, blocked))
        elif rule.level == "cart":
            self._off_cart(rule, self._open(rule, lines, blocked))
        else:
            self._off_shipping(rule, lines)
        self._tell(blocked)

    def _off_line(
        self,
        rule: Rule,
        number: int,
        lines: list[Line],
        blocked: defaultdict[tuple[Rule, Why, Rule | None], list[Line]],
    ) -> None:
        standing = self._standings[number]
        stopped = standing.stops(rule)
        if stopped is not None:
            blocked[rule, *stopped].append(standing.priced.line)
            return
        outcome = rule.modifiers.off_line(standing.priced, self._situation.currency, _units(rule, lines))
        if isinstance(outcome, Why):
            self.reject(rule, outcome, [standing.priced.line])
        else:
            self._take(rule, standing, outcome)

    def _off_lines(self, rule: Rule, open_: list[_Standing]) -> None:
        if not open_:
            return
        outcome = rule.modifiers.off_lines([standing.priced for standing in open_], self._situation.currency)
        if isinstance(outcome, Why):
            self.reject(rule, outcome)
            return
        for standing in open_:
            if standing.priced.line.number in outcome:
                self._take(rule, standing, outcome[standing.priced.line.number])
            elif rule.definition.type == "buy_x_get_y":
                # Its units have been bought for those that are free.
                standing.take(rule)

    def _off_cart(self, rule: Rule, open_: list[_Standing]) -> None:
        if not open_:
            return
        found = sum(standing.priced.line.subtotal for standing in open_)
        minimum = rule.modifiers.minimum_of(self._situation.currency)
        if found < minimum:
            self.reject(rule, Why("min-subtotal", minimum, found))
            return
        for standing in open_:
            standing.take(rule)
        lines = tuple(standing.priced.line for standing in open_)
        self._steps.append(Applied(rule, None, lines, 0, self._details(rule)))

    def _off_shipping(self, rule: Rule, lines: list[Line]) -> None:
        assert self._delivery is not None
        found = sum(line.subtotal for line in lines)
        minimum = rule.modifiers.minimum_of(self._situation.currency)
        stopped = self._delivery.stops(rule)
        if found < minimum:
            self.reject(rule, Why("min-subtotal", minimum, found))
        elif stopped is not None:
            self.reject(rule, stopped[0], by=stopped[1])
        else:
            self._delivery.take(rule)
            self._steps.append(Applied(rule, None, tuple(lines), 0, self._details(rule)))

    def _take(self, rule: Rule, standing: _Standing, cut: Cut) -> None:
        """Let a rule have a line, as far as there is room."""
        line = standing.priced.line
        amount, details = cut.amount, {**self._details(rule), **cut.details}
        room = max(0, standing.priced.net - standing.floor.amount)
        if amount > room:
            details["floor"] = {"by": standing.floor.by, "asked": amount, "floor": standing.floor.amount}
            amount = room
        left = self._budget(rule)
        if left is not None and amount > left:
            details["floor"] = {"by": "budget", "asked": amount, "left": left}
            amount = left
        if not amount:
            why = Why("floor", details["floor"], 0) if "floor" in details else Why("nothing-off", 1, 0)
            self.reject(rule, why, [line])
            return
        if left is not None:
            self._budgets[rule] = left - amount
        standing.priced.net -= amount
        standing.take(rule)
        self._steps.append(Applied(rule, line, (), amount, details))

    def _budget(self, rule: Rule) -> int | None:
        if not rule.is_limited:
            return None
        return self._budgets[rule] if rule in self._budgets else rule.budget_left(self._situation.facts)

    def _details(self, rule: Rule) -> dict[str, Any]:
        codes = coupons_used(rule.condition, self._situation)
        details: dict[str, Any] = {"type": rule.definition.type, "priority": rule.priority}
        return {**details, "coupons": codes} if codes else details

    def _open(
        self,
        rule: Rule,
        lines: Sequence[Line],
        blocked: defaultdict[tuple[Rule, Why, Rule | None], list[Line]],
    ) -> list[_Standing]:
        """The lines that are free for this rule."""
        open_ = []
        for line in lines:
            standing = self._standings[line.number]
            stopped = standing.stops(rule)
            if stopped is None:
                open_.append(standing)
            else:
                blocked[rule, *stopped].append(line)
        return open_

    def _tell(self, blocked: Mapping[tuple[Rule, Why, Rule | None], list[Line]]) -> None:
        for (rule, why, by), lines in blocked.items():
            self.reject(rule, why, lines, by)

    def _worth(self, rule: Rule, number: int, lines: list[Line]) -> int:
        """What a rule would take off a line as it stands."""
        priced = self._standings[number].priced
        outcome = rule.modifiers.off_line(priced, self._situation.currency, _units(rule, lines))
        return 0 if isinstance(outcome, Why) else outcome.amount

    def _worth_of_several(self, rule: Rule, lines: list[Line]) -> int:
        open_ = [self._standings[line.number].priced for line in lines if not self._standings[line.number].stops(rule)]
        if rule.level == "lines" and open_:
            outcome = rule.modifiers.off_lines(open_, self._situation.currency)
            return 0 if isinstance(outcome, Why) else sum(cut.amount for cut in outcome.values())
        if rule.level == "cart":
            return rule.modifiers.off_cart(sum(priced.net for priced in open_), self._situation.currency)
        return 0


def _units(rule: Rule, lines: Sequence[Line]) -> int:
    """Units in the rule's scope, for those types that count them."""
    return sum(line.quantity for line in lines) if rule.definition.type == "tiered" else 0
