"""How busy the connection pools are."""

from __future__ import annotations

import time
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from pyramid.config import Configurator
from sqlalchemy import Engine, event
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from commerce_core.metrics import Metrics

_IN_USE = "commerce_in_use"


class WatchedPool(QueuePool):
    """A pool that tells how long one waits for its connections, once `Pools.watch` has seen it."""

    waits: Histogram | None = None
    timeouts: Counter | None = None

    def connect(self) -> PoolProxiedConnection:
        started = time.perf_counter()
        try:
            connection = super().connect()
        except PoolTimeout:
            if self.timeouts is not None:
                self.timeouts.inc()
            raise
        if self.waits is not None:
            self.waits.observe(time.perf_counter() - started)
        return connection

    def recreate(self) -> WatchedPool:
        fresh = super().recreate()
        assert isinstance(fresh, WatchedPool)
        fresh.waits, fresh.timeouts = self.waits, self.timeouts
        return fresh


class Pools:
    """The metrics of every pool of an application."""

    def __init__(self, metrics: Metrics) -> None:
        labels = ("pool",)
        self._size = metrics.gauge(
            "commerce_database_pool_size", "Connections that the pools of all processes may open.", labels
        )
        self._in_use = metrics.gauge("commerce_database_pool_in_use", "Connections that are in use.", labels)
        self._waits = metrics.histogram(
            "commerce_database_pool_wait_seconds",
            "Time until a connection was had, waited for or opened.",
            labels,
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
        )
        self._timeouts = metrics.counter(
            "commerce_database_pool_timeouts_total", "Waits for a connection that were given up.", labels
        )

    def watch(self, engine: Engine, name: str, size: int) -> None:
        """Tell of the pool of `engine`, and of those that replace it, as `name`. `size`: the most it may open."""
        pool = engine.pool
        assert isinstance(pool, WatchedPool)
        in_use: Gauge = self._in_use.labels(name)
        pool.waits, pool.timeouts = self._waits.labels(name), self._timeouts.labels(name)

        def begins(*_: Any) -> None:
            # Not before: a process that makes an application and never uses it opens none.
            self._size.labels(name).set(size)

        def taken(_connection: Any, record: Any, _fairy: Any) -> None:
            record.record_info[_IN_USE] = True
            in_use.inc()

        def given_back(_connection: Any, record: Any) -> None:
            # What could not be opened is given back, too, without having been taken.
            if record.record_info.pop(_IN_USE, False):
                in_use.dec()

        event.listen(pool, "connect", begins)
        event.listen(pool, "checkout", taken)
        event.listen(pool, "checkin", given_back)


def includeme(config: Configurator) -> None:
    registry = config.registry
    settings = registry.settings_object.sqlalchemy
    registry.pools = Pools(registry.metrics)
    registry.pools.watch(registry.engine, "requests", settings.pool_size + settings.max_overflow)
