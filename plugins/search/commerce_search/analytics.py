"""What is searched for, what finds nothing, what is chosen: counted by day and query, and nobody knows by whom.

Nothing of who asked is kept, and no query that looks as if it were about a person: an address, a long number. Searches
are counted in each process and written together every few seconds; a process that is killed has not told its last ones.
"""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Engine, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from commerce_core.catalog.models import Product
from commerce_core.database import transaction
from commerce_core.log import first_line
from commerce_search.documents import visible_among
from commerce_search.models import SearchClick, SearchQuery
from commerce_search.service import plain

_log = structlog.get_logger("commerce.search")
LONGEST_QUERY = 80
FLUSH_SECONDS = 5.0
# More different queries are not held in a process.
_MOST_QUERIES = 2_000
# A query is suggested to others when so many have asked for it and found something.
SUGGESTED_FROM = 3
_PERSONAL = re.compile(r"@|\d[\d\s/.()+-]{5,}\d")


def countable(text: str) -> str | None:
    """A query as it is counted; None if it is none, too long, or looks personal."""
    query = plain(text)
    if not query or len(text) > LONGEST_QUERY or _PERSONAL.search(text):
        return None
    return query


@dataclass(slots=True)
class _Count:
    searches: int = 0
    empty: int = 0
    found: int = 0


class Counter:
    """The counts of a process that are not written yet."""

    def __init__(self, engine: Engine, *, seconds: float) -> None:
        """Written every so many seconds, at once if that is 0."""
        self._engine = engine
        self._seconds = seconds
        self._lock = threading.Lock()
        self._counts: defaultdict[tuple[date, str], _Count] = defaultdict(_Count)
        self._next = time.monotonic() + seconds

    def searched(self, text: str, total: int, now: datetime) -> None:
        """Count a search that has found `total` products."""
        query = countable(text)
        if query is None:
            return
        with self._lock:
            key = (now.date(), query)
            if key not in self._counts and len(self._counts) >= _MOST_QUERIES:
                return
            count = self._counts[key]
            count.searches += 1
            count.empty += total == 0
            count.found = total
            if time.monotonic() < self._next:
                return
            self._next = time.monotonic() + self._seconds
        if self._seconds:
            threading.Thread(target=self.flush, name="search counts", daemon=True).start()
        else:
            self.flush()

    def flush(self) -> None:
        """Write what is counted. Commits in a transaction of its own; never raises."""
        with self._lock:
            counts, self._counts = self._counts, defaultdict(_Count)
        if not counts:
            return
        rows = [
            {"day": day, "query": query, "searches": count.searches, "empty": count.empty, "found": count.found}
            for (day, query), count in sorted(counts.items())
        ]
        statement = insert(SearchQuery)
        new = statement.excluded
        statement = statement.on_conflict_do_update(
            index_elements=["day", "query"],
            set_={
                "searches": SearchQuery.searches + new.searches,
                "empty": SearchQuery.empty + new.empty,
                "found": new.found,
            },
        )
        try:
            with transaction(self._engine) as session:
                session.execute(statement, rows)
        except Exception as error:
            _log.warning("searches not counted", count=len(rows), error=first_line(error))


def clicked(session: Session, text: str, product_id: UUID, position: int, now: datetime) -> bool:
    """Count that a product was chosen at this place (from 1) of what a query found; whether shoppers may see it."""
    query = countable(text)
    if not visible_among(session, [product_id]):
        return False
    if query is not None:
        statement = insert(SearchClick).values(
            day=now.date(), query=query, product_id=product_id, clicks=1, positions=position
        )
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["day", "query", "product_id"],
                set_={"clicks": SearchClick.clicks + 1, "positions": SearchClick.positions + position},
            )
        )
    return True


def queries(session: Session, *, since: date, empty_only: bool, limit: int) -> Sequence[Any]:
    """What was searched for since a day, most often first: query, searches, empty, clicks."""
    counted = (
        select(
            SearchQuery.query,
            func.sum(SearchQuery.searches).label("searches"),
            func.sum(SearchQuery.empty).label("empty"),
        )
        .where(SearchQuery.day >= since)
        .group_by(SearchQuery.query)
        .subquery()
    )
    clicks = (
        select(SearchClick.query, func.sum(SearchClick.clicks).label("clicks"))
        .where(SearchClick.day >= since)
        .group_by(SearchClick.query)
        .subquery()
    )
    order = counted.c.empty if empty_only else counted.c.searches
    query = (
        select(counted.c.query, counted.c.searches, counted.c.empty, func.coalesce(clicks.c.clicks, 0).label("clicks"))
        .outerjoin(clicks, clicks.c.query == counted.c.query)
        .order_by(order.desc(), counted.c.query)
        .limit(limit)
    )
    return session.execute(query.where(counted.c.empty > 0) if empty_only else query).all()


def clicks(session: Session, query: str, *, since: date, limit: int) -> Sequence[Any]:
    """What was chosen of what a query found, since a day: product, name, slug, clicks, mean position."""
    total = func.sum(SearchClick.clicks)
    return session.execute(
        select(
            SearchClick.product_id,
            Product.name,
            Product.slug,
            total.label("clicks"),
            (func.sum(SearchClick.positions) / total).label("position"),
        )
        .join(Product, Product.id == SearchClick.product_id)
        .where(SearchClick.query == plain(query), SearchClick.day >= since)
        .group_by(SearchClick.product_id, Product.name, Product.slug)
        .order_by(total.desc(), Product.name)
        .limit(limit)
    ).all()


def popular_queries(session: Session, *, since: date, limit: int) -> list[str]:
    """What several have searched for and found since a day, most often first: to be suggested to others."""
    searches = func.sum(SearchQuery.searches)
    return list(
        session.scalars(
            select(SearchQuery.query)
            .where(SearchQuery.day >= since)
            .group_by(SearchQuery.query)
            .having(searches >= SUGGESTED_FROM, func.sum(SearchQuery.empty) < searches)
            .order_by(searches.desc(), SearchQuery.query)
            .limit(limit)
        )
    )


def forget(session: Session, *, before: date) -> None:
    """Delete what was counted before a day."""
    session.execute(delete(SearchQuery).where(SearchQuery.day < before))
    session.execute(delete(SearchClick).where(SearchClick.day < before))
