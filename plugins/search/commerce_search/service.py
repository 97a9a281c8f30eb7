"""Searching: what people mean, what is found, in which order, how many there are of what.

All words are looked for first; if nothing has them all, also words that are nearly the same; if that is nothing
either, what has some of the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from commerce_search import facets
from commerce_search.analysis import fold, split
from commerce_search.documents import id_key
from commerce_search.engine import SearchEngine
from commerce_search.facets import Chosen, Counts
from commerce_search.interface import Query, Reader, Result, Sort
from commerce_search.models import SearchRule
from commerce_search.ranking import WINDOW, ranked
from commerce_search.understanding import MOST_CHARACTERS, MOST_WORDS, Understood


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

    `is_relaxed`: nothing has all of the words, so this has some. `version` is that of the index.
    """

    ids: Sequence[UUID]
    total: int
    counts: Counts | None
    understood: Understood
    is_relaxed: bool
    version: str


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
    query = _query(engine, wanted, understood, *_rules(session, understood.title))
    result, is_relaxed = reader.search(query), False
    if result.total == 0 and understood.slots:
        generous = interpreter.generously(understood)
        if generous is not None:
            again = replace(query, slots=generous.slots)
            found = reader.search(again)
            if found.total:
                query, result, understood = again, found, generous
        for least in _fewer(len(understood.slots)):
            if result.total:
                break
            query, is_relaxed = replace(query, least=least), True
            result = reader.search(query)
    counts = None
    if wanted.facets:
        counts = facets.count(query, wanted.chosen, result, reader.search)
    return Found(_page(wanted, result, understood), result.total, counts, understood, is_relaxed, reader.version)


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


def _page(wanted: Wanted, result: Result, understood: Understood) -> list[UUID]:
    if not _is_ranked(wanted, understood):
        return [hit.id for hit in result.hits]
    hits = ranked(result.hits, understood.title)
    start = (wanted.page - 1) * wanted.per_page
    return [hit.id for hit in hits[start : start + wanted.per_page]]


def _fewer(slots: int) -> Sequence[int]:
    """How many of the words must be there, when not all can: all but one, then any."""
    return (slots - 1, 1) if slots > 2 else (1,) if slots == 2 else ()


def _rules(session: Session, title: str) -> tuple[list[UUID], list[UUID]]:
    """The products that staff have pinned for a query, in order, and those that they have hidden."""
    if not title:
        return [], []
    rows = session.execute(
        select(SearchRule.kind, SearchRule.product_id).where(SearchRule.query == title).order_by(SearchRule.position)
    ).all()
    return [id_ for kind, id_ in rows if kind == "pinned"], [id_ for kind, id_ in rows if kind == "hidden"]
