"""The rules in memory, always those of now.

Every quote reads what only the database knows in one statement (facts.py), and with it the token that every change of
rules makes anew. A process that has compiled another token's rules compiles them again before it goes on. So a change
counts from its commit on, in every process, and nobody has to be told; what costs is one uncommitted glance at a row.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import structlog
from pydantic import ValidationError
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from commerce_core.pricing.basket import Basket
from commerce_pricing_rules import facts
from commerce_pricing_rules.definitions import RuleDefinition
from commerce_pricing_rules.facts import Mark
from commerce_pricing_rules.floors import Floors
from commerce_pricing_rules.models import PricingList, PricingRule
from commerce_pricing_rules.quoting import Evaluation
from commerce_pricing_rules.ruleset import Rule, RuleSet
from commerce_pricing_rules.settings import Settings

_log = structlog.get_logger("commerce.pricing")
# Rules that ended longer ago are left out: nobody asks any more why they do not apply.
_REMEMBERED = timedelta(days=2)
_SHARED = "pricing evaluation"
_TREE = text("""
    WITH RECURSIVE above AS (
        SELECT id, id AS ancestor, parent_id FROM category
        UNION ALL
        SELECT above.id, category.id, category.parent_id FROM above JOIN category ON category.id = above.parent_id
    )
    SELECT id, array_agg(ancestor) FROM above GROUP BY id""")


class RuleBook:
    """The compiled rules of a process. Safe between threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.floors = Floors(settings)
        self._lock = threading.Lock()
        self._compiled: tuple[Mark, RuleSet] = (Mark(None, None), RuleSet((), zone=settings.zone))
        self.compiled_times = 0

    @property
    def known(self) -> RuleSet:
        """The rules that were compiled last, which may not be those of now any more: see `at`."""
        return self._compiled[1]

    def prefetch(self, session: Session, basket: Basket) -> Evaluation:
        """The rules and facts for a quote: one statement, and a second one where there are price lists."""
        shared: Evaluation | None = session.info.get(_SHARED)
        if shared is not None:
            return self._with_lists(session, basket, Evaluation(shared.ruleset, shared.facts, self.floors))
        ruleset = self._compiled[1]
        while True:
            mark, found = facts.read(session, basket, ruleset)
            current = self.at(session, mark, now=basket.now)
            if current is ruleset:
                break
            # What there is to know may be something else for other rules.
            ruleset = current
        return self._with_lists(session, basket, Evaluation(ruleset, found, self.floors))

    @contextmanager
    def one_reading(self, session: Session, basket: Basket, ruleset: RuleSet | None = None) -> Iterator[Evaluation]:
        """Within the block, quotes of the session go by what is read now: for many quotes of one buyer, at one time.

        With a `ruleset` they go by that one, instead of the rules of now.
        """
        if ruleset is None:
            evaluation = self.prefetch(session, basket)
        else:
            evaluation = Evaluation(ruleset, facts.read(session, basket, ruleset)[1], self.floors)
        session.info[_SHARED] = evaluation
        try:
            yield evaluation
        finally:
            del session.info[_SHARED]

    def now(self, session: Session, now: datetime) -> RuleSet:
        """The rules as they are now."""
        return self.at(session, facts.read_mark(session, self._compiled[1]), now=now)

    def at(self, session: Session, mark: Mark, *, now: datetime) -> RuleSet:
        """The rules that `mark`, which was just read, stands for."""
        known, ruleset = self._compiled
        if mark == known:
            return ruleset
        with self._lock:
            known, ruleset = self._compiled
            if mark == known:
                return ruleset
            # Read again: what is compiled must be what the mark says, and may have changed meanwhile.
            mark = facts.read_mark(session, None)
            ruleset = load(session, self.settings, now=now)
            self._compiled = (mark if ruleset.needs_categories else Mark(mark.token, None), ruleset)
            self.compiled_times += 1
            return ruleset

    def _with_lists(self, session: Session, basket: Basket, evaluation: Evaluation) -> Evaluation:
        if evaluation.ruleset.has_lists:
            variant_ids = [item.variant_id for item in basket.items]
            prices = facts.read_list_prices(session, variant_ids, basket.currency, basket.buyer.tier, basket.now)
            evaluation.facts = facts.with_prices(evaluation.facts, prices)
        return evaluation


def load(session: Session, settings: Settings, *, now: datetime) -> RuleSet:
    """Compile the active rules. Three statements. A rule that cannot be read fails, and with it every price."""
    rows = session.scalars(
        select(PricingRule).where(
            PricingRule.active,
            PricingRule.deleted_at.is_(None),
            PricingRule.ends_at.is_(None) | (PricingRule.ends_at > now - _REMEMBERED),
        )
    ).all()
    lists = session.execute(select(PricingList.starts_at, PricingList.ends_at).where(PricingList.active)).all()
    categories = {id_: frozenset(ancestors) for id_, ancestors in session.execute(_TREE)}
    return RuleSet(
        [compiled(row) for row in rows],
        zone=settings.zone,
        categories=categories,
        has_lists=bool(lists),
        list_instants=[instant for row in lists for instant in row if instant is not None],
    )


def compiled(row: PricingRule) -> Rule:
    """A rule of the table. Raises ValueError, naming it."""
    try:
        return Rule(row.id, RuleDefinition.of(row))
    except ValidationError as error:
        _log.error("a price rule cannot be read", rule=str(row.id), name=row.name, error=str(error))
        raise ValueError(f"the price rule {row.id} ({row.name}) cannot be read") from error
