"""Structured logs: one JSON object per line on standard output (or readable lines for a terminal).

The loggers: `commerce.request` (one line per request), `commerce.stock`, `commerce.order`, `commerce.payment` (what
happened, with ids, after it was committed), `commerce.error`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import orjson
import structlog
from sqlalchemy.exc import OperationalError

from commerce_core.settings import LogSettings


def configure_logging(settings: LogSettings) -> None:
    """Set up structlog and the standard library's logging alike. Called once per process."""
    level = getattr(logging, settings.level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.format == "json":
        structlog.configure(
            processors=[
                *shared,
                structlog.processors.format_exc_info,
                structlog.processors.EventRenamer("message", replace_by="event"),
                structlog.processors.JSONRenderer(serializer=orjson.dumps, default=str),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
            cache_logger_on_first_use=True,
        )
    else:
        structlog.configure(
            processors=[
                *shared,
                structlog.dev.ConsoleRenderer(
                    colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
                ),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.PrintLoggerFactory(sys.stdout),
            cache_logger_on_first_use=True,
        )
    root = logging.getLogger()
    root.handlers = [_StructlogHandler()]
    root.setLevel(max(level, logging.INFO))
    # SQLAlchemy's pools log under the name of their class, of which one is ours.
    for noisy in ("alembic", "txn", "huey", "commerce_core.metrics.pools"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its class where it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


@contextmanager
def each_by_itself(kind: str, name: object) -> Iterator[None]:
    """One of many things to do: if it fails, that is logged, and the others are done all the same."""
    try:
        yield
    except OperationalError:
        raise  # the database is away: the others would fail, too
    except Exception as error:
        structlog.get_logger("commerce.scheduler").error("failed", kind=kind, id=str(name), exc_info=error)


class _StructlogHandler(logging.Handler):
    """Sends what libraries log through the standard library down the same road."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            structlog.get_logger().log(
                record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info or None
            )
        except Exception:
            self.handleError(record)
