"""Searching: what people mean, what is found, in which order, how many there are of what.

All words are looked for first; if nothing has them all, also words that are nearly the same; and where that is little,
what has some of the words comes after it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from commerce_search import facets
from commerce_search.analysis import fold, split
from commerce_search.documents import id_key
from commerce_search.engine import SearchEngine
from commerce_search.facets import Chosen, Counts
from commerce_search.interface import Filters, Query, Reader, Result, Sort
from commerce_search.models import SearchRule
from commerce_search.ranking import WINDOW, is_first, ranked
from commerce_search.understanding import MOST_CHARACTERS, MOST_WORDS, Understood

# Fewer than these are little: then what has some of the words is shown, too.
FEW = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a shopper asks for."""

    text: str = ""
    chosen: Chosen = field(default_factory=Chosen)
    sort: Sort | None = None
    page: int = 1
    per_page: int = 24
    facets: bool = True
    as_you_type: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What was found: the ids of the page, the number of all, and the counts if they were asked for.

    `is_relaxed`: hardly anything has all of the words, so some of this has only some.
    """

    ids: Sequence[UUID]
    total: int
    counts: Counts | None
    understood: Understood
    is_relaxed: bool


def plain(text: str) -> str:
    """A query as rules and statistics know it: its words, folded, with one blank between them."""
    return " ".join(split(fold(text[:MOST_CHARACTERS]))[:MOST_WORDS])


def search(engine: SearchEngine, session: Session, wanted: Wanted) -> Found:
    """Find products. Reads the index, and the database for rules and synonyms. Raises BackendError. No locks."""
    with engine.reading(session) as reader:
        return _search(engine, session, reader, wanted)


def _search(engine: SearchEngine, session: Session, reader: Reader, wanted: Wanted) -> Found:
    interpreter = engine.interpreter(session, reader)
    understood = interpreter.understand(wanted.text, as_you_type=wanted.as_you_type)
    query = _query(engine, wanted, understood, *rules_for(session, understood.title))
    result = reader.search(query)
    best: frozenset[UUID] = frozenset()
    is_relaxed = False
    if understood.slots and result.total < FEW and not _is_exact(result):
        # Whether there are few does not depend on what is filtered, or a filter would bring more than it leaves out.
        narrow = _Widening(reader, replace(query, filters=_standing(engine)))
        if narrow.total == 0:
            generous = interpreter.generously(understood)
            if generous is not None and narrow.ask(slots=generous.slots):
                understood, query = generous, replace(query, slots=generous.slots)
        if narrow.total < FEW and len(understood.slots) > 1:
            best = frozenset(narrow.ids)
            is_relaxed = any(narrow.ask(least=least) > len(best) for least in _fewer(len(understood.slots)))
            query = replace(query, least=narrow.query.least)
        result = reader.search(query)
    counts = None
    if wanted.facets:
        counts = facets.count(query, wanted.chosen, result, reader.search)
    ids = _page(wanted, result, understood, best)
    return Found(ids, result.total, counts, understood, is_relaxed)


class _Widening:
    """A query without filters, asked in wider and wider forms."""

    def __init__(self, reader: Reader, query: Query) -> None:
        self._reader = reader
        self.query = replace(query, offset=0, limit=FEW, tags=False, price_bounds=())
        result = reader.search(self.query)
        self.total = result.total
        self.ids = [hit.id for hit in result.hits]

    def ask(self, **form: Any) -> int:
        """How many there are in another form; that is kept if there are any."""
        query = replace(self.query, **form)
        result = self._reader.search(query)
        if result.total:
            self.query, self.total = query, result.total
            self.ids = [hit.id for hit in result.hits]
        return result.total


def _is_exact(result: Result) -> bool:
    """Whether somebody has asked for what is found by its SKU, or what is pinned."""
    return any(is_first(hit) for hit in result.hits[:1])


def _standing(engine: SearchEngine) -> Filters:
    """The filters that are there whatever is chosen."""
    return Filters(in_stock=True if engine.settings.in_stock_only else None)


def _query(
    engine: SearchEngine, wanted: Wanted, understood: Understood, pinned: Sequence[UUID], hidden: Sequence[UUID]
) -> Query:
    chosen = wanted.chosen
    if engine.settings.in_stock_only:
        chosen = replace(chosen, in_stock=True)
    offset = (wanted.page - 1) * wanted.per_page
    # What is sorted here has to be read from its beginning.
    window = _window(wanted) if _is_ranked(wanted, understood) else None
    return Query(
        slots=understood.slots,
        least=len(understood.slots),
        first=(*map(id_key, pinned), *understood.first),
        without=tuple(map(id_key, hidden)),
        filters=chosen.filters(),
        sort=wanted.sort or "relevance",
        offset=0 if window else offset,
        limit=window or wanted.per_page,
        tags=wanted.facets,
        price_bounds=engine.settings.price_bounds if wanted.facets else (),
    )


def _window(wanted: Wanted) -> int:
    """How many hits are sorted together: whole pages of them."""
    return WINDOW // wanted.per_page * wanted.per_page


def _is_ranked(wanted: Wanted, understood: Understood) -> bool:
    """Whether the hits of this page are sorted here, and not by the engine alone."""
    by_relevance = wanted.sort in (None, "relevance") and bool(understood.slots)
    return by_relevance and wanted.page * wanted.per_page <= _window(wanted)


def _page(wanted: Wanted, result: Result, understood: Understood, best: Collection[UUID]) -> list[UUID]:
    if not _is_ranked(wanted, understood):
        return [hit.id for hit in result.hits]
    hits = ranked(result.hits, understood.title, best)
    start = (wanted.page - 1) * wanted.per_page
    return [hit.id for hit in hits[start : start + wanted.per_page]]


def _fewer(slots: int) -> Sequence[int]:
    """How many of the words must be there, when not all can: all but one, then any."""
    return (slots - 1, 1) if slots > 2 else (1,) if slots == 2 else ()


def rules_for(session: Session, title: str) -> tuple[list[UUID], list[UUID]]:
    """The products that staff have pinned for a query, in order, and those that they have hidden."""
    if not title:
        return [], []
    rows = session.execute(
        select(SearchRule.kind, SearchRule.product_id).where(SearchRule.query == title).order_by(SearchRule.position)
    ).all()
    return [id_ for kind, id_ in rows if kind == "pinned"], [id_ for kind, id_ in rows if kind == "hidden"]
