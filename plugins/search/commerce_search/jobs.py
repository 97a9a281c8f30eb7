"""What workers do for the index."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from commerce_core.jobs.kinds import JobContext, JobKind, Retry, job
from commerce_search import analytics, indexing
from commerce_search.engine import search_of
from commerce_search.indexing import BuildUnderWay
from commerce_search.interface import IndexCorrupt, IndexMissing

_HOURS = 6 * 3_600.0
_AGAIN = timedelta(seconds=20)


@job("search.index", queue="critical", retry=(1, 2, 5, 10, 30, 60), timeout=300)
def index_changes(context: JobContext) -> None:
    """Put everything that waits into the live index."""
    search = search_of(context.registry)
    while True:
        try:
            with context.transaction() as session:
                applied = indexing.apply_changes(search, session)
        except (IndexMissing, IndexCorrupt):
            # What is built now has the changes in it.
            indexing.set_aside(context.session)
            want(context.session, context.registry, rebuild)
            return
        if applied.is_everything:
            want(context.session, context.registry, compare)
        if applied.changes < indexing.AT_A_TIME:
            break
    indexing.forget_applied(context.session)


@job("search.check", queue="low", retry=(10, 60, 600), timeout=_HOURS)
def compare(context: JobContext) -> None:
    """Compare the index with the database, and mend it."""
    search = search_of(context.registry)
    try:
        indexing.check(search, context.engine)
    except (IndexMissing, IndexCorrupt):
        want(context.session, context.registry, rebuild)


@job("search.rebuild", queue="low", retry=(10, 60, 600), timeout=_HOURS)
def rebuild(context: JobContext, fresh: bool = False) -> None:
    """Build the index anew, beside the live one."""
    try:
        indexing.rebuild(search_of(context.registry), context.engine, fresh=fresh)
    except BuildUnderWay:
        raise Retry("another process is building an index", after=_AGAIN) from None


@job("search.tidy", queue="low")
def tidy(context: JobContext) -> None:
    """Remove what nobody needs any more: former indexes, changes that are applied, old statistics."""
    search = search_of(context.registry)
    indexing.forget_applied(context.session)
    analytics.forget(context.session, before=context.now.date() - timedelta(days=search.settings.remember_days))
    search.backend.tidy(indexing.building(context.session, search.code))


def want_index(session: Session, registry: Any) -> None:
    """Have changes indexed at once: in no lane, since who finds one busy is put off for seconds; the lock will do."""
    index_changes.enqueue(session, now=registry.clock.now(), unique_key=f"{index_changes.name}:at-once")


def want(session: Session, registry: Any, kind: JobKind, **arguments: Any) -> None:
    """Enqueue one of these jobs, unless it waits already; of each, one runs at a time."""
    kind.enqueue(session, now=registry.clock.now(), unique_key=kind.name, lane=kind.name, **arguments)
