"""Carts as clients send and see them."""

from __future__ import annotations

from typing import Literal, Self
from uuid import UUID

from pydantic import Field

from commerce_core.api.schemas import Output
from commerce_core.carts.merging import MergeReport

CapReason = Literal["not_for_sale", "other_currency", "out_of_stock", "max_quantity_per_line", "max_lines"]


class CappedLine(Output):
    """Something of the guest's cart of which less was taken over than was wanted."""

    variant_id: UUID
    sku: str
    name: str = Field(description="Of the product.")
    wanted: int = Field(description="Units in both carts together.")
    got: int = Field(description="Units in the cart now.")
    reason: CapReason


class CartMerge(Output):
    """What a guest's cart, holds and orders brought when they became the user's."""

    cart_id: UUID | None = Field(description="The user's cart; null when there was no cart to merge.")
    lines: int = Field(description="Lines of the guest's cart that are in the user's now.")
    capped: list[CappedLine] = Field(description="Every line of which less than wanted, or nothing, was taken over.")
    dropped_coupons: list[str] = Field(description="Codes that were too many for one cart.")
    holds: int = Field(description="Active holds that have become the user's.")
    orders: int = Field(description="Orders that have become the user's.")

    @classmethod
    def of(cls, report: MergeReport) -> Self:
        return cls.model_construct(
            cart_id=report.cart_id,
            lines=report.lines,
            capped=[
                CappedLine.model_construct(
                    variant_id=line.variant_id,
                    sku=line.sku,
                    name=line.name,
                    wanted=line.wanted,
                    got=line.got,
                    reason=line.reason,
                )
                for line in report.capped
            ],
            dropped_coupons=list(report.dropped_coupons),
            holds=report.holds,
            orders=report.orders,
        )
