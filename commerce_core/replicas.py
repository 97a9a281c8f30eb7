"""Replicas of the database, for reading what may be a moment old: the catalogue, as visitors see it.

Stock is never taken from one, nor is anything read there for somebody who has said who they are. What is built from a
replica is kept, here and elsewhere, for no longer than a replica may lag. One that lags more, or cannot be asked, is
left alone until it has caught up; a request that meets one going away is tried again, on the primary.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import structlog
from pyramid.config import Configurator
from pyramid_retry import mark_error_retryable
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import OperationalError

from commerce_core.database import conninfo, make_engine
from commerce_core.settings import DatabaseSettings

_LOOK_SECONDS = 0.5
# How far back it is remembered where the primary was. Who lags more is too far behind for anybody.
_REMEMBERED = 600
_PRIMARY_AT = "SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint"
_REPLICA_AT = "SELECT (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint"
_log = structlog.get_logger("commerce.replicas")


class Replica:
    """One of them, with connections of its own, looked at by a thread of its own."""

    def __init__(self, url: str, primary_url: str, settings: DatabaseSettings) -> None:
        self.engine = make_engine(url, settings)
        event.listen(self.engine, "handle_error", self._lost)
        self.name = self.engine.url.render_as_string(hide_password=True)
        self._addresses = [conninfo(primary_url), conninfo(url)]
        self._allowed = settings.replica_lag_seconds
        # The monotonic time whose state of the primary it is known to have reached.
        self._current_at: float | None = None
        self._was_fit: bool | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="commerce-replica", daemon=True)
        self._thread.start()

    @property
    def is_fit(self) -> bool:
        current_at = self._current_at
        return current_at is not None and time.monotonic() - current_at <= self._allowed

    def _lost(self, context: ExceptionContext) -> None:
        """It is not there, or has had to give up: nobody is sent there, and this request is tried again."""
        if isinstance(context.sqlalchemy_exception, OperationalError):
            self._current_at = None
            mark_error_retryable(context.sqlalchemy_exception)

    def _watch(self) -> None:
        connections: list[psycopg.Connection[Any]] = []
        history: deque[tuple[float, int]] = deque(maxlen=_REMEMBERED)
        while not self._stopping.wait(_LOOK_SECONDS if self._was_fit is not None else 0):
            try:
                while len(connections) < len(self._addresses):
                    connections.append(_connect(self._addresses[len(connections)]))
                primary, replica = connections
                self._current_at = _reached(primary, replica, history) or self._current_at
            except psycopg.Error as error:
                self._current_at = None
                reason = str(error).strip().partition("\n")[0]
                while connections:
                    connections.pop().close()
            else:
                reason = "it lags"
            if self.is_fit != self._was_fit:
                self._was_fit = self.is_fit
                if self._was_fit:
                    _log.info("replica is used", replica=self.name)
                else:
                    _log.warning("replica is left alone", replica=self.name, reason=reason)
        for connection in connections:
            connection.close()

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()
        self.engine.dispose()


def _connect(address: str) -> psycopg.Connection[Any]:
    options = "-c statement_timeout=1000"
    return psycopg.connect(
        address, autocommit=True, connect_timeout=2, options=options, application_name="commerce-replicas"
    )


def _reached(
    primary: psycopg.Connection[Any], replica: psycopg.Connection[Any], history: deque[tuple[float, int]]
) -> float | None:
    """The latest moment whose state of the primary the replica has reached; None if that was too long ago."""
    now = time.monotonic()
    [(written,)] = primary.execute(_PRIMARY_AT)
    history.append((now, written))
    [(replayed,)] = replica.execute(_REPLICA_AT)
    if replayed is None:
        raise psycopg.OperationalError("it is no replica")
    return next((moment for moment, position in reversed(history) if position <= replayed), None)


class Replicas:
    """Those of a shop; none is looked at before one is wanted."""

    def __init__(self, urls: tuple[str, ...], primary_url: str, settings: DatabaseSettings) -> None:
        self._make: Callable[[], list[Replica]] = lambda: [Replica(url, primary_url, settings) for url in urls]
        self._lock = threading.Lock()
        self._replicas: list[Replica] | None = None if urls else []
        self._lag = timedelta(seconds=settings.replica_lag_seconds)

    def engine_for(self, request: Any) -> Engine:
        """Where this request reads. What it answers is right for a moment only, if that is not the primary."""
        replica = self._choose() if request.may_be_late else None
        if replica is None:
            primary: Engine = request.registry.engine
            return primary
        late = request.now + self._lag
        request.right_until = late if request.right_until is None else min(request.right_until, late)
        return replica

    def _choose(self) -> Engine | None:
        """One that is fit, or None: then the primary has to do. Asks nobody."""
        if self._replicas is None:
            with self._lock:
                if self._replicas is None:
                    self._replicas = self._make()
        fit = [replica for replica in self._replicas if replica.is_fit]
        return random.choice(fit).engine if fit else None

    def close(self) -> None:
        for replica in self._replicas or []:
            replica.close()


def includeme(config: Configurator) -> None:
    registry = config.registry
    settings = registry.settings_object.sqlalchemy
    registry.replicas = Replicas(settings.replica_urls, registry.database_url, settings)
    config.add_request_method(lambda request: False, "may_be_late", reify=True)
