"""Events as staff see them: what they are about, and what became of them; never what is in them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import Field

from commerce_core.api.schemas import CursorList, CursorQuery, Output, ShortText
from commerce_stripe_payments.models import StripeEvent

EventState = Literal["received", "processed", "ignored", "unmatched", "dead"]


class EventQuery(CursorQuery):
    state: EventState | None = None
    type: ShortText | None = Field(default=None, examples=["payment_intent.succeeded"])
    object_id: ShortText | None = Field(default=None, examples=["pi_3Q0"])


class EventOut(Output):
    id: UUID
    event_id: str = Field(examples=["evt_1Q0"])
    type: str = Field(examples=["payment_intent.succeeded"])
    object_id: str | None = Field(description="What it is about.", examples=["pi_3Q0"])
    api_version: str | None = Field(examples=["2026-10-28.endive"])
    state: EventState
    detail: str | None = Field(description="Why it was ignored, is not matched, or failed.")
    attempts: int
    order_id: UUID | None
    created: datetime = Field(description="When it happened, by Stripe's clock, to the second.")
    received_at: datetime
    processed_at: datetime | None

    @classmethod
    def of(cls, row: StripeEvent) -> Self:
        return cls.model_construct(
            id=row.id,
            event_id=row.event_id,
            type=row.type,
            object_id=row.object_id,
            api_version=row.api_version,
            state=row.state,
            detail=row.detail,
            attempts=row.attempts,
            order_id=row.order_id,
            created=row.created,
            received_at=row.received_at,
            processed_at=row.processed_at,
        )


EventList = CursorList[EventOut]
