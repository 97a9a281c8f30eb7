"""The requests of all processes, by the minute: written down by each, now and then, and read by rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from commerce_core.clock import Clock
from commerce_core.metrics import REQUEST_SECONDS
from commerce_core.metrics.traffic import Answered, Traffic
from commerce_core.pulse import Connection

WRITE_SECONDS = 5.0

# In the order of their buckets, so that two processes wait for each other, and never in a circle.
_ADD = """
INSERT INTO traffic_minute AS known (minute, bucket, requests, errors)
SELECT date_trunc('minute', %(now)s::timestamptz), bucket, requests, errors
FROM unnest(%(buckets)s::smallint[], %(requests)s::bigint[], %(errors)s::bigint[]) AS more (bucket, requests, errors)
ORDER BY bucket
ON CONFLICT (minute, bucket) DO UPDATE
SET requests = known.requests + excluded.requests, errors = known.errors + excluded.errors
"""
_READ = text("""
SELECT bucket, sum(requests) AS requests, sum(errors) AS errors FROM traffic_minute
WHERE minute >= date_trunc('minute', CAST(:since AS timestamptz)) GROUP BY bucket
""")


class TrafficWriter:
    """Writes down what a process has answered. What could not be written is written the next time."""

    def __init__(self, traffic: Traffic, clock: Clock) -> None:
        self._traffic = traffic
        self._clock = clock
        self._waiting: dict[int, Answered] = {}

    def write(self, connection: Connection) -> None:
        for bucket, more in self._traffic.take().items():
            known = self._waiting.setdefault(bucket, Answered())
            known.requests += more.requests
            known.errors += more.errors
        if not self._waiting:
            return
        buckets = sorted(self._waiting)
        connection.execute(
            _ADD,
            {
                "now": self._clock.now(),
                "buckets": buckets,
                "requests": [self._waiting[bucket].requests for bucket in buckets],
                "errors": [self._waiting[bucket].errors for bucket in buckets],
            },
        )
        self._waiting.clear()


@dataclass(frozen=True, slots=True)
class Load:
    """What was answered in a time: `counts` are those of each bucket, the last of them without a bound."""

    requests: int
    errors: int
    counts: Sequence[int]

    @property
    def error_percent(self) -> float:
        return 100 * self.errors / self.requests if self.requests else 0.0

    def quantile(self, share: float) -> float | None:
        """Within how many seconds that share was answered, between two bounds as the crow flies; None without any.

        What took longer than the last bound is taken for that: nobody knows how much.
        """
        wanted, seen, lower = share * self.requests, 0, 0.0
        for bound, count in zip(REQUEST_SECONDS, self.counts, strict=False):
            if count and seen + count >= wanted:
                return lower + (bound - lower) * max(0.0, wanted - seen) / count
            seen, lower = seen + count, bound
        return REQUEST_SECONDS[-1] if self.requests else None


def read_load(session: Session, *, now: datetime, window: timedelta) -> Load:
    """What all processes have answered since then, to the minute; what they did in the last seconds may be missing."""
    counts = [0] * (len(REQUEST_SECONDS) + 1)
    errors = 0
    rows: Any = session.execute(_READ, {"since": now - window})
    for row in rows:
        counts[row.bucket] = int(row.requests)
        errors += int(row.errors)
    return Load(sum(counts), errors, counts)
