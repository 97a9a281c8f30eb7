"""The cache: finished answers in this process, then in Redis where there is one, then built.

    entry = registry.cache.get_or_build(key, build)      # build() -> (body, tags, ends_at)

What it promises, and docs/caching.md explains: of those who ask for the same thing in a process one builds, and with
Redis one in all processes; nobody is given what was built from before a drop that came before they asked; a value that
could not be built leaves no trace.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from commerce_core.cache.entry import Entry
from commerce_core.cache.local import Kept, LocalTier
from commerce_core.cache.news import News
from commerce_core.cache.shared import LOCK_MS, RedisAway, SharedTier, Ticket
from commerce_core.clock import Clock
from commerce_core.settings import CacheSettings

# The body, its tags, and from when (UTC) on it will be wrong, if that is known.
Build = Callable[[], tuple[bytes, Iterable[str], datetime | None]]
# While nothing is heard of other processes, what is older than this is not served.
UNHEARD_SECONDS = 0.5
# How long those who wait for another's build have patience, before they build for themselves.
WAIT_SECONDS = 3.0
_WAIT_FOR_LOCK_SECONDS = 0.015
# After so many builds that were overtaken by changes, one is given what was built for it alone.
_ROUNDS = 3
# Nothing lasts exactly as long as its neighbour, so that they do not all lapse together.
_JITTER = 0.1


class _Flight:
    """A build under way, and the drops there were during it."""

    def __init__(self) -> None:
        self.landed = threading.Event()
        self.entry: Entry | None = None
        self.drops: list[frozenset[str]] = []

    def was_overtaken(self, entry: Entry, before: int | None = None) -> bool:
        """Whether one of those drops (the first `before` of them, if given) concerns the entry."""
        return any(entry.bears(tags) for tags in self.drops[:before])


class Cache:
    """Safe between threads."""

    def __init__(
        self,
        settings: CacheSettings,
        clock: Clock,
        shared: SharedTier | None,
        meters: Mapping[str, Callable[[float], None]] | None = None,
    ) -> None:
        """`meters`, by the names that `statistics` has, are told what is counted."""
        self._settings = settings
        self._clock = clock
        self._shared = shared
        self._lock = threading.Lock()
        self._local = LocalTier(settings.local_entries, settings.local_mb * 1_048_576)
        self._flights: dict[str, _Flight] = {}
        self._counts: Counter[str] = Counter()
        self._meters = meters or {}
        # Set when the room is put together; it drops what others tell.
        self.news: News | None = None

    def get_or_build(self, key: str, build: Build) -> Entry:
        """The answer that `key` stands for. Raises what `build` raises."""
        if not self._settings.enabled:
            return self._built(build)
        for _ in range(_ROUNDS):
            with self._lock:
                kept = self._usable(key)
                if kept is not None and not kept.entry.is_due(kept.until - self._clock.monotonic()):
                    self._note("local_hits")
                    return kept.entry
                flight = self._flights.get(key)
                if flight is not None and kept is not None:
                    self._note("local_stale")
                    return kept.entry
                leads = flight is None
                if flight is None:
                    self._note("local_misses")
                    flight = self._flights[key] = _Flight()
                else:
                    self._note("waits")
                already_dropped = len(flight.drops)
            if leads:
                return self._lead(key, flight, build)
            flight.landed.wait(WAIT_SECONDS)
            entry = flight.entry
            if entry is None:
                break  # it failed, or takes too long
            if not flight.was_overtaken(entry, already_dropped):
                return entry
        return self._built(build)

    def drop(self, tags: Iterable[str]) -> None:
        """Drop what bears one of `tags` from this process, and what is being built from before."""
        dropped = frozenset(tags)
        if not dropped:
            return
        with self._lock:
            self._note("drops", self._local.drop(dropped))
            for flight in self._flights.values():
                flight.drops.append(dropped)

    def close(self) -> None:
        """Tell the other processes what is left to tell, and leave them."""
        if self.news is not None:
            self.news.close()
        if self._shared is not None:
            self._shared.close()

    def statistics(self) -> dict[str, Any]:
        """Counts since the process began, and what is kept now."""
        names = (
            *("local_hits", "local_misses", "local_stale", "waits", "shared_hits", "shared_misses", "shared_stale"),
            *("shared_refused", "shared_away", "builds", "build_failures", "drops"),
        )
        with self._lock:
            return {
                **{name: self._counts[name] for name in names},
                "local_entries": len(self._local),
                "local_bytes": self._local.bytes,
                "is_current": self.news is not None and self.news.is_current,
            }

    def _usable(self, key: str) -> Kept | None:
        """What there is and may be served, if need be as something that was right a moment ago."""
        kept = self._local.get(key)
        if kept is None:
            return None
        now = self._clock.monotonic()
        is_current = self.news is not None and self.news.is_current
        last = min(kept.until + self._settings.stale_seconds, kept.ends)
        if now >= last or (not is_current and now >= kept.since + UNHEARD_SECONDS):
            self._local.remove(key)
            return None
        return kept

    def _lead(self, key: str, flight: _Flight, build: Build) -> Entry:
        """Find or build the answer for all who ask for it now."""
        entry = None
        try:
            if self.news is not None:
                self.news.start()
            since, now = self._clock.monotonic(), self._clock.now()
            entry, seconds = self._load(key, build)
        finally:
            with self._lock:
                del self._flights[key]
                if entry is not None and not flight.was_overtaken(entry):
                    ends = since + entry.seconds_left(now)
                    until = since + seconds * random.uniform(1 - _JITTER, 1)
                    self._local.put(key, Kept(entry, since, min(until, ends), ends))
            flight.entry = entry
            flight.landed.set()
        return entry

    def _load(self, key: str, build: Build) -> tuple[Entry, float]:
        """The answer, and for how many seconds this process may keep it."""
        if self._shared is not None:
            try:
                return self._load_shared(self._shared, key, build)
            except RedisAway:
                self._count("shared_away")
        return self._built(build), self._settings.local_seconds

    def _load_shared(self, shared: SharedTier, key: str, build: Build) -> tuple[Entry, float]:
        deadline = time.monotonic() + LOCK_MS / 1000
        while True:
            _, entry, left = self._look(shared, key)
            if entry is not None and not entry.is_due(left):
                self._count("shared_hits")
                return entry, min(left, self._settings.local_seconds)
            if shared.lock(key):
                return self._build_for_all(shared, key, build)
            if entry is not None:
                self._count("shared_stale")
                return entry, 0.0
            if time.monotonic() > deadline:
                return self._built(build), self._settings.local_seconds
            time.sleep(_WAIT_FOR_LOCK_SECONDS)

    def _build_for_all(self, shared: SharedTier, key: str, build: Build) -> tuple[Entry, float]:
        """With the lock of `key`, which is given back."""
        try:
            # Whoever had the lock before may just have been done.
            ticket, entry, left = self._look(shared, key)
            if entry is not None and not entry.is_due(left):
                self._count("shared_hits")
                return entry, min(left, self._settings.local_seconds)
            self._count("shared_misses")
            entry = self._built(build)
            self._share(shared, key, entry, ticket)
            return entry, self._settings.local_seconds
        finally:
            self._unlock(shared, key)

    def _look(self, shared: SharedTier, key: str) -> tuple[Ticket, Entry | None, float]:
        """The ticket, the value, and for how many seconds it is fresh."""
        ticket, entry, left_ms = shared.get(key)
        # What Redis has may be of before a change that it has not been told of: by us, or by anybody in an outage.
        news = self.news
        if entry is not None and news is not None and (not news.is_current or news.is_untold(entry.tags)):
            entry = None
        if entry is not None and entry.seconds_left(self._clock.now()) <= 0:
            entry = None
        return ticket, entry, left_ms / 1000 - self._settings.stale_seconds

    def _share(self, shared: SharedTier, key: str, entry: Entry, ticket: Ticket) -> None:
        seconds = self._settings.redis_seconds * random.uniform(1 - _JITTER, 1) + self._settings.stale_seconds
        try:
            if not shared.put(key, entry, ticket, milliseconds=int(seconds * 1000)):
                self._count("shared_refused")
        except RedisAway:
            self._count("shared_away")

    def _unlock(self, shared: SharedTier, key: str) -> None:
        try:
            shared.unlock(key)
        except RedisAway:
            self._count("shared_away")

    def _built(self, build: Build) -> Entry:
        self._count("builds")
        started = time.perf_counter()
        try:
            body, tags, ends_at = build()
        except BaseException:
            self._count("build_failures")
            raise
        return Entry.of(body, tags, time.perf_counter() - started, ends_at)

    def _count(self, name: str) -> None:
        with self._lock:
            self._note(name)

    def _note(self, name: str, number: int = 1) -> None:
        """With the lock."""
        self._counts[name] += number
        meter = self._meters.get(name)
        if meter is not None:
            meter(number)
