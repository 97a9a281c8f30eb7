"""What integrators may hear of: every event's topic, but those of the shop's own works."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from commerce_core.events import CartUpdated, Event, JobDied, StockChanged, WebhookEndpointDisabled, WebhookReceived

# StockChanged is not written down, or a hold would cost a multiple. The others are for those who run the shop, and say
# what nobody else should read.
INTERNAL = frozenset(kind.topic for kind in (StockChanged, WebhookReceived, JobDied, WebhookEndpointDisabled))
# Sent only when staff ask for it.
PING = "ping"
EVERYTHING = "*"


def public_events() -> Iterator[type[Event]]:
    """Every class of event that there is now, plugins' too, and that integrators may hear of."""
    return (kind for kind in _kinds(Event) if kind.topic not in INTERNAL)


def topics() -> list[str]:
    return sorted({kind.topic for kind in public_events()})


@cache
def patterns_of(topic: str) -> list[str]:
    """What an endpoint may ask for to be told of `topic`: `order.paid`, `order.*` and `*` for the first.

    Of carts there is as much to tell as there are clicks: whoever wants that names it.
    """
    parts = topic.split(".")
    everything = [] if topic == CartUpdated.topic else [EVERYTHING]
    return [topic, *(".".join(parts[:count]) + ".*" for count in range(1, len(parts))), *everything]


def is_known(pattern: str) -> bool:
    """Whether there is a topic that it stands for."""
    return any(pattern in patterns_of(topic) for topic in topics())


def _kinds(base: type[Event]) -> Iterator[type[Event]]:
    for kind in base.__subclasses__():
        if hasattr(kind, "topic"):
            yield kind
        yield from _kinds(kind)
