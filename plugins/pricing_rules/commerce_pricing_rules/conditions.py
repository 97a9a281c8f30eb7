"""Conditions: what must be so for a rule to apply.

Each kind says how it is written, when it holds, and what was compared. A condition holds, does not, or **cannot be
told** (None): whatever is asked of the customer cannot be told of a guest. What cannot be told does not hold, and
neither does its contrary, so that `not` never makes a guest a customer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import MAXYEAR, MINYEAR, date, time, timedelta
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self
from uuid import UUID

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from commerce_pricing_rules.situation import Line, Situation
from commerce_pricing_rules.values import (
    Amounts,
    Currencies,
    Day,
    Definition,
    Keys,
    Name,
    Names,
    Percent,
    TimeOfDay,
    Units,
    tuple_of,
)

MIDNIGHT = time(0)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Weekdays = Annotated[tuple[Weekday, ...], tuple_of, Field(min_length=1, max_length=7)]
MOST_DEPTH = 8
MOST_CONDITIONS = 100
Verdict = bool | None


class Why(NamedTuple):
    """Why something does not apply: a reason, what was wanted, and what was found."""

    reason: str
    wanted: Any = None
    found: Any = None


class Condition(Definition):
    """Base of all. `line` is the one that is asked about, `lines` are those in the rule's scope."""

    # Whether it may hold for one line and not for another of the same basket.
    about_a_line: ClassVar[bool] = False
    # Whether it asks for something that cannot be told of a guest.
    about_the_customer: ClassVar[bool] = False

    def holds(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Verdict:
        raise NotImplementedError

    def why_not(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Why:
        """What to say where it does not hold."""
        raise NotImplementedError

    def depends_on_line(self) -> bool:
        return self.about_a_line

    def within(self) -> Iterator[Condition]:
        """It, and all that it is made of."""
        yield self

    def times_of_day(self) -> Iterable[time]:
        """When, on any day, it may begin or cease to hold."""
        return ()

    def dates(self) -> Iterable[date]:
        """At the beginning of which days it may begin or cease to hold."""
        return ()


# --- All, any, not ---


class Several(Condition):
    of: Annotated[tuple[AnyCondition, ...], tuple_of, Field(min_length=1, max_length=MOST_CONDITIONS)]

    def depends_on_line(self) -> bool:
        return any(part.depends_on_line() for part in self.of)

    def within(self) -> Iterator[Condition]:
        yield self
        for part in self.of:
            yield from part.within()


class All(Several):
    """Every one of these."""

    type: Literal["all"]

    def holds(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Verdict:
        verdict: Verdict = True
        for part in self.of:
            one = part.holds(situation, line, lines)
            if one is False:
                return False
            if one is None:
                verdict = None
        return verdict

    def why_not(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Why:
        first = next(part for part in self.of if not part.holds(situation, line, lines))
        return first.why_not(situation, line, lines)


class AnyOf(Several):
    """At least one of these."""

    type: Literal["any"]

    def holds(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Verdict:
        verdict: Verdict = False
        for part in self.of:
            one = part.holds(situation, line, lines)
            if one:
                return True
            if one is None:
                verdict = None
        return verdict

    def why_not(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Why:
        whys = [part.why_not(situation, line, lines) for part in self.of]
        return Why("none-of-several", [[why.reason, why.wanted] for why in whys], [why.found for why in whys])


class Not(Condition):
    """The contrary. Of what cannot be told, the contrary cannot be told either."""

    type: Literal["not"]
    of: AnyCondition

    def depends_on_line(self) -> bool:
        return self.of.depends_on_line()

    def within(self) -> Iterator[Condition]:
        yield self
        yield from self.of.within()

    def holds(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Verdict:
        one = self.of.holds(situation, line, lines)
        return None if one is None else not one

    def why_not(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Why:
        if self.of.holds(situation, line, lines) is None:
            return self.of.why_not(situation, line, lines)
        return Why("excluded", f"not {getattr(self.of, 'type', '')}", True)


# --- How much ---


class Quantity(Condition):
    """So many units: of the line, of all lines in the rule's scope together, or of the whole cart."""

    type: Literal["quantity"]
    of: Literal["line", "scope", "cart"] = "line"
    min: Units | None = None
    max: Units | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        _check_limits(self.min, self.max)
        return self

    def depends_on_line(self) -> bool:
        return self.of == "line"

    def holds(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Verdict:
        found = self._found(situation, line, lines)
        return (self.min is None or found >= self.min) and (self.max is None or found <= self.max)

    def why_not(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Why:
        found = self._found(situation, line, lines)
        if self.min is not None and found < self.min:
            return Why("min-quantity", self.min, found)
        return Why("max-quantity", self.max, found)

    def _found(self, situation: Situation, line: Line, lines: Sequence[Line]) -> int:
        if self.of == "line":
            return line.item.quantity
        return situation.units if self.of == "cart" else sum(each.quantity for each in lines)


class CartSubtotal(Condition):
    """What the goods cost before discounts: all of the cart, or those in the rule's scope. By currency, minor units."""

    type: Literal["cart_subtotal"]
    of: Literal["cart", "scope"] = "cart"
    min: Amounts | None = None
    max: Amounts | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.min is None and self.max is None:
            raise _no_limit()
        for currency in (self.min or {}).keys() & (self.max or {}).keys():
            _check_limits((self.min or {})[currency], (self.max or {})[currency])
        return self

    def holds(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Verdict:
        found, currency = self._found(situation, lines), situation.currency
        # Without an amount in this currency it cannot be said to be enough, nor to be little enough.
        if self.min is not None and (currency not in self.min or found < self.min[currency]):
            return False
        return self.max is None or (currency in self.max and found <= self.max[currency])

    def why_not(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Why:
        found, currency = self._found(situation, lines), situation.currency
        for reason, limit in (("min-subtotal", self.min), ("max-subtotal", self.max)):
            if limit is not None and currency not in limit:
                return Why("no-amount-for-currency", sorted(limit), currency)
            if limit is not None and (found < limit[currency] if reason == "min-subtotal" else found > limit[currency]):
                return Why(reason, limit[currency], found)
        raise AssertionError("it holds")

    def _found(self, situation: Situation, lines: Sequence[Line]) -> int:
        return situation.subtotal if self.of == "cart" else sum(each.subtotal for each in lines)


# --- Who ---


class OfCustomer(Condition):
    about_the_customer: ClassVar[bool] = True

    def holds(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Verdict:
        return None if situation.basket.buyer.user_id is None else self.holds_for_customer(situation)

    def holds_for_customer(self, situation: Situation) -> bool:
        raise NotImplementedError

    def why_not(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Why:
        if situation.is_guest:
            return Why("guest", self.asked(), None)
        return self.compared(situation)

    def asked(self) -> Any:
        """What it wants of a customer."""
        raise NotImplementedError

    def compared(self, situation: Situation) -> Why:
        raise NotImplementedError


class CustomerTier(OfCustomer):
    """The customer is of one of these groups (the user's `tier`)."""

    type: Literal["customer_tier"]
    tiers: Names

    def holds_for_customer(self, situation: Situation) -> bool:
        return situation.buyer.tier in self.tiers

    def asked(self) -> Any:
        return list(self.tiers)

    def compared(self, situation: Situation) -> Why:
        return Why("customer-tier", list(self.tiers), situation.buyer.tier)


class Customer(OfCustomer):
    """The customer is one of these users."""

    type: Literal["customer"]
    ids: Keys

    @cached_property
    def _ids(self) -> frozenset[UUID]:
        return frozenset(self.ids)

    def holds_for_customer(self, situation: Situation) -> bool:
        return situation.buyer.user_id in self._ids

    def asked(self) -> Any:
        # Not the ids: traces are shown to customers, and other customers are none of their business.
        return "customer"

    def compared(self, situation: Situation) -> Why:
        return Why("customer", None, None)


class FirstOrder(OfCustomer):
    """The customer has no other order that was not cancelled."""

    type: Literal["first_order"]

    def holds_for_customer(self, situation: Situation) -> bool:
        return situation.facts.is_first_order is True

    def asked(self) -> Any:
        return "first order"

    def compared(self, situation: Situation) -> Why:
        return Why("first-order", True, False)


# --- When, on the shop's clock on the wall ---


class DayOfWeek(Condition):
    """On these days of the week."""

    type: Literal["day_of_week"]
    days: Weekdays

    def holds(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Verdict:
        return DAYS[situation.local.weekday()] in self.days

    def why_not(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Why:
        return Why("day-of-week", list(self.days), DAYS[situation.local.weekday()])

    def times_of_day(self) -> Iterable[time]:
        return (MIDNIGHT,)


class TimeRange(Condition):
    """From this time of day on, until before that one; over midnight if that is earlier.

    With `days`, a range belongs to the day on which it begins: Friday's 22:00 to 02:00 ends on Saturday. It goes by the
    clock on the wall: an hour that comes twice counts twice, one that is left out not at all.
    """

    type: Literal["time_range"]
    from_: TimeOfDay = Field(alias="from")
    to: TimeOfDay
    days: Weekdays | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.from_ == self.to:
            raise PydanticCustomError("empty_range", "must end at another time than it begins")
        return self

    def holds(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Verdict:
        local = situation.local
        clock = local.time()
        began_yesterday = False
        if self.from_ < self.to:
            within = self.from_ <= clock < self.to
        else:
            began_yesterday = clock < self.to
            within = began_yesterday or clock >= self.from_
        if not within or self.days is None:
            return within
        day = local.date() - timedelta(days=1) if began_yesterday else local.date()
        return DAYS[day.weekday()] in self.days

    def why_not(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Why:
        wanted = f"{self.from_:%H:%M}-{self.to:%H:%M}"
        if self.days is not None:
            wanted += f" of {', '.join(self.days)}"
        return Why("time-range", wanted, f"{situation.local:%a %H:%M}".lower())

    def times_of_day(self) -> Iterable[time]:
        return (self.from_, self.to) if self.days is None else (self.from_, self.to, MIDNIGHT)


class DateRange(Condition):
    """On the days from one to another, both included; open at an end that is left out."""

    type: Literal["date_range"]
    from_: Day | None = Field(default=None, alias="from")
    to: Day | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        _check_limits(self.from_, self.to)
        return self

    def holds(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Verdict:
        today = situation.local.date()
        return (self.from_ is None or self.from_ <= today) and (self.to is None or today <= self.to)

    def why_not(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Why:
        return Why("date-range", [self.from_, self.to], situation.local.date())

    def dates(self) -> Iterable[date]:
        # Not those at the ends of the calendar, which in UTC may be in no year that there is: nobody waits for them.
        if self.from_ is not None and self.from_.year > MINYEAR:
            yield self.from_
        if self.to is not None and self.to.year < MAXYEAR:
            yield self.to + timedelta(days=1)


# --- What ---


class InCategory(Condition):
    """The line's product is in one of these categories, or below one unless `subcategories` is false."""

    about_a_line: ClassVar[bool] = True
    type: Literal["category"]
    ids: Keys
    subcategories: bool = True

    @cached_property
    def _ids(self) -> frozenset[UUID]:
        return frozenset(self.ids)

    def holds(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Verdict:
        if self.subcategories:
            return not self._ids.isdisjoint(line.categories)
        return line.item.category_id in self._ids

    def why_not(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Why:
        return Why("category", list(self.ids), line.item.category_id)


class OfBrand(Condition):
    """The line's product is of one of these brands."""

    about_a_line: ClassVar[bool] = True
    type: Literal["brand"]
    ids: Keys

    @cached_property
    def _ids(self) -> frozenset[UUID]:
        return frozenset(self.ids)

    def holds(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Verdict:
        return line.item.brand_id in self._ids

    def why_not(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Why:
        return Why("brand", list(self.ids), line.item.brand_id)


class HasAttribute(Condition):
    """The line's variant, or its product, has one of these values of an attribute."""

    about_a_line: ClassVar[bool] = True
    type: Literal["attribute"]
    name: Name
    values: Names

    def holds(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Verdict:
        return has_value(line.item.attributes.get(self.name), self.values)

    def why_not(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Why:
        found = line.item.attributes.get(self.name)
        return Why("attribute", {self.name: list(self.values)}, None if found is None else str(found))


# --- Which cart ---


class Coupon(Condition):
    """The cart has this coupon, or one of this campaign, and it can be used."""

    type: Literal["coupon"]
    code: Name | None = None
    campaign: Name | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.code is None) == (self.campaign is None):
            raise PydanticCustomError("code_or_campaign", "needs either a code or a campaign")
        return self

    @cached_property
    def wanted_code(self) -> str | None:
        return None if self.code is None else self.code.upper()

    def holds(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Verdict:
        found = situation.coupon(self.wanted_code, self.campaign)
        return found is not None and found.refusal is None

    def why_not(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Why:
        found = situation.coupon(self.wanted_code, self.campaign)
        if found is not None and found.refusal is not None:
            return Why(*found.refusal)
        # What codes there are is not told to who does not know them.
        return Why("coupon", None, None)


class InCurrency(Condition):
    """The cart is in one of these currencies."""

    type: Literal["currency"]
    currencies: Currencies

    def holds(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Verdict:
        return situation.currency in self.currencies

    def why_not(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Why:
        return Why("currency", list(self.currencies), situation.currency)


class OfChannel(Condition):
    """The customer says that they come from one of these channels (`X-Channel`)."""

    type: Literal["channel"]
    channels: Names

    def holds(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Verdict:
        return situation.buyer.channel in self.channels

    def why_not(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Why:
        return Why("channel", list(self.channels), situation.buyer.channel)


class Bucket(Condition):
    """An A/B test: this share (per cent) of customers and guests' carts, always the same ones for one `experiment`.

    `from` moves the share along: 50 per cent from 0, and 50 from 50, are the two halves. Who has no cart yet is in no
    bucket.
    """

    type: Literal["ab_bucket"]
    experiment: Name
    share: Percent
    from_: Annotated[int, Field(ge=0, le=100)] = Field(default=0, alias="from")

    def holds(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Verdict:
        bucket = bucket_of(self.experiment, situation.buyer.owner)
        return bucket is not None and self.from_ * 100 <= bucket < (self.from_ + self.share) * 100

    def why_not(self, situation: Situation, line: Line, lines: Sequence[Line]) -> Why:
        return Why("ab-bucket", {"experiment": self.experiment, "from": self.from_, "share": self.share}, None)


def bucket_of(experiment: str, owner: str | None) -> int | None:
    """Which of 10,000 buckets a user, or a guest's cart, is in; None for nobody."""
    if owner is None:
        return None
    digest = hashlib.blake2b(f"{experiment}\n{owner}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % 10_000


def has_value(found: Any, values: Iterable[str]) -> bool:
    """Whether an attribute is, or has among several, one of these values."""
    if isinstance(found, (list, tuple)):
        return any(str(each) in values for each in found)
    return found is not None and str(found) in values


AnyCondition = Annotated[
    All
    | AnyOf
    | Not
    | Quantity
    | CartSubtotal
    | CustomerTier
    | Customer
    | FirstOrder
    | DayOfWeek
    | TimeRange
    | DateRange
    | InCategory
    | OfBrand
    | HasAttribute
    | Coupon
    | InCurrency
    | OfChannel
    | Bucket,
    Field(discriminator="type"),
]
for _kind in (Several, All, AnyOf, Not):
    _kind.model_rebuild()


def check_size(condition: Condition) -> Condition:
    """Refuse what is too large to be meant. Raises PydanticCustomError."""
    if len(list(condition.within())) > MOST_CONDITIONS:
        raise PydanticCustomError(
            "too_many_conditions", "must not have more than {most} parts", {"most": MOST_CONDITIONS}
        )
    return condition


def coupons_used(condition: Condition | None, situation: Situation) -> dict[str, UUID]:
    """The coupons of the basket that a condition goes by: their ids, by their codes."""
    if condition is None or not situation.facts.coupons:
        return {}
    found = [
        situation.coupon(part.wanted_code, part.campaign) for part in condition.within() if isinstance(part, Coupon)
    ]
    return {each.code: each.id for each in found if each is not None and each.refusal is None}


def _no_limit() -> PydanticCustomError:
    return PydanticCustomError("no_limit", "needs a lower or an upper limit, or both")


def _check_limits(lower: Any, upper: Any) -> None:
    if lower is None and upper is None:
        raise _no_limit()
    if lower is not None and upper is not None and lower > upper:
        raise PydanticCustomError("empty_range", "must not end before it begins")
