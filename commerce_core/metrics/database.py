"""Figures that are read from the database when somebody asks: how many jobs wait, say.

On a connection of its own, because they matter most when the pool is used up; at most once in a few seconds, however
many ask; and with little patience, because an answer without them is better than none.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from pyramid.config import Configurator

from commerce_core.clock import Clock
from commerce_core.database import conninfo
from commerce_core.log import first_line
from commerce_core.metrics import Description, Metrics

_log = structlog.get_logger("commerce.metrics")
KEPT_SECONDS = 5.0
CONNECT_SECONDS = 2
STATEMENT_MS = 1_000
_UP = ("commerce_database_up", "Whether the database answers the process that is asked for the metrics.")


@dataclass(frozen=True, slots=True)
class _Figure:
    name: str
    help: str
    labels: tuple[str, ...]
    query: str


class DatabaseFigures(Collector):
    """Gauges, each a query whose rows are the labels' values and the figure. `%(now)s` in it is the shop's time."""

    def __init__(self, url: str, clock: Clock, metrics: Metrics) -> None:
        self._address = conninfo(url)
        self._clock = clock
        self._metrics = metrics
        self._lock = threading.Lock()
        self._figures: list[_Figure] = []
        self._read: list[GaugeMetricFamily] = []
        self._read_at: float | None = None
        metrics.describe(Description(_UP[0], "gauge", _UP[1], ()))
        metrics.collect_when_read(self)

    def add(self, name: str, help: str, labels: Sequence[str], query: str) -> None:
        """Read this, too. Let it be a query that an index answers."""
        self._figures.append(_Figure(name, help, tuple(labels), query))
        self._metrics.describe(Description(name, "gauge", help, tuple(labels)))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        with self._lock:
            now = self._clock.monotonic()
            if self._read_at is None or now >= self._read_at + KEPT_SECONDS:
                self._read = self._read_all()
                self._read_at = now
            read = self._read
        yield from read

    def _read_all(self) -> list[GaugeMetricFamily]:
        try:
            with psycopg.connect(
                self._address,
                autocommit=True,
                connect_timeout=CONNECT_SECONDS,
                application_name="commerce-metrics",
                options=f"-c statement_timeout={STATEMENT_MS} -c timezone=UTC",
            ) as connection:
                read = [family for figure in self._figures for family in self._read_one(connection, figure)]
        except psycopg.OperationalError as error:
            _log.warning("figures not read", error=first_line(error))
            return [GaugeMetricFamily(*_UP, value=0)]
        return [GaugeMetricFamily(*_UP, value=1), *read]

    def _read_one(self, connection: psycopg.Connection[Any], figure: _Figure) -> Iterator[GaugeMetricFamily]:
        try:
            rows = connection.execute(figure.query, {"now": self._clock.now()}).fetchall()
        except psycopg.Error as error:
            if connection.closed:
                raise
            _log.warning("figure not read", name=figure.name, error=first_line(error))
            return
        family = GaugeMetricFamily(figure.name, figure.help, labels=figure.labels)
        for *labels, value in rows:
            family.add_metric([str(label) for label in labels], float(value))
        yield family


def includeme(config: Configurator) -> None:
    registry = config.registry
    registry.figures = DatabaseFigures(registry.database_url, registry.clock, registry.metrics)
