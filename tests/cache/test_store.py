"""The promises of the cache: one builds, nobody gets what is old, nothing that fails leaves a trace."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from commerce_core.cache.entry import EVERYTHING, Entry
from commerce_core.cache.shared import SharedTier
from commerce_core.cache.store import UNHEARD_SECONDS, Cache
from commerce_core.testing import StoppedClock, concurrently
from tests.cache.conftest import PATIENCE_SECONDS, Current, Source, build_of, local_cache, wait_until


def test_what_was_built_is_found_again(cache: Cache) -> None:
    source = Source()
    first, again = (cache.get_or_build("key", source) for _ in range(2))
    assert (first.body, source.builds) == (b"first", 1)
    assert again.etag == first.etag
    assert cache.statistics()["local_hits"] == 1


@pytest.mark.parametrize("tag", ["product:1", "lists", EVERYTHING])
def test_a_drop_takes_what_bears_the_tag_and_nothing_else(clock: StoppedClock, tag: str) -> None:
    cache = local_cache(clock)
    cache.get_or_build("old", build_of(b"1", "product:1", "lists"))
    cache.get_or_build("other", build_of(b"2", "product:2"))
    cache.drop([tag])
    assert cache.get_or_build("old", build_of(b"new")).body == b"new"
    assert cache.get_or_build("other", build_of(b"new")).body == (b"new" if tag == EVERYTHING else b"2")


def test_of_200_who_want_the_same_one_builds(cache: Cache) -> None:
    source = Source()
    source.gate.clear()

    def let_go() -> None:
        wait_until(lambda: cache.statistics()["waits"] == 199)
        source.gate.set()

    results = concurrently([*[lambda: cache.get_or_build("key", source)] * 200, let_go])  # type: ignore[list-item]
    assert {result.body for result in results[:-1] if isinstance(result, Entry)} == {b"first"}
    assert source.builds == 1


def test_of_several_processes_with_redis_one_builds(shared: SharedTier, clock: StoppedClock) -> None:
    source = Source()
    caches = [local_cache(clock, shared) for _ in range(8)]
    results = concurrently([lambda cache=cache: cache.get_or_build("key", source) for cache in caches])  # type: ignore[misc]
    assert [result.body for result in results if isinstance(result, Entry)] == [b"first"] * 8
    assert source.builds == 1


def test_a_drop_during_a_build_is_not_overwritten_by_it(cache: Cache) -> None:
    source = Source(b"old")
    source.gate.clear()
    with in_thread(cache, source):
        cache.drop(["product:1"])
        if cache._shared is not None:
            cache._shared.drop(["product:1"], "news")
        source.gate.set()
    assert cache.get_or_build("key", build_of(b"new", "product:1")).body == b"new"


def test_a_drop_of_something_else_during_a_build_does_no_harm(cache: Cache) -> None:
    source = Source()
    source.gate.clear()
    with in_thread(cache, source):
        cache.drop(["product:2"])
        source.gate.set()
    cache.get_or_build("key", source)
    assert source.builds == 1


def test_who_asks_after_a_drop_does_not_get_what_was_begun_before_it(clock: StoppedClock) -> None:
    cache = local_cache(clock)
    source = Source(b"old")
    source.gate.clear()
    results: list[bytes] = []
    with in_thread(cache, source):
        cache.drop(["product:1"])
        source.body = b"new"
        late = threading.Thread(target=lambda: results.append(cache.get_or_build("key", source).body))
        late.start()
        wait_until(lambda: cache.statistics()["waits"] == 1)
        source.gate.set()
        late.join(PATIENCE_SECONDS)
    assert results == [b"new"]


def test_a_build_that_fails_leaves_no_trace(cache: Cache) -> None:
    def fail() -> tuple[bytes, Iterable[str]]:
        raise LookupError("gone")

    with pytest.raises(LookupError):
        cache.get_or_build("key", fail)
    assert cache.get_or_build("key", build_of(b"there")).body == b"there"


def test_those_who_wait_for_a_build_that_fails_build_for_themselves(clock: StoppedClock) -> None:
    cache = local_cache(clock)
    entered, gate = threading.Event(), threading.Event()

    def fail() -> tuple[bytes, Iterable[str]]:
        entered.set()
        assert gate.wait(PATIENCE_SECONDS)
        raise LookupError("gone")

    def lead() -> None:
        with pytest.raises(LookupError):
            cache.get_or_build("key", fail)

    def follow() -> bytes:
        assert entered.wait(PATIENCE_SECONDS)
        return cache.get_or_build("key", build_of(b"there")).body

    def let_go() -> None:
        wait_until(lambda: cache.statistics()["waits"] == 1)
        gate.set()

    assert concurrently([lead, follow, let_go])[1] == b"there"  # type: ignore[list-item]


def test_what_is_wrong_from_a_certain_time_on_is_not_served_then(clock: StoppedClock) -> None:
    cache = local_cache(clock, local_seconds=10, stale_seconds=5)
    source = Source(b"sale")
    source.ends_at = clock.now() + timedelta(seconds=3)
    cache.get_or_build("key", source)
    clock.tick(seconds=2.9)
    assert cache.get_or_build("key", source).body == b"sale"
    source.body, source.ends_at = b"over", None
    clock.tick(seconds=0.1)
    assert cache.get_or_build("key", source).body == b"over"
    clock.tick(seconds=8)
    assert cache.get_or_build("key", source).body == b"over"
    assert source.builds == 2


def test_when_it_has_lapsed_one_builds_and_the_others_get_what_there_was(clock: StoppedClock) -> None:
    cache = local_cache(clock, local_seconds=10, stale_seconds=5)
    source = Source(b"old")
    cache.get_or_build("key", source)
    clock.tick(seconds=12)
    source.body = b"new"
    source.started.clear()
    source.gate.clear()
    with in_thread(cache, source):
        assert cache.get_or_build("key", source).body == b"old"
        source.gate.set()
    assert cache.get_or_build("key", source).body == b"new"
    clock.tick(seconds=16)
    assert cache.get_or_build("key", build_of(b"newest")).body == b"newest"


def test_what_is_dear_is_built_again_before_it_lapses() -> None:
    entry = Entry.of(b"", [], cost=1.0)
    early = sum(entry.is_due(1.0) for _ in range(2_000))
    assert 500 < early < 1_000  # e to the minus 1, a third and more
    assert not any(Entry.of(b"", [], cost=0.001).is_due(1.0) for _ in range(2_000))
    assert entry.is_due(0)


def test_the_process_keeps_no_more_than_it_may(clock: StoppedClock) -> None:
    cache = local_cache(clock, local_entries=3, local_mb=1)
    for number in range(5):
        cache.get_or_build(f"key {number}", build_of(b"x"))
        cache.get_or_build("key 0", build_of(b"x"))
    assert cache.statistics()["local_entries"] == 3
    assert cache.statistics()["builds"] == 5
    for number in range(20):
        cache.get_or_build(f"large {number}", build_of(b"x" * 100_000))
    assert cache.statistics()["local_bytes"] <= 1_048_576
    cache.get_or_build("huge", build_of(b"x" * 1_000_000))
    assert cache.statistics()["local_entries"] > 1


def test_who_hears_nothing_keeps_nothing_for_long(clock: StoppedClock) -> None:
    cache = local_cache(clock)
    source = Source()
    cache.get_or_build("key", source)
    news: Any = cache.news
    assert isinstance(news, Current)
    news.is_current = False
    cache.get_or_build("key", source)
    assert source.builds == 1
    clock.tick(seconds=UNHEARD_SECONDS)
    cache.get_or_build("key", source)
    assert source.builds == 2


def test_what_redis_has_not_been_told_is_not_believed(shared: SharedTier, clock: StoppedClock) -> None:
    cache = local_cache(clock, shared)
    cache.get_or_build("key", build_of(b"old", "product:1"))
    cache.drop(["product:1"])
    news: Any = cache.news
    news.is_untold = lambda tags: "product:1" in tags
    assert cache.get_or_build("key", build_of(b"new", "product:1")).body == b"new"


def test_turned_off_it_keeps_nothing(clock: StoppedClock) -> None:
    cache = local_cache(clock, enabled=False)
    source = Source()
    for _ in range(2):
        cache.get_or_build("key", source)
    assert source.builds == 2


class in_thread:  # noqa: N801 (reads as a statement)
    """A build of `key` under way, for the length of the block; over at its end."""

    def __init__(self, cache: Cache, source: Source) -> None:
        self._source = source
        self._thread = threading.Thread(target=cache.get_or_build, args=("key", source))

    def __enter__(self) -> None:
        self._thread.start()
        assert self._source.started.wait(PATIENCE_SECONDS)

    def __exit__(self, *_: object) -> None:
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()
