"""What this process has answered since somebody last looked, for figures that the whole shop shares by the database.

The metrics of a process are for Prometheus. Alerts and the staff's statistics need what all servers have answered, and
must work without it: so each process writes its own down, now and then (see monitor/traffic.py).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass

from commerce_core.metrics import REQUEST_SECONDS

# Beyond that the oldest are forgotten: some seconds' worth of what a process can answer.
MOST_KEPT = 200_000


@dataclass(slots=True)
class Answered:
    """Requests that took about as long."""

    requests: int = 0
    errors: int = 0


class Traffic:
    """Requests that were answered. To note one costs a tenth of a microsecond, and no lock."""

    def __init__(self) -> None:
        self._answered: deque[tuple[bool, float]] = deque(maxlen=MOST_KEPT)

    def note(self, is_error: bool, seconds: float) -> None:
        """One more was answered. `is_error`: it was the shop's fault (5xx)."""
        self._answered.append((is_error, seconds))

    def take(self) -> dict[int, Answered]:
        """What was answered since the last time, by the number of its bucket among REQUEST_SECONDS."""
        taken: dict[int, Answered] = {}
        while self._answered:
            is_error, seconds = self._answered.popleft()
            answered = taken.setdefault(bisect_left(REQUEST_SECONDS, seconds), Answered())
            answered.requests += 1
            answered.errors += is_error
        return taken
