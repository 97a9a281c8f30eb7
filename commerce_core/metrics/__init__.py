"""What is counted and measured, for Prometheus: `registry.metrics`, one for each application.

    placed = config.registry.metrics.counter("commerce_orders_placed_total", "Orders placed.")
    placed.inc()

Rooms, and plugins, make what they need in their `includeme`. `labels` must be few, and of few values each: every
combination is kept for ever. A count costs a microsecond. Names follow Prometheus' conventions: base units
(`_seconds`, `_bytes`), and `_total` for what is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from commerce_core.metrics import processes

# Seconds, from what the cache answers to what nobody waits for.
REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Description:
    """A metric as it was declared."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...]


class Metrics:
    """The metrics of an application. Safe between threads; and where processes share a folder, summed over them."""

    def __init__(self) -> None:
        self._folder = processes.shared_folder()
        if self._folder is not None:
            processes.join(self._folder)
        self._registry = CollectorRegistry()
        self._when_read: list[Collector] = []
        self.descriptions: list[Description] = []

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Counter:
        """What only grows. `name` ends in `_total`. Raises ValueError when there is such a metric already."""
        self.describe(Description(name, "counter", help, tuple(labels)))
        return Counter(name, help, labels, registry=self._registry)

    def histogram(
        self, name: str, help: str, labels: Sequence[str] = (), *, buckets: Sequence[float] = REQUEST_SECONDS
    ) -> Histogram:
        """How long, or how many, with the upper bounds of `buckets`."""
        self.describe(Description(name, "histogram", help, tuple(labels)))
        return Histogram(name, help, labels, buckets=buckets, registry=self._registry)

    def gauge(
        self, name: str, help: str, labels: Sequence[str] = (), *, of_processes: Literal["sum", "max"] = "sum"
    ) -> Gauge:
        """What goes up and down. `of_processes`: what is told of the values that living processes have."""
        self.describe(Description(name, "gauge", help, tuple(labels)))
        mode: Literal["livesum", "livemax"] = "livesum" if of_processes == "sum" else "livemax"
        return Gauge(name, help, labels, registry=self._registry, multiprocess_mode=mode)

    def collect_when_read(self, collector: Collector) -> None:
        """Ask `collector` whenever somebody reads, in whichever process is asked: for what all processes see alike."""
        self._when_read.append(collector)

    def describe(self, description: Description) -> None:
        """List a metric that a collector brings."""
        self.descriptions.append(description)

    def text(self, accept: str = "") -> tuple[str, bytes]:
        """Everything, as Prometheus reads it: the media type, chosen by an Accept header, and the body."""
        read = CollectorRegistry()
        if self._folder is None:
            read.register(self._registry)
        else:
            processes.forget_the_dead(self._folder)
            MultiProcessCollector(read, path=str(self._folder))  # type: ignore[no-untyped-call]
        for collector in self._when_read:
            read.register(collector)
        encode, media_type = choose_encoder(accept)
        return media_type, encode(read)
