"""The health of plugins: checks that run beside each other, in threads, and whose answers are kept for a while."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Literal

import structlog

from commerce_core.clock import Clock
from commerce_core.log import first_line
from commerce_core.plugins.contributions import HealthCheck

_log = structlog.get_logger("commerce.health")
KEPT_SECONDS = 5.0
Outcome = Literal["ok", "failing", "slow"]


@dataclass(slots=True)
class _Named:
    name: str
    check: HealthCheck
    outcome: Outcome = "ok"
    running: threading.Thread | None = None


@dataclass(slots=True)
class HealthChecks:
    """The checks of a shop: `registry.health_checks`. Safe between threads."""

    clock: Clock
    _checks: list[_Named] = field(default_factory=list)
    _checked_at: float = float("-inf")
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, check: HealthCheck) -> None:
        """Raises ValueError when there is one of that name."""
        if any(known.name == name for known in self._checks):
            raise ValueError(f"two health checks are called {name!r}")
        self._checks.append(_Named(name, check))

    def outcomes(self) -> tuple[dict[str, str], bool]:
        """How each check has come out, and whether the shop can serve. Waits for as long as the slowest may take."""
        if not self._checks:
            return {}, True
        with self._lock:
            now = self.clock.monotonic()
            if now - self._checked_at >= KEPT_SECONDS:
                self._run()
                self._checked_at = now
        serves = not any(each.check.critical and each.outcome != "ok" for each in self._checks)
        return {each.name: each.outcome for each in self._checks}, serves

    def _run(self) -> None:
        started = time.monotonic()
        for each in self._checks:
            # One that hangs is not asked again until it has come back.
            if each.running is None or not each.running.is_alive():
                each.running = threading.Thread(target=_ask, args=(each,), name=f"health {each.name}", daemon=True)
                each.running.start()
        for each in self._checks:
            assert each.running is not None
            each.running.join(max(0.0, each.check.timeout - (time.monotonic() - started)))
            if each.running.is_alive():
                each.outcome = "slow"
                _log.warning("health check is slow", check=each.name, seconds=each.check.timeout)


def _ask(each: _Named) -> None:
    try:
        each.check.check()
    except Exception as error:
        each.outcome = "failing"
        _log.warning("health check failed", check=each.name, error=f"{type(error).__name__}: {first_line(error)}")
    else:
        each.outcome = "ok"
