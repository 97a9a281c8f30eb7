"""Keeping the index as the database is: changes, comparison, building anew.

One process writes into the live index at a time, holding `WRITER`; one builds a new one beside it, holding `BUILDER`,
and takes the other lock only to catch up with what has changed meanwhile and to put it in place. Both are advisory
locks of the database, so a process that is killed holds them no longer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Engine, delete, func, insert, select, text, update
from sqlalchemy.orm import Session

from commerce_core.database import transaction
from commerce_search.changes import note_everything
from commerce_search.documents import (
    FIRST_ID,
    Categories,
    count_products,
    ids_in_groups,
    next_ids,
    visible_among,
)
from commerce_search.engine import SearchEngine
from commerce_search.interface import Build, IndexCorrupt
from commerce_search.models import SearchBuild, SearchChange

_log = structlog.get_logger("commerce.search")
AT_A_TIME = 1_000
PORTION = 2_000
# How many products are added before what was added is safe, by backend: a commit of Whoosh's is a segment.
COMMIT_EVERY = {"whoosh": 10_000, "postgresql": 10_000}
_COMMIT_EVERY = 50_000
_LOCK_WRITER = text("SELECT pg_advisory_xact_lock(hashtext('commerce.search.writer'))")
_LOCK_BUILDER = text("SELECT pg_try_advisory_xact_lock(hashtext('commerce.search.builder'))")
_BE_PATIENT = text("SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0")
_ARE_WAITING = text("SELECT EXISTS (SELECT FROM search_change WHERE applied_at IS NULL)")

Progress = Callable[[int, int], object]
"""Told how many products are done, and of how many."""


class BuildUnderWay(Exception):
    """Another process is building an index."""


def no_progress(_done: int, _total: int) -> None:
    """For those who do not watch."""


# --- Changes ---


@dataclass(slots=True)
class Applied:
    """What became of waiting changes. `is_everything`: the index has to be compared with the database as a whole."""

    changes: int = 0
    is_everything: bool = False


def changes_are_waiting(session: Session, _now: datetime) -> bool:
    """Whether there is something to index: one look into a small index."""
    waiting: bool = session.scalar(_ARE_WAITING)
    return waiting


def apply_changes(search: SearchEngine, session: Session) -> Applied:
    """Put waiting changes into the live index, at most AT_A_TIME. Waits for whoever else writes; holds the lock until
    the transaction ends. Raises BackendError."""
    _lock_writer(session)
    rows = session.execute(
        select(SearchChange.id, SearchChange.product_id, SearchChange.category_id, SearchChange.brand_id)
        .where(SearchChange.applied_at.is_(None))
        .order_by(SearchChange.id)
        .limit(AT_A_TIME)
    ).all()
    if not rows:
        return Applied()
    ids, is_everything = _products_of(session, rows)
    if len(ids) > 20 * AT_A_TIME:
        ids, is_everything = [], True
    _write(search, session, ids)
    session.execute(
        update(SearchChange)
        .where(SearchChange.id.in_([row.id for row in rows]))
        .values(applied_at=func.clock_timestamp())
    )
    return Applied(len(rows), is_everything)


def set_aside(session: Session) -> None:
    """Changes need not be applied any more: an index will be built of what the database says now."""
    session.execute(
        update(SearchChange).where(SearchChange.applied_at.is_(None)).values(applied_at=func.clock_timestamp())
    )


def forget_applied(session: Session) -> int:
    """Delete changes that are applied, but for those that a build has to catch up with; how many."""
    started = select(func.min(SearchBuild.started_at)).where(SearchBuild.state == "building").scalar_subquery()
    done = session.execute(
        delete(SearchChange).where(
            SearchChange.applied_at.is_not(None),
            SearchChange.applied_at < func.coalesce(started, text("'infinity'")),
        )
    )
    return int(done.rowcount)  # type: ignore[attr-defined]


def _products_of(session: Session, rows: Sequence[Any]) -> tuple[list[UUID], bool]:
    """The products that changes are about; and whether one is about everything."""
    ids = {row.product_id for row in rows if row.product_id is not None}
    categories = {row.category_id for row in rows if row.category_id is not None}
    brands = {row.brand_id for row in rows if row.brand_id is not None}
    if categories or brands:
        ids.update(ids_in_groups(session, sorted(categories), sorted(brands)))
    everything = any(row.product_id is row.category_id is row.brand_id is None for row in rows)
    return sorted(ids), everything


def _write(search: SearchEngine, session: Session, ids: Sequence[UUID]) -> None:
    """Bring these products up to date in the live index. The writer's lock must be held."""
    for start in range(0, len(ids), AT_A_TIME):
        portion = ids[start : start + AT_A_TIME]
        documents = search.maker.read(session, portion)
        there = {document.id for document in documents}
        search.backend.apply(documents, [id_ for id_ in portion if id_ not in there], session)


def _lock_writer(session: Session) -> None:
    """Wait for whoever else writes, however long it takes; nobody else writes until the transaction ends."""
    session.execute(text("SET LOCAL statement_timeout = 0"))
    session.execute(text("SET LOCAL lock_timeout = 0"))
    session.execute(_LOCK_WRITER)


# --- Comparison ---


@dataclass(slots=True)
class Differences:
    """What of the index is not as the database says: products that it lacks, has otherwise, or should not have."""

    missing: list[UUID] = field(default_factory=list)
    outdated: list[UUID] = field(default_factory=list)
    surplus: list[UUID] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.missing) + len(self.outdated) + len(self.surplus)


def check(search: SearchEngine, engine: Engine, *, mend: bool = True, progress: Progress = no_progress) -> Differences:
    """Compare the index with the database, portion by portion, and mend it unless told otherwise.

    What differs because it has just changed is counted, too. Raises BackendError.
    """
    found = Differences()
    with transaction(engine) as session:
        total, categories = count_products(session), Categories(session)
    after, done = FIRST_ID, 0
    while True:
        with transaction(engine) as session:
            ids = next_ids(session, after, PORTION)
            documents = search.maker.read(session, ids, categories)
            with search.reading(session) as reader:
                entries = reader.entries([document.id for document in documents])
        if not ids:
            break
        missing = [document.id for document in documents if document.id not in entries]
        outdated = [
            document.id
            for document in documents
            if document.id in entries and entries[document.id].fingerprint != document.fingerprint
        ]
        found.missing += missing
        found.outdated += outdated
        if mend:
            _mend(search, engine, [*missing, *outdated])
        after, done = ids[-1], done + len(ids)
        progress(done, total)
    with transaction(engine) as session, search.reading(session) as reader:
        indexed = list(reader.scan())
    for start in range(0, len(indexed), PORTION):
        portion = indexed[start : start + PORTION]
        with transaction(engine) as session:
            visible = visible_among(session, portion)
        surplus = [id_ for id_ in portion if id_ not in visible]
        found.surplus += surplus
        if mend:
            _mend(search, engine, surplus)
    return found


def _mend(search: SearchEngine, engine: Engine, ids: Sequence[UUID]) -> None:
    if ids:
        with transaction(engine) as session:
            _lock_writer(session)
            _write(search, session, ids)


# --- Building ---


def rebuild(search: SearchEngine, engine: Engine, *, fresh: bool = False, progress: Progress = no_progress) -> int:
    """Build an index beside the live one, and put it in its place; how many products it has.

    Goes on where an interrupted build has stopped, unless `fresh`. Commits as it goes. Raises BuildUnderWay and
    BackendError.
    """
    with _only_builder(engine):
        name, cursor, done, build = _begin(search, engine, fresh=fresh)
        try:
            # What was added after the last commit was noted may be in it all the same.
            again_until = done + _commit_every(search) if build.is_resumed else 0
            with transaction(engine) as session:
                total, categories = count_products(session), Categories(session)
            uncommitted = 0
            while True:
                with transaction(engine) as session:
                    session.execute(_BE_PATIENT)
                    ids = next_ids(session, cursor, PORTION)
                    documents = search.maker.read(session, ids, categories)
                if not ids:
                    break
                build.add(documents, again=done < again_until)
                cursor, done, uncommitted = ids[-1], done + len(ids), uncommitted + len(ids)
                if uncommitted >= _commit_every(search):
                    build.commit()
                    _note_progress(engine, name, cursor, done, total)
                    uncommitted = 0
                progress(done, max(total, done))
            _publish(search, engine, build, name, done)
        finally:
            build.close()
        with transaction(engine) as session:
            forget_applied(session)
        search.backend.tidy(None)
    return done


def building(session: Session, code: str) -> str | None:
    """The name of the build that is under way, or was interrupted."""
    return session.scalar(select(SearchBuild.name).where(SearchBuild.backend == code, SearchBuild.state == "building"))


def _begin(search: SearchEngine, engine: Engine, *, fresh: bool) -> tuple[str, UUID, int, Build]:
    """The build to go on with: its name, the last product in it, how many are, and itself."""
    with transaction(engine) as session:
        row = session.scalar(
            select(SearchBuild).where(SearchBuild.backend == search.code, SearchBuild.state == "building")
        )
        if row is not None and search.backend.live() == row.name:
            row.state = "published"  # killed between the one and the other
            row = None
        interrupted = None if row is None else (row.name, row.cursor, row.done)
    if interrupted is not None and not fresh:
        name, cursor, done = interrupted
        try:
            build = search.backend.build(name)
        except IndexCorrupt as error:
            _log.warning("an interrupted build is broken; another one is begun", name=name, error=str(error))
        else:
            if build.is_resumed:
                return name, cursor, done, build
            build.close()
    if interrupted is not None:
        search.backend.abandon(interrupted[0])
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.urandom(2).hex()}"
    with transaction(engine) as session:
        session.execute(
            update(SearchBuild)
            .where(SearchBuild.backend == search.code, SearchBuild.state == "building")
            .values(state="abandoned", finished_at=func.clock_timestamp())
        )
        session.execute(insert(SearchBuild).values(name=name, backend=search.code, cursor=FIRST_ID))
    return name, FIRST_ID, 0, search.backend.build(name)


def _note_progress(engine: Engine, name: str, cursor: UUID, done: int, total: int) -> None:
    with transaction(engine) as session:
        session.execute(
            update(SearchBuild).where(SearchBuild.name == name).values(cursor=cursor, done=done, total=total)
        )


def _publish(search: SearchEngine, engine: Engine, build: Build, name: str, done: int) -> None:
    """Catch up with everything that has changed since the build began, and put it in place. Nobody writes meanwhile."""
    with transaction(engine) as session:
        session.execute(_BE_PATIENT)  # the engine may take minutes to put a large index in place
        _lock_writer(session)
        started = select(SearchBuild.started_at).where(SearchBuild.name == name).scalar_subquery()
        rows = session.execute(
            select(SearchChange.product_id, SearchChange.category_id, SearchChange.brand_id).where(
                SearchChange.applied_at.is_(None) | (SearchChange.applied_at >= started)
            )
        ).all()
        ids, is_everything = _products_of(session, rows)
        for start in range(0, len(ids), PORTION):
            portion = ids[start : start + PORTION]
            documents = search.maker.read(session, portion)
            there = {document.id for document in documents}
            build.add(documents, again=True)
            build.delete([id_ for id_ in portion if id_ not in there])
        build.publish()
        if is_everything:
            note_everything(session)
        session.execute(
            update(SearchBuild)
            .where(SearchBuild.name == name)
            .values(state="published", done=done, total=done, finished_at=func.clock_timestamp())
        )


def _commit_every(search: SearchEngine) -> int:
    return COMMIT_EVERY.get(search.code, _COMMIT_EVERY)


@contextmanager
def _only_builder(engine: Engine) -> Iterator[None]:
    """Hold the builder's lock, in a transaction that does nothing else: a pooler lends a connection for no longer."""
    with engine.begin() as connection:
        connection.execute(_BE_PATIENT)
        if not connection.scalar(_LOCK_BUILDER):
            raise BuildUnderWay("another process is building an index")
        yield
