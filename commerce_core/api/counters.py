"""Where rate limits count: in this process, or in Redis for all processes together.

Both count in sliding windows: the attempts of this window, and those of the window before by how much of it is still
in sight. That is two numbers for a key, however high the limit; a moving window would keep a time for each attempt, and
a fixed one let a burst of twice the limit through where two windows meet.
"""

from __future__ import annotations

import heapq
import math
import threading
from typing import NamedTuple

import structlog
from limits import RateLimitItem
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis import RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from commerce_core.clock import Clock
from commerce_core.log import first_line
from commerce_core.settings import RedisSettings

_log = structlog.get_logger("commerce.limits")
# How many keys one window of a limit remembers in a process: some 8 MB.
MOST_KEYS = 50_000
# How long Redis is left alone after it did not answer.
REST_SECONDS = 5.0


class Standing(NamedTuple):
    """Where a key stands after an attempt. `reset` is in seconds: after more than that, `remaining` is more."""

    allowed: bool
    limit: int
    remaining: int
    reset: float

    @property
    def retry_after(self) -> int:
        """Whole seconds after which another attempt is let through."""
        return math.floor(self.reset) + 1


class ProcessWindow:
    """One limit's counts in this process. Safe to share between threads.

    `limits` has a storage for this, too, but it starts a thread that walks through every key, up to a hundred times a
    second. Here all keys share the same windows, so that what is old is forgotten by dropping one dictionary.
    """

    def __init__(self, item: RateLimitItem, clock: Clock) -> None:
        self._limit = item.amount
        self._seconds = item.get_expiry()
        self._clock = clock
        self._lock = threading.Lock()
        self._number = -1
        self._counts: dict[str, int] = {}
        self._counts_before: dict[str, int] = {}

    def hit(self, key: str) -> Standing:
        """Count an attempt, unless there were too many."""
        with self._lock:
            number, elapsed = divmod(self._clock.monotonic(), self._seconds)
            if number != self._number:
                self._turn_to(int(number))
            count = self._counts.get(key, 0)
            before = self._counts_before.get(key, 0)
            left = self._seconds - elapsed
            used = count + math.floor(before * left / self._seconds)
            allowed = used < self._limit
            if allowed:
                self._counts[key] = count + 1
                used += 1
                if len(self._counts) > MOST_KEYS:
                    self._forget_half()
        return Standing(allowed, self._limit, self._limit - used, _reset(self._seconds, left, before, left))

    def _turn_to(self, number: int) -> None:
        self._counts_before = self._counts if number == self._number + 1 else {}
        self._counts = {}
        self._number = number

    def _forget_half(self) -> None:
        """Keep the highest counts, so that a flood of new keys does not wash away those that are near their limit."""
        self._counts = dict(heapq.nlargest(MOST_KEYS // 2, self._counts.items(), key=lambda entry: entry[1]))


class RedisCounters:
    """Counts that all processes share, and whether Redis is to be asked just now.

    When it does not answer it is left alone for some seconds, after which one attempt is made; so an outage costs a
    request at most one time-out, and most requests nothing. It is logged when it begins and when it ends.
    """

    def __init__(self, settings: RedisSettings, clock: Clock) -> None:
        assert settings.url is not None
        self._storage = RedisStorage(
            settings.url,
            key_prefix="commerce:limit",
            socket_connect_timeout=settings.connect_timeout_ms / 1000,
            socket_timeout=settings.timeout_ms / 1000,
            max_connections=settings.max_connections,
            retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type]
        )
        self._strategy = SlidingWindowCounterRateLimiter(self._storage)
        self._clock = clock
        self._lock = threading.Lock()
        self._is_away = False
        self._ask_again_at = 0.0

    def hit(self, item: RateLimitItem, key: str) -> Standing | None:
        """Count an attempt, unless there were too many. None when Redis does not answer."""
        was_away = self._is_away
        if was_away and not self._may_ask():
            return None
        seconds = item.get_expiry()
        try:
            allowed = self._strategy.hit(item, key)
            before, before_left, count, left = self._storage.get_sliding_window(item.key_for(key), seconds)
        except (RedisError, OSError) as error:
            self._has_gone(error)
            return None
        if was_away:
            self._is_back()
        used = count + math.floor(before * before_left / seconds)
        # Others may have come between the two questions. Redis keeps a window for the time of the next one, too.
        remaining = max(0, item.amount - used) if allowed else 0
        return Standing(allowed, item.amount, remaining, _reset(seconds, left - seconds, before, before_left))

    def close(self) -> None:
        self._storage.storage.close()

    def _may_ask(self) -> bool:
        """Whether it is this request's turn to see if Redis is back."""
        with self._lock:
            now = self._clock.monotonic()
            if now < self._ask_again_at:
                return False
            self._ask_again_at = now + REST_SECONDS
            return True

    def _has_gone(self, error: Exception) -> None:
        with self._lock:
            is_news = not self._is_away
            self._is_away = True
            self._ask_again_at = self._clock.monotonic() + REST_SECONDS
        if is_news:
            _log.error(
                "redis is away: sign-ins are limited per process, everything else is not", error=first_line(error)
            )

    def _is_back(self) -> None:
        with self._lock:
            is_news = self._is_away
            self._is_away = False
        if is_news:
            _log.warning("redis is back: limits are shared again")


def _reset(seconds: int, left: float, before: int, before_left: float) -> float:
    """Seconds until the sum of both windows falls: one more of the old one is out of sight, or this one is over."""
    return max(0.0, min(left, before_left % (seconds / before)) if before else left)
