"""The tier in Redis: late values are refused, drops are whole, and its absence costs little."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from commerce_core.cache.entry import EVERYTHING, Entry
from commerce_core.cache.shared import PREFIX, REST_SECONDS, RedisAway, SharedTier, connect
from commerce_core.settings import RedisSettings
from commerce_core.testing import StoppedClock
from commerce_core.testing.redis import RedisServer
from tests.cache.conftest import PATIENCE_SECONDS, Source, build_of, local_cache

ENTRY = Entry.of(b"body \n with lines", ["product:1", "lists"], 0.01, datetime(2026, 3, 29, 1, tzinfo=UTC))


def put(tier: SharedTier, entry: Entry = ENTRY) -> bool:
    return tier.put("key", entry, tier.get("key").ticket, milliseconds=60_000)


def test_a_value_comes_back_as_it_was(shared: SharedTier) -> None:
    assert put(shared)
    found = shared.get("key")
    assert found.entry == ENTRY
    assert 0 < found.left_ms <= 60_000


@pytest.mark.parametrize("tag", ["product:1", "lists", EVERYTHING])
def test_a_value_built_from_before_a_drop_is_refused(shared: SharedTier, tag: str) -> None:
    ticket = shared.get("key").ticket
    shared.drop([tag], "news")
    assert not shared.put("key", ENTRY, ticket, milliseconds=60_000)
    assert shared.get("key").entry is None
    assert put(shared)


def test_a_value_built_from_before_a_flush_is_refused(shared: SharedTier, redis_server: RedisServer) -> None:
    ticket = shared.get("key").ticket
    with Redis(port=redis_server.port) as client:
        client.flushall()
    assert not shared.put("key", ENTRY, ticket, milliseconds=60_000)


def test_on_one_occasion_everything_is_dropped_once(shared: SharedTier) -> None:
    put(shared)
    shared.drop_everything_once("outage", "news", seconds=60)
    assert shared.get("key").entry is None
    put(shared)
    shared.drop_everything_once("outage", "news", seconds=60)
    assert shared.get("key").entry == ENTRY


def test_what_is_no_value_is_taken_for_none(shared: SharedTier, redis_server: RedisServer) -> None:
    put(shared)
    with Redis(port=redis_server.port) as client:
        for name in client.scan_iter(f"{PREFIX}*:entry:*"):
            client.set(name, b"\x80\x04nonsense")
    assert shared.get("key").entry is None


def test_nothing_outlives_its_time_in_redis(shared: SharedTier, redis_server: RedisServer) -> None:
    put(shared)
    shared.drop(["product:2"], "news")
    with Redis(port=redis_server.port) as client:
        lasting = [name for name in client.scan_iter("*") if client.ttl(name) == -1]
    assert lasting == [f"{PREFIX}epoch".encode()]


def test_while_redis_is_away_it_is_asked_seldom(
    shared: SharedTier, redis_server: RedisServer, clock: StoppedClock
) -> None:
    put(shared)
    redis_server.stop()
    asked = 0
    for _ in range(5):
        try:
            shared.get("key")
        except RedisAway as away:
            asked += away.__cause__ is not None
    assert asked == 1
    redis_server.start()
    with pytest.raises(RedisAway):
        shared.get("key")
    clock.tick(seconds=REST_SECONDS)
    assert shared.get("key").entry is None


def test_a_redis_that_dies_in_the_middle_costs_no_answer(
    shared: SharedTier, redis_server: RedisServer, clock: StoppedClock
) -> None:
    cache = local_cache(clock, shared)
    source = Source()
    source.gate.clear()
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: answers.append(cache.get_or_build("key", source).body)) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    assert source.started.wait(PATIENCE_SECONDS)
    redis_server.stop()
    source.gate.set()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert answers == [b"first"] * 20
    assert source.builds == 1
    assert cache.get_or_build("other", build_of(b"built")).body == b"built"
    assert cache.statistics()["shared_away"] >= 2


def test_a_redis_that_does_not_answer_costs_one_time_out(redis_server: RedisServer, clock: StoppedClock) -> None:
    shared = SharedTier(connect(RedisSettings(url=redis_server.url)), clock)
    cache = local_cache(clock, shared)
    redis_server.pause()
    try:
        for number in range(10):
            assert cache.get_or_build(f"key {number}", build_of(b"built")).body == b"built"
    finally:
        redis_server.resume()
        shared.close()
    assert cache.statistics()["builds"] == 10


def test_what_is_wrong_by_now_is_not_taken_from_redis(clock: StoppedClock, shared: SharedTier) -> None:
    source = Source(b"sale")
    source.ends_at = clock.now() + timedelta(seconds=3)
    local_cache(clock, shared).get_or_build("key", source)
    assert local_cache(clock, shared).get_or_build("key", build_of(b"not asked")).body == b"sale"
    clock.tick(seconds=3)
    assert local_cache(clock, shared).get_or_build("key", build_of(b"over")).body == b"over"
