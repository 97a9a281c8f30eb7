"""Holds, levels and movements as clients see them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import Field

from commerce_core.api.schemas import INT32_MAX, CursorList, CursorQuery, Input, LongText, Output
from commerce_core.stock.models import Hold, StockLevel
from commerce_core.stock.service import state_of

HoldState = Literal["active", "converted", "released", "expired"]


class HoldIn(Input):
    variant_id: UUID = Field(strict=False, description="What to hold.")
    quantity: int = Field(ge=1, le=INT32_MAX, description="How many units.", examples=[1])


class HoldOut(Output):
    """Units of a variant kept off sale until `expires_at`."""

    id: UUID
    variant_id: UUID
    quantity: int
    state: HoldState
    expires_at: datetime
    created_at: datetime
    order_id: UUID | None = None

    @classmethod
    def of(cls, hold: Hold, now: datetime) -> Self:
        return cls.model_construct(
            id=hold.id,
            variant_id=hold.variant_id,
            quantity=hold.quantity,
            state=state_of(hold, now),
            expires_at=hold.expires_at,
            created_at=hold.created_at,
            order_id=hold.order_id,
        )


HoldList = CursorList[HoldOut]


class HoldQuery(CursorQuery):
    variant_id: UUID | None = None
    state: HoldState | None = None


class ReceiveIn(Input):
    quantity: int = Field(ge=1, le=1_000_000_000)
    reason: LongText | None = None


class WriteOffIn(Input):
    quantity: int = Field(ge=1, le=1_000_000_000)
    reason: LongText


class AdjustIn(Input):
    on_hand: int = Field(ge=0, le=1_000_000_000, description="What was counted.")
    reason: LongText


class LevelOut(Output):
    """The stock of a variant: `available = on_hand - reserved`."""

    variant_id: UUID
    sku: str
    on_hand: int
    reserved: int
    available: int
    policy: Literal["track", "ignore"]
    allow_backorder: bool
    low_stock_threshold: int
    version: int = Field(description="Counts the movements of this variant.")

    @classmethod
    def of(cls, level: StockLevel, sku: str) -> Self:
        return cls.model_construct(
            variant_id=level.variant_id,
            sku=sku,
            on_hand=level.on_hand,
            reserved=level.reserved,
            available=level.on_hand - level.reserved,
            policy=level.policy,
            allow_backorder=level.allow_backorder,
            low_stock_threshold=level.low_stock_threshold,
            version=level.version,
        )


LevelList = CursorList[LevelOut]


class MovementOut(Output):
    """One line of the ledger."""

    variant_id: UUID
    version: int
    kind: Literal["receive", "adjust", "hold", "release", "expire", "sale", "return", "damage"]
    on_hand_delta: int
    reserved_delta: int
    on_hand_after: int
    reserved_after: int
    hold_id: UUID | None
    order_id: UUID | None
    actor: str | None
    reason: str | None
    created_at: datetime


MovementList = CursorList[MovementOut]
