"""What a price rule is, and what happens when one fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from sqlalchemy.orm import Session

from commerce_core.api.problems import Problem
from commerce_core.pricing.basket import Basket
from commerce_core.pricing.quote import Origin, Quote


class PriceRuleFailed(Problem):
    """A price cannot be told, because the rule `rule` has failed. Nothing is sold at another price; try again."""

    slug = "price-rule-failed"
    title = "The price cannot be told just now"
    status = 503
    example: ClassVar[dict[str, Any]] = {
        "detail": "The price rule loyalty-discount has failed.",
        "rule": "loyalty-discount",
        "source": "loyalty",
    }

    def __init__(self, rule: Origin) -> None:
        super().__init__(
            f"The price rule {rule.code} has failed.",
            headers={"Retry-After": "5"},
            rule=rule.code,
            source=rule.source,
        )


class AmountTooLarge(Problem):
    """The amounts are larger than can be kept: fewer units, please."""

    slug = "amount-too-large"
    title = "The amount is too large"
    status = 422


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRule(Origin):
    """A rule: registered with `config.add_price_rule(rule)`, asked once for every quote.

    `apply(quote)` makes proposals to the quote, or says with `quote.reject(...)` why not. It is pure: no database, no
    clock (`quote.basket.now`), no network, nothing remembered. `prefetch(session, basket)` is its one chance to read
    the database, before the first stage; what it returns is `quote.prefetched` while the rule is asked. Rules with the
    same `prefetch` share what it returns: it is called once for all of them.
    Within a stage rules do not see each other; `order` decides who is heard where only one can be.

    A rule that says nothing is in the trace as one that did not apply, unless it is `quiet`: one that stands for many,
    each of which has its own code in what it says.
    """

    apply: Callable[[Quote], None]
    prefetch: Callable[[Session, Basket], Any] | None = None
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Pricing:
    """How this shop prices: `registry.pricing`. `rules` are sorted by stage, order and registration."""

    rules: tuple[PriceRule, ...] = ()
    prices_include_tax: bool = False

    def with_rule(self, rule: PriceRule) -> Pricing:
        """This, and one rule more. Raises ValueError when its code is taken."""
        taken = next((known for known in self.rules if known.code == rule.code), None)
        if taken is not None:
            raise ValueError(f"two price rules are called {rule.code!r}, of {taken.source} and of {rule.source}")
        # The sort is stable, so that rules of one order stay as they were registered.
        return replace(self, rules=tuple(sorted((*self.rules, rule), key=lambda known: (known.stage, known.order))))
