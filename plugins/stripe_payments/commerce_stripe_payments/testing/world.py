"""The account that the fake keeps: all of its objects in memory, its time, and what has happened.

Everything that reads or changes them holds `lock`.
"""

from __future__ import annotations

import copy
import itertools
import secrets
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from commerce_stripe_payments.settings import API_VERSION
from commerce_stripe_payments.testing.failures import Thing, missing

if TYPE_CHECKING:
    from commerce_stripe_payments.testing.outbox import Outbox

ACCOUNT = "acct_1FakeStripe"
Listener = Callable[[Thing], None]


def _system_time() -> datetime:
    return datetime.now(UTC)


class World:
    """`now` tells the time; `set_time_on` adds to it. `api_version` is the account's own, that of its events."""

    def __init__(
        self,
        *,
        now: Callable[[], datetime] = _system_time,
        api_version: str = API_VERSION,
        livemode: bool = False,
        account: str = ACCOUNT,
    ) -> None:
        self.lock = threading.RLock()
        self.api_version = api_version
        self.livemode = livemode
        self.account = account
        # Where it is served.
        self.url = ""
        self.objects: dict[str, Thing] = {}
        self.events: list[Thing] = []
        self.listeners: list[Listener] = []
        self.outbox: Outbox | None = None
        # Whose call it is that makes things happen; the key is in the events.
        self.request: Thing = {"id": None, "idempotency_key": None}
        self._now = now
        self._ahead = timedelta()
        # The time of a test clock, while things happen that go by it.
        self._clock_time: int | None = None
        # Ids of another run are others, for shops that remember them.
        self._run = secrets.token_hex(5)
        self._numbers = itertools.count(1)

    @property
    def now(self) -> int:
        """Seconds since 1970."""
        if self._clock_time is not None:
            return self._clock_time
        return int((self._now() + self._ahead).timestamp())

    def set_time_on(self, delta: timedelta) -> None:
        """Let time pass for everything that has no test clock of its own."""
        self._ahead += delta

    def at(self, seconds: int | None) -> _At:
        """`with world.at(clock["frozen_time"])`: what happens in it happens then. None: now."""
        return _At(self, seconds)

    def new_id(self, prefix: str) -> str:
        return f"{prefix}_1Fake{self._run}{next(self._numbers):09d}"

    def add(self, prefix: str, kind: str, **fields: Any) -> Thing:
        """A new object, with what all of them have."""
        made: Thing = {
            "id": self.new_id(prefix),
            "object": kind,
            "created": self.now,
            "livemode": self.livemode,
            "metadata": {},
            **fields,
        }
        self.objects[made["id"]] = made
        return made

    def find(self, kind: str, id: Any, *, param: str = "id") -> Thing:
        """The object, or the Failure that it is not there. `param` is the parameter that names it."""
        found = self.objects.get(id) if isinstance(id, str) else None
        if found is None or found["object"] != kind:
            raise missing(kind, str(id), param=param)
        return found

    def every(self, kind: str) -> Iterator[Thing]:
        """All of a kind, oldest first."""
        return (found for found in list(self.objects.values()) if found["object"] == kind)

    def emit(self, type: str, thing: Thing, *, previous: Thing | None = None, **fields: Any) -> Thing:
        """Let something have happened to an object, which the event shows as it is now."""
        data: Thing = {"object": copy.deepcopy(thing)}
        if previous is not None:
            data["previous_attributes"] = copy.deepcopy(previous)
        event: Thing = {
            "id": self.new_id("evt"),
            "object": "event",
            "api_version": self.api_version,
            "created": self.now,
            "data": data,
            "livemode": self.livemode,
            "pending_webhooks": 0,
            "request": dict(self.request),
            "type": type,
            **fields,
        }
        self.events.append(event)
        for listener in self.listeners:
            listener(event)
        return event

    def change(self, thing: Thing, type: str | None = None, **changes: Any) -> Thing:
        """Change fields of an object, and tell it with what they were before, if anything has changed."""
        previous = {key: thing.get(key) for key, value in changes.items() if thing.get(key) != value}
        thing.update(changes)
        if type is not None and previous:
            shown = {key: value for key, value in previous.items() if not key.startswith("_")}
            self.emit(type, thing, previous=shown)
        return thing


class _At:
    def __init__(self, world: World, seconds: int | None) -> None:
        self._world = world
        self._seconds = seconds
        self._before: int | None = None

    def __enter__(self) -> None:
        self._before = self._world._clock_time
        if self._seconds is not None:
            self._world._clock_time = self._seconds

    def __exit__(self, *_: object) -> None:
        self._world._clock_time = self._before
