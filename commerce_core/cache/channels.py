"""How the processes of a shop talk about what has changed: through Redis where there is one, else through PostgreSQL.

A message is one line: the name of the process that sends it, and tags. Both channels deliver in order while the
connection lives, tell nothing of what is missed while it does not, and know which processes are there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import psycopg
import redis
import sqlalchemy.exc

from commerce_core.cache.entry import EVERYTHING
from commerce_core.cache.shared import CHANNEL, PREFIX, SharedTier

ERRORS = (psycopg.Error, redis.RedisError, OSError, sqlalchemy.exc.SQLAlchemyError)
_NOTIFICATIONS = "commerce_cache"
# PostgreSQL takes less than 8,000 bytes in a notification.
_LONGEST_MESSAGE = 7_900
_ALIVE = PREFIX + "alive:"
_APPLICATION = "commerce-cache "


class Channel(Protocol):
    """An open connection to the other processes. Any call may raise one of ERRORS, and it is of no use then."""

    def send(self, tags: Iterable[str]) -> None: ...

    def receive(self, seconds: float) -> Sequence[str]:
        """The messages that have come; waits for the first one for at most so long."""
        ...

    def peers(self) -> set[str]:
        """The processes that are there now. A round trip: what was sent before it has arrived when it returns."""
        ...

    def drop_after(self, occasion: str) -> None:
        """Have the shared tier dropped, if there is one: on this occasion changes may have gone untold."""
        ...

    def close(self) -> None: ...


class PostgresChannel:
    """LISTEN and NOTIFY, on a connection of its own."""

    def __init__(self, url: str, name: str, connect_timeout: int) -> None:
        self._name = name
        self._connection = psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=connect_timeout,
            application_name=_APPLICATION + name,
            options="-c statement_timeout=2000",
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=5_000,
        )
        self._connection.execute(f"LISTEN {_NOTIFICATIONS}")

    def send(self, tags: Iterable[str]) -> None:
        for message in messages(self._name, tags):
            self._connection.execute("SELECT pg_notify(%s, %s)", (_NOTIFICATIONS, message))

    def receive(self, seconds: float) -> Sequence[str]:
        return [notify.payload for notify in self._connection.notifies(timeout=seconds, stop_after=1)]

    def peers(self) -> set[str]:
        rows = self._connection.execute(
            "SELECT application_name, %s IN (SELECT pg_listening_channels()) FROM pg_stat_activity"
            " WHERE datname = current_database() AND starts_with(application_name, %s)",
            (_NOTIFICATIONS, _APPLICATION),
        ).fetchall()
        names = {name.removeprefix(_APPLICATION) for name, is_listening in rows if is_listening}
        if self._name not in names:
            raise psycopg.OperationalError("LISTEN does not last on this connection; is there a pooler in between?")
        return names

    def drop_after(self, occasion: str) -> None:
        pass

    def close(self) -> None:
        self._connection.close()


class RedisChannel:
    """PUBLISH and SUBSCRIBE; what is told is dropped from the shared tier by the same script."""

    def __init__(self, client: redis.Redis, shared: SharedTier, name: str) -> None:
        self._client = client
        self._shared = shared
        self._name = name
        self._waiting: list[str] = []
        self._pubsub: Any = client.pubsub()  # type: ignore[no-untyped-call]
        # Being subscribed to a channel of its own is how a process shows that it is there.
        self._pubsub.subscribe(CHANNEL, _ALIVE + name)
        self._read_until("subscribe")

    def send(self, tags: Iterable[str]) -> None:
        chosen = sorted(tags)
        self._shared.drop(chosen, " ".join([self._name, *chosen]))

    def receive(self, seconds: float) -> Sequence[str]:
        while self._read(0.0 if self._waiting else seconds) is not None:
            pass
        received, self._waiting = self._waiting, []
        return received

    def peers(self) -> set[str]:
        self._pubsub.ping()
        self._read_until("pong")
        names: Any = self._client.pubsub_channels(_ALIVE + "*")
        return {name.decode().removeprefix(_ALIVE) for name in names}

    def drop_after(self, occasion: str) -> None:
        self._shared.drop_everything_once(occasion, f"{self._name} {EVERYTHING}", seconds=5)

    def close(self) -> None:
        with contextlib.suppress(redis.RedisError, OSError):
            self._pubsub.close()

    def _read_until(self, kind: str) -> None:
        found: str | None = ""
        while found != kind:
            found = self._read(1.0)
            if found is None:
                raise redis.TimeoutError("no answer")

    def _read(self, seconds: float) -> str | None:
        """Take in one message; its kind, or None if none came."""
        message = self._pubsub.get_message(timeout=seconds)
        if message is None:
            return None
        if message["type"] == "message" and message["channel"].decode() == CHANNEL:
            self._waiting.append(message["data"].decode())
        return str(message["type"])


def messages(name: str, tags: Iterable[str]) -> list[str]:
    """`tags` as messages that are short enough."""
    lines = [name]
    for tag in sorted(tags):
        if len(lines[-1]) + len(tag) >= _LONGEST_MESSAGE:
            lines.append(name)
        lines[-1] += f" {tag}"
    return lines
