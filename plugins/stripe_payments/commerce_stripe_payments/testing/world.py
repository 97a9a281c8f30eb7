"""The account that the fake keeps: all of its objects in memory, its time, and what has happened.

Everything that reads or changes them holds `lock`.
"""

from __future__ import annotations

import copy
import itertools
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

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
        # Days from one try to collect a renewal to the next, and the status that a subscription ends with.
        self.dunning_days: tuple[int, ...] = (3, 5, 7)
        self.after_dunning: Literal["canceled", "unpaid", "past_due"] = "canceled"
        self.objects: dict[str, Thing] = {}
        self._kinds: dict[str, dict[str, Thing]] = {}
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

    def at_clock_of(self, thing: Thing) -> _At:
        """`with world.at_clock_of(customer)`: what happens in it happens at the time of their test clock, if any."""
        clock = thing.get("test_clock")
        return _At(self, None if clock is None else self.objects[clock]["frozen_time"])

    @contextmanager
    def trying(self) -> Iterator[None]:
        """What is made and told in it has never been. (What is changed, has.)"""
        kept = dict(self.objects), {kind: dict(things) for kind, things in self._kinds.items()}, self.listeners
        told = len(self.events)
        self.listeners = []
        try:
            yield
        finally:
            self.objects, self._kinds, self.listeners = kept
            del self.events[told:]

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
        return self.put(made)

    def put(self, thing: Thing) -> Thing:
        """Keep an object under its id."""
        self.objects[thing["id"]] = self._kinds.setdefault(thing["object"], {})[thing["id"]] = thing
        return thing

    def remove(self, thing: Thing) -> None:
        """Forget an object."""
        del self.objects[thing["id"]], self._kinds[thing["object"]][thing["id"]]

    def find(self, kind: str, id: Any, *, param: str = "id") -> Thing:
        """The object, or the Failure that it is not there. `param` is the parameter that names it."""
        found = self.objects.get(id) if isinstance(id, str) else None
        if found is None or found["object"] != kind:
            raise missing(kind, str(id), param=param)
        return found

    def every(self, kind: str) -> Iterator[Thing]:
        """All of a kind, oldest first."""
        return iter(list(self._kinds.get(kind, {}).values()))

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
