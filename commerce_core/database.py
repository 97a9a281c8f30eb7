"""The database: engine, the session of a request, the base of all tables, and their column types.

Read this before changing the wiring: a session registered without `initial_state="changed"` silently loses every
statement that is not an ORM flush; a failure at COMMIT is retried only because errors are tagged at the engine; and a
session used outside its transaction gives its connection back only because it is closed when the request is finished.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import orjson
import zope.sqlalchemy
from psycopg.conninfo import make_conninfo
from pyramid.config import Configurator
from pyramid_retry import mark_error_retryable
from sqlalchemy import BigInteger, CheckConstraint, Engine, MetaData, String, create_engine, event
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column

from commerce_core.metrics.pools import WatchedPool
from commerce_core.settings import DatabaseSettings

# A serialization failure and a deadlock: the request may simply be tried again.
RETRYABLE_SQLSTATES = frozenset({"40001", "40P01"})


def user_of(owner: str | None) -> UUID | None:
    """The user's id, of an owner such as `user:<id>`; None for guests, and for nobody."""
    kind, _, user_id = (owner or "").partition(":")
    return UUID(user_id) if kind == "user" else None


def uuid7() -> UUID:
    """A new UUIDv7 (RFC 9562): ordered by time, with 74 random bits, never the same twice."""
    stamp = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    return UUID(int=stamp << 80 | 0x7 << 76 | (random >> 68) << 64 | 0x2 << 62 | random & (1 << 62) - 1)


Id = Annotated[UUID, mapped_column(PG_UUID(as_uuid=True), primary_key=True, default=uuid7)]
MinorUnits = Annotated[int, mapped_column(BigInteger)]
Currency = Annotated[str, mapped_column(String(3))]
Json = Annotated[dict[str, Any], mapped_column(JSONB)]


class Base(DeclarativeBase):
    """Base of every table. Constraint names are fixed, so that migrations and error texts are stable."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy's own attribute)
        UUID: PG_UUID(as_uuid=True),
        datetime: TIMESTAMP(timezone=True),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
    }


def one_of(column: str, *values: str) -> CheckConstraint:
    """A CHECK that `column` holds one of `values`, named after the column."""
    allowed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({allowed})", name=column)


def connection_options(settings: DatabaseSettings) -> str:
    """libpq `options` that set the time-outs of every connection."""
    return (
        f"-c statement_timeout={settings.statement_timeout_ms} -c lock_timeout={settings.lock_timeout_ms}"
        f" -c idle_in_transaction_session_timeout={settings.idle_in_transaction_timeout_ms} -c timezone=UTC"
    )


def make_engine(url: str, settings: DatabaseSettings, *, pooled: bool = False) -> Engine:
    """An engine with our time-outs whose retryable errors are tagged for pyramid_retry.

    `pooled`: `url` is a pooler that lends a connection for a transaction. Nothing is prepared on it then, and the
    time-outs are the pooler's to set.
    """
    session: dict[str, Any] = {"prepare_threshold": None} if pooled else {"options": connection_options(settings)}
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        poolclass=WatchedPool,
        pool_size=settings.pool_size,
        max_overflow=settings.max_overflow,
        pool_timeout=settings.pool_timeout_seconds,
        pool_use_lifo=True,
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
        connect_args={
            "connect_timeout": settings.connect_timeout_seconds,
            "application_name": "commerce",
            **session,
        },
    )
    event.listen(engine, "handle_error", _tag_retryable)
    return engine


def conninfo(url: str) -> str:
    """The address as libpq has it, for a connection of one's own: its URLs know no "+" for a space."""
    named = make_url(url)
    parts: dict[str, Any] = {"host": named.host, "port": named.port, "user": named.username, "password": named.password}
    given = {key: part for key, part in parts.items() if part}
    return make_conninfo("", dbname=named.database, **given, **dict[str, Any](named.query))


def _tag_retryable(context: ExceptionContext) -> None:
    if context.sqlalchemy_exception is not None:
        sqlstate = getattr(context.original_exception, "sqlstate", None)
        if sqlstate in RETRYABLE_SQLSTATES:
            mark_error_retryable(context.sqlalchemy_exception)


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """A session for commands and background work: commits at the end of the block, rolls back on an exception."""
    with Session(engine) as session, session.begin():
        yield session


def _request_session(request: Any) -> Session:
    """The session of this request; joins the request's transaction and is committed by it."""
    session = Session(bind=request.registry.replicas.engine_for(request), expire_on_commit=False)
    session.info.update(request_id=request.id, bus=request.registry.bus, request=weakref.ref(request))
    zope.sqlalchemy.register(session, transaction_manager=request.tm, initial_state="changed")
    request.add_finished_callback(lambda _: session.close())
    return session


def _wants_transaction(request: Any) -> bool:
    """Every request but those that a room has registered as seeing to their own commit."""
    return (request.method, request.environ["PATH_INFO"]) not in request.registry.autocommit_requests


def add_autocommit_request(config: Configurator, method: str, path: str) -> None:
    """Directive: requests of exactly this method and path see to their own commits, with `transaction(engine)`.

    They have no transaction, must not use `request.db`, and are not tried again after a conflict in the database.
    """
    config.registry.autocommit_requests.add((method, path))


def includeme(config: Configurator) -> None:
    config.registry.autocommit_requests = set()
    config.add_directive("add_autocommit_request", add_autocommit_request)
    config.add_settings(
        {
            "tm.manager_hook": "pyramid_tm.explicit_manager",
            "tm.activate_hook": _wants_transaction,
            "tm.annotate_user": False,
        }
    )
    config.include("pyramid_tm")
    config.include("pyramid_retry")
    config.add_request_method(_request_session, "db", reify=True)
