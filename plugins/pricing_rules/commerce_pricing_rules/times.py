"""Clocks on the wall, and instants: right where an hour comes twice or not at all."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_DAYS_AHEAD = 8
_HOUR = timedelta(hours=1)


def instant_of(day: date, clock: time, zone: ZoneInfo) -> datetime:
    """When (UTC) the clock on the wall first shows this, or, if it never does, jumps over it."""
    wall = datetime.combine(day, clock, zone)
    instant = wall.astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == wall.replace(tzinfo=None):
        return instant
    return _jump(instant - _HOUR * 3, instant + _HOUR * 3, zone)


def changes_by_clock(times: Collection[time], now: datetime, zone: ZoneInfo) -> list[datetime]:
    """The instants of the next days, after `now`, at which the clock on the wall comes to one of `times`, in order.

    Where the clock is put forward or back is one of them, too: it may pass one of `times` by doing so.
    """
    if not times:
        return []
    today = now.astimezone(zone).date()
    found = set()
    for ahead in range(-1, _DAYS_AHEAD):
        day = today + timedelta(days=ahead)
        for clock in times:
            for fold in (0, 1):
                found.add(datetime.combine(day, clock, zone).replace(fold=fold).astimezone(UTC))
        found.update(_jumps(day, zone))
    return sorted(instant for instant in found if instant > now)


def _jumps(day: date, zone: ZoneInfo) -> list[datetime]:
    """When on a day the clock is put forward or back, if it is."""
    start = datetime.combine(day, time(0), zone).astimezone(UTC)
    end = datetime.combine(day + timedelta(days=1), time(0), zone).astimezone(UTC)
    if start.astimezone(zone).utcoffset() == end.astimezone(zone).utcoffset():
        return []
    return [_jump(start, end, zone)]


def _jump(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The first instant (UTC), to the second, that has another offset than `before`; they are hours apart."""
    offset = before.astimezone(zone).utcoffset()
    low, high = int(before.timestamp()), int(after.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, UTC).astimezone(zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)
