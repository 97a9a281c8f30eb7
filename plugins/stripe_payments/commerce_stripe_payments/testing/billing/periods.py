"""Billing periods: months are counted from the anchor, so that the 31st comes back after a February."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta

from commerce_stripe_payments.testing.failures import Thing


def end_of_period(anchor: int, start: int, recurring: Thing) -> int:
    """When the period that begins at `start` ends: the first moment after it that is whole periods from the anchor."""
    number = 1
    while (end := _after(anchor, recurring, number)) <= start:
        number += 1
    return end


def _after(anchor: int, recurring: Thing, number: int) -> int:
    count = number * int(recurring["interval_count"])
    begun = datetime.fromtimestamp(anchor, UTC)
    match recurring["interval"]:
        case "day":
            ended = begun + timedelta(days=count)
        case "week":
            ended = begun + timedelta(weeks=count)
        case "month":
            ended = _months_after(begun, count)
        case _:
            ended = _months_after(begun, 12 * count)
    return int(ended.timestamp())


def _months_after(begun: datetime, count: int) -> datetime:
    year, month = divmod(begun.year * 12 + begun.month - 1 + count, 12)
    day = min(begun.day, calendar.monthrange(year, month + 1)[1])
    return begun.replace(year=year, month=month + 1, day=day)
