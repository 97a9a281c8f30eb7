"""The time, from one place, so that tests can set it."""

from __future__ import annotations

from datetime import UTC, datetime


class Clock:
    """Tells the time in UTC. Tests put a clock of their own in `registry.clock`."""

    def now(self) -> datetime:
        return datetime.now(UTC)
