"""The quote: what a basket costs so far, and the words in which a rule says what should change.

A rule reads amounts as they were when its stage began, because nothing that is proposed takes effect before the stage
is settled (settlement.py). All amounts are whole minor units of the quote's currency.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from typing import Any, Literal, NamedTuple
from uuid import UUID

from commerce_core.pricing.basket import Basket, Item

# What a BIGINT holds. Every amount and every sum of a quote stays within it.
LARGEST_AMOUNT = 2**63 - 1


class Stage(IntEnum):
    """When a rule is asked. A stage sees what those before it have settled."""

    BASE = 100
    CATALOG = 200
    LINE = 300
    CART = 400
    SHIPPING = 500
    FEE = 600
    TAX = 700
    ROUND = 900


_NAMES = {stage: stage.name for stage in Stage}

Action = Literal["price", "discount", "shipping", "shipping_off", "fee", "tax", "exemption", "rounding"]

_STAGES_OF: dict[Action, tuple[Stage, ...]] = {
    "price": (Stage.BASE, Stage.CATALOG),
    "discount": (Stage.LINE, Stage.CART),
    "shipping": (Stage.SHIPPING,),
    "shipping_off": (Stage.SHIPPING,),
    "fee": (Stage.FEE,),
    "tax": (Stage.TAX,),
    "exemption": (Stage.TAX,),
    "rounding": (Stage.ROUND,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Which rule it was: stamped on all that it does. `source` is the plugin's name; `label` is for customers."""

    code: str
    source: str
    stage: Stage
    order: int = 100
    label: str = ""


# Tuples with names, here and below: a quote makes a hundred of them, and frozen dataclasses take several times as long.
class Adjustment(NamedTuple):
    """A part of the total, signed as it counts (a discount is below zero), and where it came from.

    With a `key` it is about that item. `included` is tax that the prices contain already, so it is not added.
    """

    kind: Literal["discount", "shipping", "fee", "tax", "rounding"]
    code: str
    label: str
    source: str
    stage: Stage
    order: int
    amount: int
    key: UUID | None = None
    included: bool = False


class QuoteLine(NamedTuple):
    """An item with its price. `unit_amount` is what BASE and CATALOG have made of it; `tax_total` is on `net`."""

    item: Item
    unit_amount: int = 0
    discount_total: int = 0
    tax_total: int = 0

    @property
    def key(self) -> UUID:
        return self.item.key

    @property
    def quantity(self) -> int:
        return self.item.quantity

    @property
    def subtotal(self) -> int:
        """Before discounts."""
        return self.unit_amount * self.item.quantity

    @property
    def net(self) -> int:
        """After discounts; with the tax in it if prices include tax, else without."""
        return self.subtotal - self.discount_total


class Proposal(NamedTuple):
    """What a rule would like. Settled with the others of its stage. `line` is the line of `key`, by its number."""

    origin: Origin
    position: int
    action: Action
    code: str
    label: str
    amount: int
    key: UUID | None
    line: int | None
    keys: Collection[UUID] | None
    exclusive_group: str | None
    details: Mapping[str, Any]
    most: Mapping[UUID, int] | None = None

    @property
    def place(self) -> tuple[int, str, int]:
        """Its place among the others, whichever order the rules were registered in."""
        return (self.origin.order, self.origin.code, self.position)


@dataclass(slots=True)
class Quote:
    """What a basket costs, by stage, and why.

    When it is finished: `total` = `subtotal` - `discount_total` + `shipping_total` + `fee_total`, + `tax_total` unless
    `prices_include_tax`; the lines add up to `subtotal` and `discount_total`; and `subtotal` with all adjustments that
    are not `included` is `total`. Rounding counts into `fee_total`, the only one that it may bring below zero.
    `tax_estimated` says that the destination was not known. `trace` is ready for JSON.

    The methods are for rules, while their stage lasts. Their `code` and `label` are the rule's unless given; further
    named arguments are kept in the trace. An amount that is no int, or a method that does not belong to the stage,
    fails the quote.
    """

    basket: Basket
    prices_include_tax: bool = False
    # The items are shown next to each other, not bought together; only unit prices are wanted.
    browsing: bool = False
    lines: tuple[QuoteLine, ...] = ()
    subtotal: int = 0
    discount_total: int = 0
    shipping_total: int = 0
    fee_total: int = 0
    tax_total: int = 0
    total: int = 0
    tax_estimated: bool = False
    adjustments: list[Adjustment] = field(default_factory=list)
    trace: list[dict[str, Any]] = field(default_factory=list)
    # What the rule's own `prefetch` has returned.
    prefetched: Any = None

    # The number of each item's line, by its key; by that number, the keys as text, and what is being made of the lines.
    _numbers: dict[UUID, int] = field(default_factory=dict)
    _texts: list[str] = field(default_factory=list)
    _units: list[int | None] = field(default_factory=list)
    _discounts: list[int] = field(default_factory=list)
    _taxes: list[int] = field(default_factory=list)
    _origin: Origin | None = None
    _proposals: list[Proposal] = field(default_factory=list)
    _notes: list[tuple[tuple[int, str, int], dict[str, Any]]] = field(default_factory=list)
    _position: int = 0

    @property
    def currency(self) -> str:
        return self.basket.currency

    @property
    def goods_total(self) -> int:
        """What the goods cost after their discounts."""
        return self.subtotal - self.discount_total

    def line(self, key: UUID) -> QuoteLine:
        """The line of the item with this key. Raises KeyError."""
        return self.lines[self._numbers[key]]

    # What rules say.

    def set_unit_price(
        self,
        key: UUID,
        amount: int,
        *,
        code: str | None = None,
        label: str | None = None,
        exclusive_group: str | None = "unit-price",
        **details: Any,
    ) -> None:
        """BASE: what one unit costs; the rule with the highest order is believed. CATALOG: what it should cost instead.

        Of several in CATALOG the lowest stands, because they share a group; without a group, their differences to the
        price before are added up.
        """
        self._propose("price", amount, code, label, exclusive_group, details, key=key)

    def discount_line(
        self,
        key: UUID,
        amount: int,
        *,
        code: str | None = None,
        label: str | None = None,
        exclusive_group: str | None = None,
        **details: Any,
    ) -> None:
        """LINE: so much off a line (all its units together). A line is never below zero."""
        self._propose("discount", amount, code, label, exclusive_group, details, key=key)

    def discount_cart(
        self,
        amount: int,
        *,
        keys: Collection[UUID] | None = None,
        code: str | None = None,
        label: str | None = None,
        exclusive_group: str | None = None,
        most: Mapping[UUID, int] | None = None,
        **details: Any,
    ) -> None:
        """CART: so much off the whole, or off the items with these keys; spread over their lines by what they cost.

        No line gets more of it than `most` says, if it says something of it; what does not fit goes to the others.
        """
        self._propose("discount", amount, code, label, exclusive_group, details, keys=keys, most=most)

    def add_shipping(
        self,
        amount: int,
        *,
        code: str | None = None,
        label: str | None = None,
        exclusive_group: str | None = None,
        **details: Any,
    ) -> None:
        """SHIPPING: so much for the delivery."""
        self._propose("shipping", amount, code, label, exclusive_group, details)

    def reduce_shipping(
        self,
        amount: int | None = None,
        *,
        code: str | None = None,
        label: str | None = None,
        exclusive_group: str | None = None,
        **details: Any,
    ) -> None:
        """SHIPPING: so much off what the rules of this stage charge; all of it without an amount."""
        self._propose(
            "shipping_off", LARGEST_AMOUNT if amount is None else amount, code, label, exclusive_group, details
        )

    def add_fee(
        self,
        amount: int,
        *,
        code: str | None = None,
        label: str | None = None,
        exclusive_group: str | None = None,
        **details: Any,
    ) -> None:
        """FEE: so much on top, for gift wrap or cash on delivery, say."""
        self._propose("fee", amount, code, label, exclusive_group, details)

    def add_tax(
        self, amount: int, *, key: UUID | None = None, code: str | None = None, label: str | None = None, **details: Any
    ) -> None:
        """TAX: on a line, or without a key on shipping and fees. Contained in the prices if those include tax."""
        self._propose("tax", amount, code, label, None, details, key=key)

    def exempt_from_tax(
        self,
        keys: Collection[UUID] | None = None,
        *,
        code: str | None = None,
        label: str | None = None,
        **details: Any,
    ) -> None:
        """TAX: no tax on the items with these keys, or on anything. Prices that include tax stay as they are."""
        self._propose("exemption", 0, code, label, None, details, keys=keys)

    def round_total(self, amount: int, *, code: str | None = None, label: str | None = None, **details: Any) -> None:
        """ROUND: so much more, or less, to pay (to the next five cents, say)."""
        self._propose("rounding", amount, code, label, None, details)

    def reject(self, code: str, reason: str, *, key: UUID | None = None, **details: Any) -> None:
        """Say why something was tried and does not apply: `reject("BULK", "min-quantity", wanted=3, found=2)`."""
        entry: dict[str, Any] = {"outcome": "rejected", "reason": reason}
        if key is not None:
            number = self._numbers.get(key)
            entry["key"] = str(key) if number is None else self._texts[number]
        self._note(self._now_asked(), code, self._position, entry, plain(details))

    def estimate_tax(self) -> None:
        """TAX: the destination had to be guessed."""
        self.tax_estimated = True

    # For settlement.py.

    def _now_asked(self) -> Origin:
        if self._origin is None:
            raise RuntimeError("a quote takes proposals only from the rule that is being asked")
        return self._origin

    def _propose(
        self,
        action: Action,
        amount: int,
        code: str | None,
        label: str | None,
        exclusive_group: str | None,
        details: Mapping[str, Any],
        *,
        key: UUID | None = None,
        keys: Collection[UUID] | None = None,
        most: Mapping[UUID, int] | None = None,
    ) -> None:
        origin = self._now_asked()
        if origin.stage not in _STAGES_OF[action]:
            raise ValueError(f"this cannot be proposed in stage {origin.stage.name}")
        if type(amount) is not int:
            raise TypeError(f"an amount is an int of minor units, not a {type(amount).__name__}")
        if amount < 0 and action != "rounding":
            raise ValueError(f"an amount cannot be below zero, like {amount}")
        if abs(amount) > LARGEST_AMOUNT:
            raise ValueError(f"an amount cannot be as large as {amount}")
        if action == "discount" and (key is None) is (origin.stage is Stage.LINE):
            raise ValueError(
                f"lines are discounted in stage LINE and the cart in stage CART, not in {origin.stage.name}"
            )
        line = None if key is None else self._numbers[key]
        self._proposals.append(
            Proposal(
                origin,
                self._position,
                action,
                code or origin.code,
                label or origin.label or code or origin.code,
                amount,
                key,
                line,
                keys,
                exclusive_group,
                plain(details) if details else details,
                most,
            )
        )
        self._position += 1

    def _note(
        self, origin: Origin, code: str, position: int, entry: dict[str, Any], details: Mapping[str, Any]
    ) -> None:
        """A line for the trace, put in its place when the stage is settled."""
        whole: dict[str, Any] = {
            "stage": _NAMES[origin.stage],
            "order": origin.order,
            "source": origin.source,
            "code": code,
        }
        whole.update(entry)
        if details:
            whole["details"] = details
        self._notes.append(((origin.order, origin.code, position), whole))


_PLAIN = frozenset({str, bool, type(None)})


def plain(value: Any) -> Any:
    """`value` as JSON can say it, exactly. Raises TypeError for a float, or what has no plain form."""
    kind = type(value)
    # First what there is most of: a trace may have thousands of values.
    if kind in _PLAIN:
        return value
    if kind is dict:
        return {name if type(name) is str else str(name): plain(inner) for name, inner in value.items()}
    match value:
        case None | bool():
            return value
        case int():
            # Larger ones are not read back by everybody.
            return int(value) if -LARGEST_AMOUNT <= value <= LARGEST_AMOUNT else str(int(value))
        case str():
            return str(value)
        case dict() | Mapping():
            return {str(name): plain(inner) for name, inner in value.items()}
        case Decimal() | Fraction() | UUID():
            return str(value)
        case datetime() | date():
            return value.isoformat()
        case list() | tuple() | set() | frozenset():
            return [plain(inner) for inner in value]
    raise TypeError(f"a {type(value).__name__} cannot be kept in the trace")
