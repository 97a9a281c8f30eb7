"""Modifiers: what a rule takes off, by its type. Exact arithmetic on whole minor units, and nothing else.

Types are of one of four levels, which are asked in this order whatever the priorities: those that look at one `line`,
those that look at several lines together (`lines`), those that take off the whole `cart`, and those about `shipping`.
What is rounded is rounded once for each line and rule, exactly half upwards; in minor units, so by the currency's own
number of decimals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from commerce_core.pricing.rounding import divide, percent_of, spread_within
from commerce_pricing_rules.conditions import Why
from commerce_pricing_rules.situation import Line
from commerce_pricing_rules.values import Amounts, Definition, Keys, Percent, Units, tuple_of

Level = Literal["line", "lines", "cart", "shipping"]


@dataclass(slots=True)
class Priced:
    """A line with what is left of its price: `net`, of all its units."""

    line: Line
    net: int

    @property
    def quantity(self) -> int:
        return self.line.item.quantity


class Cut(NamedTuple):
    """What a rule would take off a line, and what is worth telling of how it came about."""

    amount: int
    details: Mapping[str, Any]


class Modifiers(Definition):
    """Base of all. `type` is the rule's."""

    level: ClassVar[Level]

    def currencies(self) -> Iterable[Amounts]:
        """Everything in it that is an amount by currency, so that a basket in another one is refused."""
        return ()

    def off_line(self, priced: Priced, currency: str, units_in_scope: int) -> Cut | Why:
        """`line`: off one line."""
        raise NotImplementedError

    def off_lines(self, lines: Sequence[Priced], currency: str) -> dict[int, Cut] | Why:
        """`lines`: off several lines, by their numbers."""
        raise NotImplementedError

    def off_cart(self, goods: int, currency: str) -> int:
        """`cart`: off goods that cost so much."""
        raise NotImplementedError

    def minimum_of(self, currency: str) -> int:
        """`cart`, `shipping`: what the goods must cost before discounts."""
        return 0


def to_price(net: int, wanted: int, details: Mapping[str, Any]) -> Cut | Why:
    """What has to be taken off `net` so that `wanted` remains."""
    return Cut(net - wanted, details) if wanted < net else Why("not-cheaper", wanted, net)


class Percentage(Modifiers):
    """So many per cent off each line."""

    level = "line"
    type: Literal["percentage"]
    percent: Percent

    def off_line(self, priced: Priced, currency: str, units_in_scope: int) -> Cut | Why:
        return Cut(percent_of(priced.net, self.percent), {"percent": self.percent})


class FixedAmount(Modifiers):
    """So much off each unit, or off each line once."""

    level = "line"
    type: Literal["fixed_amount"]
    amounts: Amounts
    per: Literal["unit", "line"] = "unit"

    def currencies(self) -> Iterable[Amounts]:
        yield self.amounts

    def off_line(self, priced: Priced, currency: str, units_in_scope: int) -> Cut | Why:
        amount = self.amounts[currency] * (priced.quantity if self.per == "unit" else 1)
        return Cut(min(amount, priced.net), {"off": self.amounts[currency], "per": self.per})


class FixedPrice(Modifiers):
    """Each unit costs so much, if that is less."""

    level = "line"
    type: Literal["fixed_price"]
    prices: Amounts

    def currencies(self) -> Iterable[Amounts]:
        yield self.prices

    def off_line(self, priced: Priced, currency: str, units_in_scope: int) -> Cut | Why:
        price = self.prices[currency]
        return to_price(priced.net, price * priced.quantity, {"price": price})


class Tier(Definition):
    """From so many units on: a price for each unit, or so much off each, or so many per cent off."""

    from_: Units = Field(alias="from")
    percent: Percent | None = None
    amounts: Amounts | None = None
    prices: Amounts | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if [self.percent, self.amounts, self.prices].count(None) != 2:
            raise PydanticCustomError("one_of", "needs one of percent, amounts and prices")
        return self

    def cut(self, priced: Priced, currency: str) -> Cut | Why:
        details: dict[str, Any] = {"from": self.from_}
        if self.percent is not None:
            return Cut(percent_of(priced.net, self.percent), {**details, "percent": self.percent})
        if self.amounts is not None:
            amount = self.amounts[currency]
            return Cut(min(amount * priced.quantity, priced.net), {**details, "off": amount})
        assert self.prices is not None
        price = self.prices[currency]
        return to_price(priced.net, price * priced.quantity, {**details, "price": price})


class Tiered(Modifiers):
    """The more units, the cheaper each: counted by line, or over all lines in the rule's scope."""

    level = "line"
    type: Literal["tiered"]
    tiers: Annotated[tuple[Tier, ...], tuple_of, Field(min_length=1, max_length=50)]
    count: Literal["line", "scope"] = "line"

    @model_validator(mode="after")
    def _rise(self) -> Self:
        starts = [tier.from_ for tier in self.tiers]
        if starts != sorted(set(starts)):
            raise PydanticCustomError("tiers", "must each begin with more units than the one before")
        return self

    def currencies(self) -> Iterable[Amounts]:
        for tier in self.tiers:
            yield from (amounts for amounts in (tier.amounts, tier.prices) if amounts is not None)

    def off_line(self, priced: Priced, currency: str, units_in_scope: int) -> Cut | Why:
        units = priced.quantity if self.count == "line" else units_in_scope
        reached = [tier for tier in self.tiers if tier.from_ <= units]
        if not reached:
            return Why("min-quantity", self.tiers[0].from_, units)
        return reached[-1].cut(priced, currency)


class BuyXGetY(Modifiers):
    """Of every `buy` and `get` units, `get` are free (or `percent` cheaper).

    `same`: of each line by itself. `cheapest`: the units of all lines in scope together make up the sets, and the
    cheapest of all of them are free.
    """

    type: Literal["buy_x_get_y"]
    buy: Annotated[int, Field(ge=1, le=1_000)]
    get: Annotated[int, Field(ge=1, le=1_000)] = 1
    free: Literal["same", "cheapest"] = "same"
    percent: Percent = Field(default=100, validate_default=True)
    most_sets: Units | None = None

    @property
    def level(self) -> Level:  # type: ignore[override]
        return "line" if self.free == "same" else "lines"

    def off_line(self, priced: Priced, currency: str, units_in_scope: int) -> Cut | Why:
        free = self._free_of(priced.quantity)
        if not free:
            return Why("min-quantity", self.buy + self.get, priced.quantity)
        return self._cut(priced, free)

    def off_lines(self, lines: Sequence[Priced], currency: str) -> dict[int, Cut] | Why:
        units = sum(priced.quantity for priced in lines)
        left = self._free_of(units)
        if not left:
            return Why("min-quantity", self.buy + self.get, units)
        cuts = {}
        for priced in sorted(lines, key=lambda each: Fraction(each.net, each.quantity)):
            free = min(left, priced.quantity)
            cuts[priced.line.number] = self._cut(priced, free)
            left -= free
            if not left:
                break
        return cuts

    def _free_of(self, units: int) -> int:
        sets = units // (self.buy + self.get)
        return self.get * (sets if self.most_sets is None else min(sets, self.most_sets))

    def _cut(self, priced: Priced, free: int) -> Cut:
        numerator, denominator = (self.percent * free).as_integer_ratio()
        amount = divide(priced.net * numerator, 100 * priced.quantity * denominator)
        return Cut(amount, {"buy": self.buy, "get": self.get, "free_units": free, "percent": self.percent})


class Part(Definition):
    """So many units of one of these products, or of one of these variants."""

    quantity: Units = 1
    products: Keys | None = None
    variants: Keys | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.products is None) == (self.variants is None):
            raise PydanticCustomError("one_of", "needs either products or variants")
        return self

    def takes(self, line: Line) -> bool:
        return line.item.product_id in (self.products or ()) or line.item.variant_id in (self.variants or ())


class Bundle(Modifiers):
    """Several things together cost so much, as often as there is a whole set of them.

    Of several lines that would do for a part, the dearest units are taken. A line does for the first part that would
    have it.
    """

    level = "lines"
    type: Literal["bundle"]
    parts: Annotated[tuple[Part, ...], tuple_of, Field(min_length=1, max_length=20)]
    prices: Amounts

    def currencies(self) -> Iterable[Amounts]:
        yield self.prices

    def off_lines(self, lines: Sequence[Priced], currency: str) -> dict[int, Cut] | Why:
        lines_of: list[list[Priced]] = [[] for _ in self.parts]
        for priced in lines:
            number = next((number for number, part in enumerate(self.parts) if part.takes(priced.line)), None)
            if number is not None:
                lines_of[number].append(priced)
        units = [sum(priced.quantity for priced in found) for found in lines_of]
        sets = min(there // part.quantity for there, part in zip(units, self.parts, strict=True))
        if not sets:
            return Why("incomplete-bundle", [part.quantity for part in self.parts], units)
        taken: list[tuple[Priced, int]] = []
        for part, found in zip(self.parts, lines_of, strict=True):
            left = part.quantity * sets
            for priced in sorted(found, key=lambda each: Fraction(-each.net, each.quantity)):
                used = min(left, priced.quantity)
                left -= used
                if used:
                    taken.append((priced, used))
        worth = sum((Fraction(priced.net * used, priced.quantity) for priced, used in taken), Fraction(0))
        value, price = divide(worth.numerator, worth.denominator), self.prices[currency] * sets
        if price >= value:
            return Why("not-cheaper", price, value)
        common = lcm(*(priced.quantity for priced, _ in taken))
        weights = [priced.net * used * (common // priced.quantity) for priced, used in taken]
        shares = spread_within(value - price, weights, [priced.net for priced, _ in taken])
        return {
            priced.line.number: Cut(share, {"sets": sets, "price": self.prices[currency], "units": used})
            for (priced, used), share in zip(taken, shares, strict=True)
        }


class CartPercentage(Modifiers):
    """So many per cent off what the goods in scope cost after their own discounts, spread over them.

    `minimum` is what they must cost before discounts.
    """

    level = "cart"
    type: Literal["cart_percentage"]
    percent: Percent
    minimum: Amounts | None = None

    def currencies(self) -> Iterable[Amounts]:
        if self.minimum is not None:
            yield self.minimum

    def off_cart(self, goods: int, currency: str) -> int:
        return percent_of(goods, self.percent)

    def minimum_of(self, currency: str) -> int:
        return 0 if self.minimum is None else self.minimum[currency]


class CartAmount(Modifiers):
    """So much off the goods in scope together, spread over them. `minimum` is what they must cost before discounts."""

    level = "cart"
    type: Literal["cart_amount"]
    amounts: Amounts
    minimum: Amounts | None = None

    def currencies(self) -> Iterable[Amounts]:
        yield self.amounts
        if self.minimum is not None:
            yield self.minimum

    def off_cart(self, goods: int, currency: str) -> int:
        return min(goods, self.amounts[currency])

    def minimum_of(self, currency: str) -> int:
        return 0 if self.minimum is None else self.minimum[currency]


class FreeShipping(Modifiers):
    """The delivery costs nothing. `minimum` is what the goods in scope must cost before discounts."""

    level = "shipping"
    type: Literal["free_shipping"]
    minimum: Amounts | None = None

    def currencies(self) -> Iterable[Amounts]:
        if self.minimum is not None:
            yield self.minimum

    def minimum_of(self, currency: str) -> int:
        return 0 if self.minimum is None else self.minimum[currency]


AnyModifiers = Annotated[
    Percentage | FixedAmount | FixedPrice | Tiered | BuyXGetY | Bundle | CartPercentage | CartAmount | FreeShipping,
    Field(discriminator="type"),
]
RuleType = Literal[
    "percentage",
    "fixed_amount",
    "fixed_price",
    "tiered",
    "buy_x_get_y",
    "bundle",
    "cart_percentage",
    "cart_amount",
    "free_shipping",
]
