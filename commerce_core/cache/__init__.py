"""The cache of what the catalogue answers: in each process, in Redis, and in CDNs. See docs/caching.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from uuid import uuid4

from pyramid.config import Configurator
from sqlalchemy import Engine

from commerce_core.cache import cdn, shared
from commerce_core.cache.changes import Changes
from commerce_core.cache.channels import Channel, PostgresChannel, RedisChannel
from commerce_core.cache.entry import EVERYTHING
from commerce_core.cache.images import ImageAddresses
from commerce_core.cache.news import News
from commerce_core.cache.store import Cache
from commerce_core.clock import Clock
from commerce_core.database import conninfo
from commerce_core.events import EventBus
from commerce_core.metrics import Metrics
from commerce_core.settings import CoreSettings

# What the thread waits between two looks where changes are told at once.
_SHORTEST_INTERVAL = 0.05


def includeme(config: Configurator) -> None:
    registry = config.registry
    settings: CoreSettings = registry.settings_object
    tier = None
    if settings.redis.url is not None and settings.cache.enabled:
        tier = shared.SharedTier(shared.connect(settings.redis), registry.clock)
    registry.cache = Cache(settings.cache, registry.clock, tier, _meters(registry.metrics))
    registry.cache.news = _connect(
        registry.bus, registry.engine, registry.database_url, settings, registry.clock, drop=registry.cache.drop
    )
    registry.image_addresses = ImageAddresses(settings.cdn)
    config.include(cdn)


def _meters(metrics: Metrics) -> dict[str, Callable[[float], None]]:
    """What the cache counts, by its names for it."""
    lookups = metrics.counter(
        "commerce_cache_lookups_total", "Answers looked for in the cache, by what was found.", ("tier", "outcome")
    )
    builds = metrics.counter("commerce_cache_builds_total", "Answers that had to be built.")
    failures = metrics.counter("commerce_cache_build_failures_total", "Answers that could not be built.")
    drops = metrics.counter("commerce_cache_drops_total", "Answers dropped from a process because something changed.")
    away = metrics.counter("commerce_cache_redis_failures_total", "Times that Redis could not be asked.")
    return {
        "local_hits": lookups.labels("process", "hit").inc,
        "local_misses": lookups.labels("process", "miss").inc,
        "local_stale": lookups.labels("process", "stale").inc,
        "waits": lookups.labels("process", "wait").inc,
        "shared_hits": lookups.labels("redis", "hit").inc,
        "shared_misses": lookups.labels("redis", "miss").inc,
        "shared_stale": lookups.labels("redis", "stale").inc,
        "shared_away": away.inc,
        "builds": builds.inc,
        "build_failures": failures.inc,
        "drops": drops.inc,
    }


def drop_everywhere(url: str, settings: CoreSettings) -> None:
    """Drop everything from Redis and from every process. Raises one of channels.ERRORS, or RedisAway."""
    with closing(_opener(url, settings, Clock())(uuid4().hex)) as channel:
        channel.send([EVERYTHING])


def _connect(
    bus: EventBus,
    engine: Engine,
    url: str,
    settings: CoreSettings,
    clock: Clock,
    *,
    drop: Callable[[Iterable[str]], None],
) -> News:
    """Let what happens in this process be dropped and told, and what others tell be dropped."""
    delay = settings.cache.delay_ms / 1000
    changes = Changes(engine, delay=delay, drop=drop, tell=lambda tags: news.tell(tags))
    news = News(
        _opener(url, settings, clock),
        clock=clock,
        interval=max(delay, _SHORTEST_INTERVAL),
        collect=changes.collect,
        hear=drop,
    )
    changes.subscribe(bus)
    return news


def _opener(url: str, settings: CoreSettings, clock: Clock) -> Callable[[str], Channel]:
    """How a process joins the others under a name."""
    if settings.redis.url is not None:
        client = shared.connect(settings.redis)
        # Without a rest: what has changed is told as soon as Redis is back.
        tier = shared.SharedTier(client, clock, rest_seconds=0.0)
        return lambda name: RedisChannel(client, tier, name)
    address = conninfo(url)
    return lambda name: PostgresChannel(address, name, settings.sqlalchemy.connect_timeout_seconds)
