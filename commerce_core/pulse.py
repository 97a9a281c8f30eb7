"""What a process does beside its work, again and again: on one thread, with one connection, which is its own.

Rooms say in their `includeme` what it is: `registry.pulse.every(0.5, read_switch)`. Whoever serves starts it: web and
worker processes do, commands and tests do not (`beat` does there what would have been done meanwhile). It survives a
database that is away; what it does must be quick, and may be done by many processes at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog
from pyramid.config import Configurator

from commerce_core.clock import Clock
from commerce_core.database import conninfo
from commerce_core.log import first_line

_log = structlog.get_logger("commerce.pulse")
TICK_SECONDS = 0.25
CONNECT_SECONDS = 2
# How long a database that is away is left alone.
REST_SECONDS = 1.0

Connection = psycopg.Connection[Any]


@dataclass(slots=True)
class _Task:
    seconds: float
    do: Callable[[Connection], None]
    due: float = 0.0


class Pulse:
    """`every` before `start`. Connections commit each statement."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._address = conninfo(url)
        self._clock = clock
        self._tasks: list[_Task] = []
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._connection: Connection | None = None
        self._is_away = False
        self._rests_until = 0.0

    def every(self, seconds: float, do: Callable[[Connection], None]) -> None:
        """Do this every so often, and once more at the end."""
        self._tasks.append(_Task(seconds, do))

    def start(self) -> None:
        """Begin, in this process. The first time all is done before it returns, so that nothing is served before."""
        self.beat()
        self._thread = threading.Thread(target=self._beat_for_ever, name="pulse", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """Do everything now, due or not."""
        self._do(self._tasks)

    def close(self) -> None:
        """End, after doing everything once more if it was begun."""
        if self._thread is not None:
            self._stopped.set()
            self._thread.join()
            self._thread = None
            self.beat()
        self._disconnect()

    def _beat_for_ever(self) -> None:
        while not self._stopped.wait(TICK_SECONDS):
            now = self._clock.monotonic()
            if now >= self._rests_until:
                self._do([task for task in self._tasks if task.due <= now])

    def _do(self, tasks: list[_Task]) -> None:
        now = self._clock.monotonic()
        for task in tasks:
            try:
                task.do(self._connected())
            except psycopg.OperationalError as error:
                self._lost(error)
                return
            except Exception as error:
                _log.error("pulse failed", task=task.do.__qualname__, exc_info=error)
            task.due = now + task.seconds
        if self._is_away and tasks:
            self._is_away = False
            _log.info("pulse: the database is back")

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self._address,
                autocommit=True,
                connect_timeout=CONNECT_SECONDS,
                application_name="commerce-pulse",
                prepare_threshold=None,
            )
        return self._connection

    def _lost(self, error: psycopg.OperationalError) -> None:
        if not self._is_away:
            self._is_away = True
            _log.warning("pulse: the database is away", error=first_line(error))
        self._rests_until = self._clock.monotonic() + REST_SECONDS
        self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def includeme(config: Configurator) -> None:
    config.registry.pulse = Pulse(config.registry.database_url, config.registry.clock)
