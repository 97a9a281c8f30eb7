"""How often one may."""

from __future__ import annotations


class Bucket:
    """Tokens that come back at a rate, up to a burst. `take` may be asked beyond: how far is `debt`."""

    __slots__ = ("_at", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = float(burst)
        self._at = now

    def take(self, now: float) -> bool:
        """Whether there is one. It is taken even if there is none, so that who goes on asking waits for longer."""
        self._refill(now)
        self._tokens -= 1
        return self._tokens >= 0

    def available(self, now: float) -> float:
        """How many there are; below 0 is a debt."""
        self._refill(now)
        return self._tokens

    def _refill(self, now: float) -> None:
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
