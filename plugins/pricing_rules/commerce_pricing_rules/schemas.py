"""Rules, coupons and price lists as they come in and go out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from commerce_core.api.schemas import CursorList, CursorQuery, Input, Moment, Output, Text, hint
from commerce_pricing_rules.definitions import RuleDefinition, plain_of
from commerce_pricing_rules.models import PricingChange, PricingCoupon, PricingList, PricingListPrice, PricingRule
from commerce_pricing_rules.modifiers import RuleType
from commerce_pricing_rules.values import Amount, CurrencyCode, Key, Name, Units

# What carts take: without a blank or a slash, so that it can stand in an address.
Code = Annotated[
    str,
    StringConstraints(strip_whitespace=True, pattern=r"^[A-Za-z0-9._~-]{1,64}$"),
    hint("must be 1 to 64 letters, digits and . _ ~ -"),
]
Time = Annotated[Moment, Field(strict=False)]


def optional(**more: Any) -> Any:
    """A field of a PATCH, which may be left out."""
    return Field(default_factory=lambda: None, **more)


class RuleIn(RuleDefinition):
    """A rule. What is not understood is refused now, and not passed over when something is priced."""


class RulePatch(Input):
    """Some of a rule's fields. What comes of it is checked as a whole, like a new rule."""

    name: Name = optional()
    description: str = optional()
    type: RuleType = optional()
    modifiers: dict[str, Any] = optional(description="As a whole.")
    priority: int = optional()
    stackable: bool = optional()
    exclusive_group: Name | None = optional()
    active: bool = optional(examples=[False])
    starts_at: Time | None = optional()
    ends_at: Time | None = optional()
    scope: dict[str, Any] = optional(description="As a whole.")
    conditions: dict[str, Any] | None = optional(description="As a whole.")
    usage_limit: Units | None = optional()
    usage_limit_per_customer: Units | None = optional()
    budget: dict[str, Any] | None = optional(description="As a whole.")


class RuleOut(RuleDefinition):
    """A rule as it is."""

    id: UUID
    version: int = Field(description="Counts the edits; the ETag says the same.")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of_row(cls, row: PricingRule) -> dict[str, Any]:
        """As it is answered: as somebody would write it, and what we know beside."""
        plain = RuleDefinition.model_validate(plain_of(row)).model_dump(mode="json", by_alias=True)
        return {
            **plain,
            "id": row.id,
            "version": row.version,
            "created_at": row.created_at,
            "updated_at": row.updated_at,
        }


class RuleQuery(CursorQuery):
    active: bool | None = Field(default=None, description="`true`: active rules. `false`: the others.")


RuleList = CursorList[RuleOut]


class CouponLimits(Input):
    active: bool = True
    starts_at: Time | None = None
    ends_at: Time | None = None
    usage_limit: Units | None = Field(default=None, description="In how many orders.", examples=[50])
    usage_limit_per_customer: Units | None = Field(
        default=None, description="In how many orders of one customer; guests cannot use it at all then."
    )

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.starts_at is not None and self.ends_at is not None and self.starts_at >= self.ends_at:
            raise PydanticCustomError("empty_range", "must end after it starts")
        return self


class CouponIn(CouponLimits):
    code: Code | None = Field(default=None, description="Made by us, unguessable, if left out.", examples=["SPRING"])
    campaign: Name | None = Field(default=None, description="Rules can ask for any code of a campaign.")


class CouponsIn(CouponLimits):
    campaign: Name = Field(examples=["newsletter-2026"])
    number: Annotated[int, Field(ge=1, le=10_000)] = Field(description="How many codes.", examples=[500])
    prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{0,20}$")] = Field(
        default="", description="What the codes begin with.", examples=["NEWS-"]
    )
    usage_limit: Units | None = Field(default=1, description="Of each code.")


class CouponPatch(Input):
    active: bool = optional()
    campaign: Name | None = optional()
    starts_at: Time | None = optional()
    ends_at: Time | None = optional()
    usage_limit: Units | None = optional()
    usage_limit_per_customer: Units | None = optional()


class CouponOut(Output):
    id: UUID
    code: str
    campaign: str | None
    active: bool
    starts_at: datetime | None
    ends_at: datetime | None
    usage_limit: int | None
    usage_limit_per_customer: int | None
    uses: int = Field(description="Orders that have it and were not cancelled.")
    version: int
    created_at: datetime

    @classmethod
    def of(cls, row: PricingCoupon, uses: int) -> Self:
        names = cls.model_fields.keys() - {"uses"}
        return cls(**{name: getattr(row, name) for name in names}, uses=uses)


class CouponCodes(Output):
    """New codes. They are listed at the coupons, too."""

    campaign: str
    codes: list[str]


class CouponQuery(CursorQuery):
    campaign: Name | None = None
    code: Code | None = None


CouponList = CursorList[CouponOut]


class PriceListIn(Input):
    name: Name = Field(description="Customers are shown it.", examples=["Wholesale"])
    tier: Name | None = Field(default=None, description="For customers of this group; for everybody if left out.")
    currency: CurrencyCode
    priority: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] = Field(
        default=0, description="Of several lists with a price, the highest counts; of equal ones, the lowest price."
    )
    active: bool = True
    starts_at: Time | None = None
    ends_at: Time | None = None


class PriceListPatch(Input):
    name: Name = optional()
    tier: Name | None = optional()
    priority: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] = optional()
    active: bool = optional()
    starts_at: Time | None = optional()
    ends_at: Time | None = optional()


class PriceListOut(Output):
    """Prices for a group of customers. They take the place of the catalogue's before any rule is asked."""

    id: UUID
    name: str
    tier: str | None
    currency: str
    priority: int
    active: bool
    starts_at: datetime | None
    ends_at: datetime | None
    version: int
    created_at: datetime

    @classmethod
    def of(cls, row: PricingList) -> Self:
        return cls.model_validate(row, from_attributes=True)


PriceListList = CursorList[PriceListOut]


class PriceIn(Input):
    variant_id: Key
    from_quantity: Units = Field(default=1, description="From how many units on.")
    amount: Amount | None = Field(description="What a unit costs then, in minor units; null takes the price out.")


class PricesIn(Input):
    prices: Annotated[list[PriceIn], Field(min_length=1, max_length=1_000)]


class PriceOut(Output):
    variant_id: UUID
    from_quantity: int
    amount: int

    @classmethod
    def of(cls, row: PricingListPrice) -> Self:
        return cls.model_validate(row, from_attributes=True)


Prices = CursorList[PriceOut]


class ChangeOut(Output):
    """A line of the history."""

    id: UUID
    subject: str = Field(examples=["rule:01932c07-209c-7e3a-b6f4-5d2a8c9e1f70"])
    action: str
    actor: str
    version: int
    after: dict[str, Any] | None = Field(description="What it was made into; null when it was deleted.")
    created_at: datetime

    @classmethod
    def of(cls, row: PricingChange) -> Self:
        return cls.model_validate(row, from_attributes=True)


class ChangeQuery(CursorQuery):
    subject: Annotated[Text, Field(max_length=200)] | None = Field(
        default=None, examples=["rule:01932c07-209c-7e3a-b6f4-5d2a8c9e1f70"]
    )


ChangeList = CursorList[ChangeOut]


class OrderTrace(Output):
    """Why an order cost what it did. Amounts in minor units of `currency`."""

    order_id: UUID
    number: str
    currency: str
    total: int
    applied_rules: list[dict[str, Any]] = Field(examples=[[]])
    rejected_rules: list[dict[str, Any]] = Field(examples=[[]])
    trace: list[dict[str, Any]] = Field(description="In order, stage by stage.", examples=[[]])
