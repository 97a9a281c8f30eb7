"""Presence: who is in a channel, over all processes.

Each process tells who has come to it and who has left, and keeps what the others tell: so it knows all members, and
tells its own sockets of those that are new or gone. There is no common table to be out of step with. Who is in several
processes, or in several tabs, came once, and has left with the last of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from commerce_realtime import wire

if TYPE_CHECKING:
    import asyncio

    from commerce_realtime.bus import Bus
    from commerce_realtime.connection import Connection
    from commerce_realtime.hub import AppHub, Channel, Delivery

Place = tuple[str, str]  # an app's id and a channel's name


class Presence:
    """The members of every presence channel."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        hubs: dict[str, AppHub],
        delivery: Delivery,
        *,
        grace_seconds: float,
        most_members: int,
    ) -> None:
        self.bus: Bus | None = None
        self._loop = loop
        self._hubs = hubs
        self._delivery = delivery
        self._grace_seconds = grace_seconds
        self._most_members = most_members
        # How many connections of this process each member has; none while it may still come back.
        self._connections: dict[Place, Counter[str]] = {}
        # What each process says: the members there, and what others see of them. "" is this one.
        self._members: dict[Place, dict[str, dict[str, Any]]] = {}
        self._leaving: dict[tuple[Place, str], asyncio.TimerHandle] = {}

    def shown(self, app: str, name: str) -> dict[str, Any]:
        """All members, as the answer to a subscription shows them."""
        everybody = self._everybody((app, name))
        return {"presence": {"count": len(everybody), "ids": list(everybody), "hash": everybody}}

    def ids(self, app: str, name: str) -> list[str]:
        """The ids of all members."""
        return list(self._everybody((app, name)))

    def is_full(self, app: str, name: str, user_id: str) -> bool:
        """Whether there is no room for one more."""
        everybody = self._everybody((app, name))
        return user_id not in everybody and len(everybody) >= self._most_members

    def join(self, connection: Connection, channel: Channel, user_id: str, user_info: Any) -> None:
        """A connection of this process has come as a member. Everybody else is told if the member is new."""
        place = connection.app.id, channel.name
        self._connections.setdefault(place, Counter())[user_id] += 1
        timer = self._leaving.pop((place, user_id), None)
        if timer is not None:
            timer.cancel()
        here = self._members.setdefault(place, {}).setdefault("", {})
        if user_id in here:
            return
        is_new = not self._is_member(place, user_id)
        here[user_id] = user_info
        self._tell("join", *place, user_id, user_info)
        if is_new:
            self._announce_added(place, user_id, user_info, skip=connection)

    def leave(self, app: str, name: str, user_id: str) -> None:
        """A connection of this process has left. If it was the member's last, that counts after a grace."""
        place = app, name
        connections = self._connections.get(place)
        if connections is None:
            return
        connections[user_id] -= 1
        if connections[user_id] > 0:
            return
        del connections[user_id]
        if not connections:
            del self._connections[place]
        if self._grace_seconds:
            self._leaving[place, user_id] = self._loop.call_later(self._grace_seconds, self._left, place, user_id)
        else:
            self._left(place, user_id)

    # --- What other processes tell ---

    def hear_join(self, process: str, app: str, name: str, user_id: str, user_info: Any) -> None:
        place = app, name
        is_new = not self._is_member(place, user_id)
        self._members.setdefault(place, {}).setdefault(process, {})[user_id] = user_info
        if is_new:
            self._announce_added(place, user_id, user_info)

    def hear_leave(self, process: str, app: str, name: str, user_id: str) -> None:
        self._remove((app, name), process, user_id)

    def hear_members(self, process: str, members: list[list[Any]]) -> None:
        """All members of a process: what was known of it before may be old."""
        told = {((app, name), user_id): info for app, name, user_id, info in members}
        for place, user_id in list(self._of(process)):
            if (place, user_id) not in told:
                self._remove(place, process, user_id)
        for (place, user_id), info in told.items():
            self.hear_join(process, *place, user_id, info)

    def hear_gone(self, process: str) -> None:
        """A process is not there any more."""
        for place, user_id in list(self._of(process)):
            self._remove(place, process, user_id)

    def members_here(self) -> list[list[Any]]:
        """The members of this process, to be told."""
        return [
            [*place, user_id, info]
            for place, by_process in self._members.items()
            for user_id, info in by_process.get("", {}).items()
        ]

    # --- Below ---

    def _tell(self, *what: Any) -> None:
        if self.bus is not None:
            self.bus.tell(*what)

    def _everybody(self, place: Place) -> dict[str, Any]:
        everybody: dict[str, Any] = {}
        for members in self._members.get(place, {}).values():
            for user_id, info in members.items():
                everybody.setdefault(user_id, info)
        return everybody

    def _is_member(self, place: Place, user_id: str) -> bool:
        return any(user_id in members for members in self._members.get(place, {}).values())

    def _of(self, process: str) -> Iterator[tuple[Place, str]]:
        for place, by_process in self._members.items():
            for user_id in by_process.get(process, {}):
                yield place, user_id

    def _left(self, place: Place, user_id: str) -> None:
        self._leaving.pop((place, user_id), None)
        self._tell("leave", *place, user_id)
        self._remove(place, "", user_id)

    def _remove(self, place: Place, process: str, user_id: str) -> None:
        by_process = self._members.get(place, {})
        members = by_process.get(process, {})
        if members.pop(user_id, self) is self:
            return
        if not members:
            by_process.pop(process)
        if not by_process:
            self._members.pop(place, None)
        if not self._is_member(place, user_id):
            self._announce(place, "pusher_internal:member_removed", {"user_id": user_id})

    def _announce_added(self, place: Place, user_id: str, user_info: Any, *, skip: Connection | None = None) -> None:
        data = {"user_id": user_id} if user_info is None else {"user_id": user_id, "user_info": user_info}
        self._announce(place, "pusher_internal:member_added", data, skip=skip)

    def _announce(self, place: Place, event: str, data: dict[str, Any], *, skip: Connection | None = None) -> None:
        app, name = place
        channel = self._hubs[app].channels.get(name) if app in self._hubs else None
        if channel is not None:
            self._delivery.send(channel, wire.message(event, name, data), skip=skip)
