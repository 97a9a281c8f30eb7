"""SQL statements in figures: how many, how long they took; the slow ones, and those that one request repeats, by name.

Statements are logged as they were written, with placeholders: what was bound to them is nobody's business.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import psycopg
import structlog
from pyramid.config import Configurator
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from commerce_core.metrics import Metrics
from commerce_core.tracing import note_statement

_log = structlog.get_logger("commerce.database")
LONGEST_STATEMENT = 2_000
_STARTED = "_commerce_started"
# What the request that this thread works for has asked the database, where somebody wants to know.
_asked: ContextVar[Counter[str] | None] = ContextVar("asked", default=None)


class Statements:
    """The statements of an application. `slow_ms`: from when on one is logged; 0: none is."""

    def __init__(self, metrics: Metrics, slow_ms: int = 0) -> None:
        self._seconds = metrics.histogram(
            "commerce_database_statement_seconds",
            "Time that a SQL statement took, also one that failed.",
            ("pool",),
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
        )
        self._slow = slow_ms / 1000

    def observer(self, pool: str) -> Callable[[str, float], None]:
        """What is to be told of every statement of a pool, and of the seconds it took."""
        observe: Callable[[float], None] = self._seconds.labels(pool).observe
        slow = self._slow

        def told(statement: str, seconds: float) -> None:
            observe(seconds)
            note_statement(pool, statement, seconds)
            if slow and seconds >= slow:
                _log.warning(
                    "slow statement",
                    pool=pool,
                    duration_ms=round(seconds * 1000, 2),
                    statement=shortened(statement),
                )

        return told

    def watch(self, engine: Engine, pool: str) -> None:
        """Tell of what is sent through `engine`."""
        tell = self.observer(pool)

        def begins(_connection: Any, _cursor: Any, statement: str, _parameters: Any, context: Any, _many: bool) -> None:
            asked = _asked.get()
            if asked is not None:
                asked[statement] += 1
            setattr(context, _STARTED, time.perf_counter())

        def is_over(_c: Any, _cursor: Any, statement: str, _parameters: Any, context: Any, _many: bool) -> None:
            tell(statement, time.perf_counter() - getattr(context, _STARTED))

        def failed(error: ExceptionContext) -> None:
            started = getattr(error.execution_context, _STARTED, None)
            if started is not None and error.statement is not None:
                tell(error.statement, time.perf_counter() - started)

        event.listen(engine, "before_cursor_execute", begins)
        event.listen(engine, "after_cursor_execute", is_over)
        event.listen(engine, "handle_error", failed)


class TimedCursor(psycopg.Cursor[Any]):
    """A cursor that tells how long each of its statements took, for what goes past SQLAlchemy."""

    tell: Callable[[str, float], None] | None = None

    def execute(self, query: Any, *arguments: Any, **options: Any) -> TimedCursor:
        started = time.perf_counter()
        try:
            return super().execute(query, *arguments, **options)
        finally:
            if self.tell is not None:
                self.tell(query, time.perf_counter() - started)


@contextmanager
def counting_statements() -> Iterator[Counter[str]]:
    """Count, by its text, every statement that this thread sends through a watched engine."""
    counter: Counter[str] = Counter()
    token = _asked.set(counter)
    try:
        yield counter
    finally:
        _asked.reset(token)


def shortened(statement: str) -> str:
    """A statement in one line, as far as anybody reads."""
    return " ".join(statement.split())[:LONGEST_STATEMENT]


def includeme(config: Configurator) -> None:
    registry = config.registry
    registry.statements = Statements(registry.metrics, registry.settings_object.log.slow_statement_ms)
    registry.statements.watch(registry.engine, "requests")
