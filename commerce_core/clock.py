"""The time, from one place, so that tests can set it."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """Tells the time in UTC. Tests put a clock of their own in `registry.clock`."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some moment, for measuring spans: it does not jump when the system's clock is set."""
        return time.monotonic()
