"""Caches with and without Redis, and applications that share a database as processes do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Engine

from commerce_core.application import close, make_application
from commerce_core.cache.shared import SharedTier, connect
from commerce_core.cache.store import Build, Cache
from commerce_core.settings import CacheSettings, RedisSettings
from commerce_core.testing import StoppedClock, make_settings
from commerce_core.testing.redis import RedisServer

# Generous, because the machine may be busy.
PATIENCE_SECONDS = 120.0
# A machine that is busy must not look like a Redis that is away.
PATIENT = {"connect_timeout_ms": 5_000, "timeout_ms": 5_000}


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for another's build waits for it, however long it takes on a busy machine."""
    monkeypatch.setattr("commerce_core.cache.store.WAIT_SECONDS", PATIENCE_SECONDS)
    for module in ("shared", "store"):
        monkeypatch.setattr(f"commerce_core.cache.{module}.LOCK_MS", int(PATIENCE_SECONDS * 1_000))


class Current:
    """News of a process that hears everything, and has nothing left to tell."""

    is_current = True

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass

    def is_untold(self, _tags: frozenset[str]) -> bool:
        return False


def local_cache(clock: StoppedClock, shared: SharedTier | None = None, **settings: Any) -> Cache:
    """A cache that is told of drops by hand."""
    cache = Cache(CacheSettings(**settings), clock, shared)
    cache.news = Current()  # type: ignore[assignment]
    return cache


class Source:
    """Something to build from, that says how often it was built; `gate` holds builds up."""

    def __init__(self, body: bytes = b"first", tags: Iterable[str] = ("product:1",)) -> None:
        self.body = body
        self.tags = tags
        self.ends_at: datetime | None = None
        self.builds = 0
        self.started = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()

    def __call__(self) -> tuple[bytes, Iterable[str], datetime | None]:
        with self._lock:
            self.builds += 1
        body = self.body
        self.started.set()
        assert self.gate.wait(PATIENCE_SECONDS)
        return body, self.tags, self.ends_at


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> float:
    """Return as soon as `condition` holds, and say how long that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() < started + seconds, "it did not happen in time"
        time.sleep(0.01)
    return time.monotonic() - started


@pytest.fixture
def redis_settings(redis_server: RedisServer) -> RedisSettings:
    return RedisSettings(url=redis_server.url, **PATIENT)


@pytest.fixture
def shared(redis_settings: RedisSettings, clock: StoppedClock) -> Iterator[SharedTier]:
    tier = SharedTier(connect(redis_settings), clock)
    yield tier
    tier.close()


@pytest.fixture(params=["without redis", "with redis"])
def cache(request: pytest.FixtureRequest, clock: StoppedClock) -> Cache:
    tier = request.getfixturevalue("shared") if request.param == "with redis" else None
    return local_cache(clock, tier)


@pytest.fixture(params=["without redis", "with redis"])
def processes(request: pytest.FixtureRequest, database_url: str, engine: Engine) -> Iterator[Callable[..., Any]]:
    """`processes()`: an application as another process would run it, on the real clock, which hears of the others."""
    running: list[Any] = []
    given = {"cache.delay_ms": "100", "cache.local_seconds": "600", "cache.redis_seconds": "600"}
    if request.param == "with redis":
        given["redis.url"] = request.getfixturevalue("redis_server").url
    given |= {f"redis.{key}": str(value) for key, value in PATIENT.items()}

    def start(**settings: str) -> Any:
        app = make_application(make_settings(database_url, given | settings))
        running.append(app)
        app.registry.cache.news.start()
        wait_until(lambda: app.registry.cache.news.is_current)
        return app

    yield start
    for app in running:
        close(app.registry)


def build_of(body: bytes, *tags: str) -> Build:
    return lambda: (body, tags, None)
