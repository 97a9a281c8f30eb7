"""Orders as the staff see them, and what they do with them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field, StringConstraints, field_validator
from pydantic_core import PydanticCustomError

from commerce_core.api.schemas import (
    INT32_MAX,
    CursorList,
    CursorQuery,
    Input,
    LongText,
    Moment,
    Output,
    ShortText,
    Text,
    hint,
)
from commerce_core.money import Money
from commerce_core.orders.models import Order, OrderEvent
from commerce_core.orders.schemas import (
    Address,
    FulfillmentStatus,
    OrderOut,
    OrderStatus,
    PaymentLike,
    PaymentStatus,
)

# Nothing that a browser would run when it is clicked.
WebAddress = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=2_000, pattern=r"^https?://[^\s\x00]+$"),
    hint("must begin with https:// or http:// and hold no blanks"),
]


class AdminOrderQuery(CursorQuery):
    status: OrderStatus | None = None
    payment_status: PaymentStatus | None = None
    fulfillment_status: FulfillmentStatus | None = None
    email: Text | None = Field(default=None, max_length=254, description="The customer's, in full.")
    number: Text | None = Field(default=None, max_length=40)
    sku: Text | None = Field(default=None, max_length=200, description="Orders with a line of it.")
    variant_id: UUID | None = Field(default=None, description="Orders with a line of it.")
    created_from: Moment | None = Field(default=None, description="Placed then or later.")
    created_to: Moment | None = Field(default=None, description="Placed before then.")


class OrderEventOut(Output):
    """One line of an order's history."""

    kind: str = Field(examples=["payment_status"])
    data: dict[str, Any] = Field(examples=[{"old": "unpaid", "new": "paid"}])
    actor: str | None
    created_at: datetime

    @classmethod
    def of(cls, event: OrderEvent) -> Self:
        return cls.model_construct(kind=event.kind, data=event.data, actor=event.actor, created_at=event.created_at)


class AdminOrderOut(OrderOut):
    """An order with what only the staff see."""

    owner: str | None = Field(description="The user, or the guest's cart token, hashed.")
    staff_note: str | None
    cancelled_at: datetime | None
    cancel_reason: str | None = Field(description="`cancelled`, or `expired`: nobody paid in time.")
    refundable: Money = Field(description="What was paid and does not go back yet.")
    refundable_shipping: Money = Field(description="Of all that is paid beside the lines.")
    history: list[OrderEventOut]

    @classmethod
    def with_history(
        cls, order: Order, payments: Sequence[PaymentLike], locale: str, *, refundable: int, refundable_shipping: int
    ) -> Self:
        seen = cls.of(order, payments, locale)
        seen.owner = order.owner
        seen.staff_note = order.staff_note
        seen.cancelled_at = order.cancelled_at
        seen.cancel_reason = order.cancel_reason
        seen.refundable = Money.of(refundable, order.currency, locale)
        seen.refundable_shipping = Money.of(refundable_shipping, order.currency, locale)
        seen.history = [OrderEventOut.of(event) for event in order.events]
        return seen


AdminOrderList = CursorList[OrderOut]


class OrderPatch(Input):
    """Only what is given is changed."""

    shipping_address: Address | None = Field(
        default=None, description="Until something is shipped. What was paid stays as it is."
    )
    staff_note: LongText | None = Field(default=None, description="For the staff only; null takes it away.")

    @field_validator("shipping_address")
    @classmethod
    def _is_an_address(cls, address: Address | None) -> Address:
        if address is None:
            raise PydanticCustomError("missing_address", "must be an address")
        return address


class CancelIn(Input):
    reason: ShortText = Field(default="cancelled by the shop", examples=["The customer has changed her mind."])
    restock: bool = Field(default=True, description="Whether the units of a paid order can be sold again.")


class FulfillmentLineIn(Input):
    line_id: UUID = Field(strict=False)
    quantity: int = Field(ge=1, le=INT32_MAX, examples=[1])


class FulfillmentIn(Input):
    lines: list[FulfillmentLineIn] | None = Field(
        default=None, min_length=1, max_length=1_000, description="What is shipped; by default all that is left."
    )
    carrier: ShortText | None = Field(default=None, examples=["DHL"])
    tracking_number: ShortText | None = Field(default=None, examples=["00340434161094042557"])
    tracking_url: WebAddress | None = Field(
        default=None, examples=["https://tracking.example.com/00340434161094042557"]
    )
    notify: bool = Field(default=True, description="Whether the customer is to be told.")

    @field_validator("lines")
    @classmethod
    def _are_different(cls, lines: list[FulfillmentLineIn] | None) -> list[FulfillmentLineIn] | None:
        require_different([line.line_id for line in lines or ()])
        return lines


class TrackingPatch(Input):
    """Only what is given is changed; null takes it away."""

    carrier: ShortText | None = None
    tracking_number: ShortText | None = None
    tracking_url: WebAddress | None = None


def require_different(line_ids: Sequence[UUID]) -> None:
    if len(set(line_ids)) < len(line_ids):
        raise PydanticCustomError("repeated_line", "must name each line once")
