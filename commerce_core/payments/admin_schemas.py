"""Refunds, payments and webhook events as the staff see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from commerce_core.api.schemas import (
    INT32_MAX,
    INT64_MAX,
    CursorList,
    CursorQuery,
    Input,
    LongText,
    Output,
    ShortText,
    Text,
)
from commerce_core.money import Money
from commerce_core.orders.admin_schemas import require_different
from commerce_core.payments.models import Refund, WebhookEvent

RefundStatus = Literal["pending", "succeeded", "failed"]
EventState = Literal["received", "processed", "ignored", "unmatched", "dead"]


class RefundLineIn(Input):
    line_id: UUID = Field(strict=False)
    quantity: int = Field(ge=1, le=INT32_MAX, examples=[1])
    restock: bool = Field(default=True, description="Whether the units can be sold again.")
    returned: bool | None = Field(
        default=None,
        description="Whether they had been shipped. By default those are taken first that had not.",
        examples=[None],
    )


class RefundIn(Input):
    """At least one of `lines`, `amount` and `shipping`."""

    lines: list[RefundLineIn] | None = Field(
        default=None, min_length=1, max_length=1_000, description="Units that are given back, each at what was paid."
    )
    amount: int | None = Field(
        default=None,
        ge=0,
        le=INT64_MAX,
        description="In minor units: this much, in place of what was paid for the lines.",
        examples=[1500],
    )
    shipping: int = Field(
        default=0,
        ge=0,
        le=INT64_MAX,
        description="In minor units, on top: of what was paid beside the lines.",
        examples=[0],
    )
    reason: LongText = Field(examples=["Arrived broken."])
    payment_id: UUID | None = Field(
        default=None, strict=False, description="By default the payment that the order was paid with.", examples=[None]
    )

    @field_validator("lines")
    @classmethod
    def _are_different(cls, lines: list[RefundLineIn] | None) -> list[RefundLineIn] | None:
        require_different([line.line_id for line in lines or ()])
        return lines

    @model_validator(mode="after")
    def _is_something(self) -> Self:
        if not self.lines and not self.amount and not self.shipping:
            raise PydanticCustomError("nothing_to_refund", "must name lines, an amount or shipping")
        return self


class RefundLineOut(Output):
    line_id: UUID
    quantity: int
    amount: Money = Field(description="What was paid for these units.")
    restocked_quantity: int = Field(description="Units of them that are on hand again.")
    released_quantity: int = Field(description="Units of them that had only been reserved, and are so no more.")


class RefundOut(Output):
    """Money owed or given back. A refund that has failed is still owed: try it again."""

    id: UUID
    order_id: UUID
    payment_id: UUID | None
    provider: str | None = Field(examples=["manual"])
    provider_reference: str | None
    status: RefundStatus
    amount: Money
    shipping_amount: Money = Field(description="The part of it that is for the shipping.")
    reason: str
    error: str | None = Field(description="Why the last attempt failed.")
    attempts: int = Field(description="How often the provider was asked in vain.")
    next_attempt_at: datetime | None
    lines: list[RefundLineOut]
    created_at: datetime

    @classmethod
    def of(cls, refund: Refund, locale: str) -> Self:
        def money(amount: int) -> Money:
            return Money.of(amount, refund.currency, locale)

        return cls.model_construct(
            id=refund.id,
            order_id=refund.order_id,
            payment_id=refund.payment_id,
            provider=refund.payment and refund.payment.provider,
            provider_reference=refund.provider_reference,
            status=refund.status,
            amount=money(refund.amount),
            shipping_amount=money(refund.shipping_amount),
            reason=refund.reason,
            error=refund.error,
            attempts=refund.attempts,
            next_attempt_at=refund.next_attempt_at,
            lines=[
                RefundLineOut.model_construct(
                    line_id=line.line_id,
                    quantity=line.quantity,
                    amount=money(line.amount),
                    restocked_quantity=line.restocked_quantity,
                    released_quantity=line.released_quantity,
                )
                for line in refund.lines
            ],
            created_at=refund.created_at,
        )


class RefundQuery(CursorQuery):
    status: RefundStatus | None = None


RefundList = CursorList[RefundOut]


class MarkPaidIn(Input):
    reference: ShortText = Field(description="Names the payment, once and for all.", examples=["transfer 4711"])
    note: LongText | None = None


class WebhookEventQuery(CursorQuery):
    state: EventState | None = None
    provider: Text | None = Field(default=None, max_length=200, examples=["manual"])


class WebhookEventOut(Output):
    """What a provider told us, and what became of it."""

    id: UUID
    provider: str = Field(examples=["manual"])
    event_id: str
    state: EventState
    detail: str | None = Field(description="Why it had no effect (yet).")
    attempts: int
    next_attempt_at: datetime | None = Field(description="When an unmatched event is tried again by itself.")
    order_id: UUID | None
    payload: dict[str, Any]
    received_at: datetime
    processed_at: datetime | None

    @classmethod
    def of(cls, event: WebhookEvent) -> Self:
        return cls.model_construct(**{name: getattr(event, name) for name in cls.model_fields})


WebhookEventList = CursorList[WebhookEventOut]
