"""A rule as staff write it and as it is kept: checked to the last field, and then trusted."""

from __future__ import annotations

from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from commerce_core.api.schemas import INT32_MAX, Moment, Text
from commerce_pricing_rules.conditions import MOST_DEPTH, AnyCondition, check_size, has_value
from commerce_pricing_rules.modifiers import AnyModifiers, RuleType
from commerce_pricing_rules.situation import Line
from commerce_pricing_rules.values import Amount, CurrencyCode, Definition, Keys, Name, Names, Units


class Scope(Definition):
    """Which goods a rule is about: those that are named in one way or another; all of them if nothing is."""

    products: Keys | None = None
    variants: Keys | None = None
    categories: Keys | None = Field(default=None, description="With the categories below them.")
    brands: Keys | None = None
    attributes: Annotated[dict[Name, Names], Field(min_length=1, max_length=20)] | None = Field(
        default=None, examples=[{"color": ["red", "blue"]}]
    )

    @property
    def is_everything(self) -> bool:
        return not (self.products or self.variants or self.categories or self.brands or self.attributes)

    def takes(self, line: Line) -> bool:
        """Whether it is about this line."""
        item = line.item
        return (
            self.is_everything
            or item.product_id in (self.products or ())
            or item.variant_id in (self.variants or ())
            or item.brand_id in (self.brands or ())
            or not line.categories.isdisjoint(self.categories or ())
            or any(has_value(item.attributes.get(name), values) for name, values in (self.attributes or {}).items())
        )


class Budget(Definition):
    """How much a rule may take off in all, in minor units. In other currencies it does not apply."""

    amount: Amount
    currency: CurrencyCode


def _not_too_deep(value: Any) -> Any:
    """Before anything else looks at it: nobody should have to go down a thousand levels."""

    def depth(part: Any, left: int) -> None:
        if left < 0:
            raise PydanticCustomError("too_deep", "must not be more than {most} levels deep", {"most": MOST_DEPTH})
        if isinstance(part, dict):
            inner = part.get("of")
            for each in inner if isinstance(inner, list) else [inner]:
                depth(each, left - 1)

    depth(value, MOST_DEPTH)
    return value


Conditions = Annotated[AnyCondition, BeforeValidator(_not_too_deep), AfterValidator(check_size)]


class RuleDefinition(Definition):
    """Everything that a rule is."""

    name: Name = Field(description="Customers are shown it.", examples=["Flash Friday"])
    description: Annotated[Text, Field(max_length=2_000)] = Field(default="", description="For staff.")
    type: RuleType = Field(description="How it changes prices: see `modifiers`.", examples=["percentage"])
    modifiers: AnyModifiers = Field(description="What is taken off; `type` need not be said again.")
    priority: Annotated[int, Field(ge=-INT32_MAX, le=INT32_MAX)] = Field(
        default=0, description="Higher ones come first; of equal ones that which takes off most.", examples=[20]
    )
    stackable: bool = Field(default=False, description="Whether it goes with other rules on one line.")
    exclusive_group: Name | None = Field(
        default=None, description="Of the rules of a group, one applies to a line: the first.", examples=["sale"]
    )
    active: bool = True
    starts_at: Annotated[Moment, Field(strict=False)] | None = Field(default=None, examples=["2026-11-27T00:00:00Z"])
    ends_at: Annotated[Moment, Field(strict=False)] | None = Field(
        default=None, description="From then on it does not apply.", examples=["2026-11-28T00:00:00Z"]
    )
    scope: Scope = Field(default=Scope(), description="Which goods it is about; all if nothing is named.")
    conditions: Conditions | None = Field(
        default=None,
        description="When it applies. `all`, `any` and `not` combine others.",
        examples=[{"type": "day_of_week", "days": ["fri"]}],
    )
    usage_limit: Units | None = Field(default=None, description="In how many orders.")
    usage_limit_per_customer: Units | None = Field(
        default=None, description="In how many orders of one customer; guests do not have it at all then."
    )
    budget: Budget | None = Field(default=None, description="How much it may take off in all.")

    @model_validator(mode="before")
    @classmethod
    def _say_the_type_once(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("modifiers"), dict) and "type" in given:
            return {**given, "modifiers": {"type": given["type"], **given["modifiers"]}}
        return given

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.modifiers.type != self.type:
            raise PydanticCustomError("other_type", "has modifiers of another type than the rule")
        if self.starts_at is not None and self.ends_at is not None and self.starts_at >= self.ends_at:
            raise PydanticCustomError("empty_range", "must end after it starts")
        return self

    def columns(self) -> dict[str, Any]:
        """As the table has it."""
        plain = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        modifiers = {name: value for name, value in plain["modifiers"].items() if name != "type"}
        return {
            "name": self.name,
            "description": self.description,
            "type": self.type,
            "modifiers": modifiers,
            "priority": self.priority,
            "stackable": self.stackable,
            "exclusive_group": self.exclusive_group,
            "active": self.active,
            "starts_at": self.starts_at,
            "ends_at": self.ends_at,
            "scope": plain["scope"],
            "conditions": plain.get("conditions"),
            "usage_limit": self.usage_limit,
            "usage_limit_per_customer": self.usage_limit_per_customer,
            "budget_amount": self.budget and self.budget.amount,
            "budget_currency": self.budget and self.budget.currency,
        }

    @classmethod
    def of(cls, row: Any) -> RuleDefinition:
        """Of a row of the table."""
        return cls.model_validate(plain_of(row))

    def references(self) -> dict[str, set[UUID]]:
        """The ids of things of the catalogue that it names, by kind."""
        found: dict[str, set[UUID]] = {"product": set(), "variant": set(), "category": set(), "brand": set()}
        found["product"].update(self.scope.products or ())
        found["variant"].update(self.scope.variants or ())
        found["category"].update(self.scope.categories or ())
        found["brand"].update(self.scope.brands or ())
        for part in self.conditions.within() if self.conditions is not None else ():
            if part.type in ("category", "brand"):  # type: ignore[attr-defined]
                found[part.type].update(part.ids)  # type: ignore[attr-defined]
        for piece in getattr(self.modifiers, "parts", ()):
            found["product"].update(piece.products or ())
            found["variant"].update(piece.variants or ())
        return found


def plain_of(row: Any) -> dict[str, Any]:
    """A row of the table as somebody would write it, defaults included."""
    budget = None if row.budget_amount is None else {"amount": row.budget_amount, "currency": row.budget_currency}
    names = RuleDefinition.model_fields.keys() - {"budget"}
    return {**{name: getattr(row, name) for name in names}, "budget": budget}
