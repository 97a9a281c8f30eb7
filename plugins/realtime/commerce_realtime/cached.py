"""The last event of each cache channel, kept for half an hour, whether somebody is subscribed or not.

Every process hears every event, so each keeps them; one that has just begun asks the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from commerce_realtime import wire

if TYPE_CHECKING:
    from commerce_realtime.peers import Peers

KEPT_SECONDS = 1_800.0
MOST = 10_000


class CachedEvents:
    """By app and channel."""

    def __init__(self, now: Callable[[], float], peers: Peers) -> None:
        self._now = now
        self._peers = peers
        # When, the event, its data; first what was put in first.
        self._kept: dict[tuple[str, str], tuple[float, str, str]] = {}
        peers.answers["cached"] = self._answer

    def keep(self, app: str, name: str, event: str, data: str) -> None:
        """This is the channel's last event now."""
        self._put(app, name, (self._now(), event, data))

    def get(self, app: str, name: str) -> bytes | None:
        """Its frame, if it is known here."""
        found = self._kept.get((app, name))
        if found is None or self._now() - found[0] > KEPT_SECONDS:
            return None
        return wire.message(found[1], name, found[2])

    async def ask(self, app: str, name: str) -> bytes | None:
        """Its frame, if any process knows it."""
        answers = [answer for answer in await self._peers.ask("cached", app, name) if answer is not None]
        here = self.get(app, name)
        if here is not None or not answers:  # it may have come meanwhile
            return here
        age, event, data = min(answers, key=lambda answer: float(answer[0]))
        self._put(app, name, (self._now() - age, event, data))
        return self.get(app, name)

    def _put(self, app: str, name: str, kept: tuple[float, str, str]) -> None:
        self._kept.pop((app, name), None)
        self._kept[app, name] = kept
        if len(self._kept) > MOST:
            self._kept.pop(next(iter(self._kept)))

    def _answer(self, app: str, name: str) -> list[Any] | None:
        found = self._kept.get((app, name))
        if found is None or self._now() - found[0] > KEPT_SECONDS:
            return None
        return [self._now() - found[0], found[1], found[2]]

    def described(self, app: str, name: str) -> dict[str, Any]:
        """The data and the remaining seconds, for the HTTP API; nothing if there is none."""
        found = self._kept.get((app, name))
        if found is None or self._now() - found[0] > KEPT_SECONDS:
            return {}
        return {"data": found[2], "ttl": int(KEPT_SECONDS - (self._now() - found[0]))}
