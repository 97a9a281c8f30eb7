"""`pricing.*`"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from commerce_core.plugin import Section


def _is_a_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError(f"there is no time zone {name!r}; write it as Europe/Berlin") from None
    return name


class Settings(Section):
    """`pricing.*`: in which time zone the shop lives, and what no rule may go below."""

    timezone: Annotated[str, AfterValidator(_is_a_zone)] = Field(
        default="UTC", description="In which days, times of day and dates of rules are meant."
    )
    minimum_margin: Decimal | None = Field(
        default=None, ge=0, lt=100, description="Per cent of a price that must remain over the cost of the goods."
    )
    maximum_discount: Decimal = Field(
        default=Decimal(100), ge=0, le=100, description="The most that all rules together take off a line, in per cent."
    )
    preview_orders: int = Field(
        default=1_000, ge=0, le=10_000, description="The most orders that a draft may be tried on at once."
    )

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)
