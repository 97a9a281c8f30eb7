"""Limits in Redis: shared by all processes; and what goes on, and what does not, while it is away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from sqlalchemy import Engine
from structlog.testing import capture_logs
from support.problems import assert_problem
from support.processes import wait_until
from webtest import TestApp

from commerce_core.api.counters import REST_SECONDS, RedisCounters
from commerce_core.api.limits import Strategy, rates_of
from commerce_core.api.problems import TooManyRequests
from commerce_core.application import close, make_application
from commerce_core.settings import RedisSettings
from commerce_core.testing import StoppedClock, make_settings
from commerce_core.testing.redis import RedisServer

BRANDS = "/api/v1/brands"


@pytest.fixture(autouse=True)
def logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that no other test has used, for it keeps the configuration of its first use."""
    monkeypatch.setattr("commerce_core.api.counters._log", structlog.get_logger())


@pytest.fixture
def processes(database_url: str, engine: Engine, clock: StoppedClock, redis_server: RedisServer) -> Iterator[list[Any]]:
    """Two applications on one Redis, each with counts of its own beside."""
    settings = make_settings(
        database_url,
        {
            "redis.url": redis_server.url,
            "limits.default": "4/hour",
            "limits.login": "4/hour; 100/day",
            "limits.login_account": "4/hour",
            # A busy machine must not look like one whose Redis is away.
            "redis.connect_timeout_ms": 5_000,
            "redis.timeout_ms": 5_000,
        },
    )
    applications = [make_application(settings, clock=clock) for _ in range(2)]
    yield applications
    for application in applications:
        close(application.registry)


def counts(application: Any, strategy: str, key: str | None = None) -> bool:
    """Whether one more attempt is let through."""
    request = application.request_factory.blank("/", environ={"REMOTE_ADDR": "203.0.113.1"})
    request.registry = application.registry
    try:
        request.limits.hit(strategy, key)
    except TooManyRequests:
        return False
    return True


def test_processes_share_their_limits(processes: list[Any]) -> None:
    clients = [TestApp(application, extra_environ={"REMOTE_ADDR": "203.0.113.1"}) for application in processes]
    answers = [clients[number % 2].get(BRANDS, status="*") for number in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
    assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["3", "2", "1", "0", "0", "0"]
    assert_problem(answers[-1], 429, "too-many-requests")
    assert 3_500 < int(answers[-1].headers["Retry-After"]) <= 3_600
    assert clients[0].get(BRANDS, extra_environ={"REMOTE_ADDR": "203.0.113.2"}).status_code == 200


def test_while_redis_is_away_signing_in_stays_limited_and_the_rest_is_open(
    processes: list[Any], redis_server: RedisServer, clock: StoppedClock
) -> None:
    process = processes[0]
    client = TestApp(process, extra_environ={"REMOTE_ADDR": "203.0.113.1"})
    assert counts(process, "login")
    with capture_logs() as logs:
        redis_server.stop()
        answers = [client.get(BRANDS) for _ in range(20)]
        assert not any("RateLimit-Limit" in answer.headers for answer in answers)
        for key in (None, "ada@example.com"):
            strategy = "login" if key is None else "login_account"
            assert [counts(process, strategy, key) for _ in range(10)] == [True] * 4 + [False] * 6
        for _ in range(3):  # it is asked again, and is still away
            clock.tick(seconds=REST_SECONDS + 1)
            assert client.get(BRANDS).status_code == 200
        redis_server.start()
        clock.tick(seconds=REST_SECONDS + 1)
        remaining = [client.get(BRANDS).headers["RateLimit-Remaining"] for _ in range(3)]
    assert remaining == ["3", "2", "1"]
    told = [(entry["log_level"], entry["event"].partition(":")[0]) for entry in logs if "redis is" in entry["event"]]
    assert told == [("error", "redis is away"), ("warning", "redis is back")]


def test_a_slow_redis_is_asked_once_and_then_left_alone(redis_server: RedisServer, clock: StoppedClock) -> None:
    counters = RedisCounters(RedisSettings(url=redis_server.url, timeout_ms=50), clock)
    strategy = Strategy("default", rates_of("2/hour"), clock, counters)
    asked: list[object] = []
    ask = counters._strategy.hit
    counters._strategy.hit = lambda *args: asked.append(args) or ask(*args)  # type: ignore[method-assign,func-returns-value]
    redis_server.pause()
    with capture_logs() as logs:
        assert [strategy.hit("key") for _ in range(1_000)] == [None] * 1_000
    assert len(asked) == 1
    assert [entry["event"].partition(":")[0] for entry in logs] == ["redis is away"]
    redis_server.resume()

    def is_back() -> bool:
        clock.tick(seconds=REST_SECONDS + 1)
        return strategy.hit("key") is not None

    wait_until(is_back)  # a busy machine may take longer than that for an answer, too
    counters.close()


def test_a_redis_that_refuses_to_write_counts_as_away(redis_server: RedisServer, clock: StoppedClock) -> None:
    counters = RedisCounters(RedisSettings(url=redis_server.url), clock)
    counters._storage.storage.config_set("maxmemory", "1")
    strategy = Strategy("login", rates_of("1/hour"), clock, counters)
    standings = [strategy.hit("key") for _ in range(2)]
    assert [standing and standing.allowed for standing in standings] == [True, False]
    counters.close()


def test_redis_learns_no_addresses_of_people(processes: list[Any], redis_server: RedisServer) -> None:
    counts(processes[0], "login_account", "ada@example.com")
    keys = processes[0].registry.limiter._shared._storage.storage.keys()
    assert keys
    assert not any(b"ada" in key for key in keys)
