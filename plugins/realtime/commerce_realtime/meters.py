"""What the server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from commerce_core.metrics import Metrics

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Meters:
    """The server's metrics; each count costs a microsecond, so frames are counted where they are gathered."""

    def __init__(self, metrics: Metrics) -> None:
        def counter(name: str, help: str) -> Callable[[float], None]:
            return metrics.counter(f"commerce_realtime_{name}_total", help).inc

        def gauge(name: str, help: str) -> Callable[[float], None]:
            return metrics.gauge(f"commerce_realtime_{name}", help).set

        self._closes = metrics.counter(
            "commerce_realtime_closes_total", "WebSockets that have ended, by the code of the close.", ("code",)
        )
        self.connections = gauge("connections", "Open WebSockets.")
        self.subscriptions = gauge("subscriptions", "Subscriptions of all WebSockets.")
        self.channels = gauge("channels", "Channels that somebody is subscribed to.")
        self.waiting = gauge("handshakes_waiting", "Handshakes that wait for their turn.")
        self.slow = gauge("slow_connections", "WebSockets whose client does not read at the moment.")
        self.bus_is_there = gauge("bus_up", "1 while the process hears of changes.")
        self.bus_lag = gauge("bus_lag_seconds", "How long the last message to itself took over the bus.")
        self.peers = gauge("peers", "Other processes that serve sockets, too.")
        self.delivered = counter("frames_written", "Frames of events that were written to sockets or kept for them.")
        self._opened = counter("connections_opened", "WebSockets that were opened.")
        self._told = counter("stock_events", "Changes of stock that were told.")
        self._resynced = counter("resyncs", "Snapshots that were sent to all of a channel.")
        self._missed = counter("missed", "Messages of the bus that are known to be lost.")
        self._lost = counter("bus_losses", "Times that the bus was lost.")
        self._turned_away = counter("turned_away", "Handshakes that were answered 503.")
        self._unauthorized = counter("unauthorized", "Signatures that were not valid.")
        self.conflated = counter("conflated", "States that a slow client did not get, because a newer one came.")
        self.reach: Callable[[float], None] = metrics.histogram(
            "commerce_realtime_reach_seconds",
            "From the change of stock to its being written to sockets.",
            buckets=_SECONDS,
        ).observe

    def opened(self) -> None:
        self._opened(1)

    def closed(self, code: int) -> None:
        # Clients choose codes of their own.
        self._closes.labels(str(code) if code < 2_000 or 4_000 <= code < 4_400 else "other").inc()

    def told(self) -> None:
        self._told(1)

    def resynced(self) -> None:
        self._resynced(1)

    def missed(self) -> None:
        self._missed(1)

    def lost(self) -> None:
        self._lost(1)

    def turned_away(self) -> None:
        self._turned_away(1)

    def unauthorized(self) -> None:
        self._unauthorized(1)
