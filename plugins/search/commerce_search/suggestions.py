"""Suggestions for what is being typed: products, categories, brands, and what others have searched for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from sqlalchemy import text as sql
from sqlalchemy.orm import Session

from commerce_search import analytics
from commerce_search.analysis import fold, words_of
from commerce_search.engine import SearchEngine
from commerce_search.service import Found, Wanted, plain, search

_PRODUCTS = sql("""
SELECT id, slug, name, price_amount, currency, images FROM product
WHERE id = ANY(:ids) AND status = 'active' AND deleted_at IS NULL AND published_at IS NOT NULL
      AND price_amount IS NOT NULL
""")
_POPULAR_DAYS = 30
_MOST_POPULAR = 3_000


@dataclass(frozen=True, slots=True)
class Suggestions:
    """Rows of products, in order; categories and brands as the catalogue has them; queries."""

    products: Sequence[Any]
    categories: Sequence[Any]
    brands: Sequence[Any]
    queries: Sequence[str]
    found: Found | None


def suggest(engine: SearchEngine, session: Session, text: str, *, today: date, limit: int) -> Suggestions:
    """What people may be about to type, at most `limit` of each. Raises BackendError. No locks."""
    if not plain(text):
        return Suggestions((), (), (), (), None)
    found = search(engine, session, Wanted(text=text, per_page=limit, facets=False, as_you_type=True))
    rows = {row.id: row for row in session.execute(_PRODUCTS, {"ids": list(found.ids)})} if found.ids else {}
    groups = engine.groups(session)
    return Suggestions(
        products=[rows[id_] for id_ in found.ids if id_ in rows],
        categories=_beginning(groups.categories, text, limit),
        brands=_beginning(groups.brands, text, limit),
        queries=_queries(engine, session, text, today, limit),
        found=found,
    )


def _beginning(groups: Sequence[Any], text: str, limit: int) -> list[Any]:
    """Those whose names have words that begin like the last word typed, and all the others; shortest names first."""
    *finished, last = words_of(text)
    matching = []
    for group in groups:
        words = words_of(group.name)
        if any(word.startswith(last) for word in words) and all(word in words for word in finished):
            matching.append(group)
    matching.sort(key=lambda group: (not fold(group.name).startswith(last), len(group.name), group.name))
    return matching[:limit]


def _queries(engine: SearchEngine, session: Session, text: str, today: date, limit: int) -> list[str]:
    typed = plain(text)
    since = today - timedelta(days=_POPULAR_DAYS)
    popular = engine.popular.get(lambda: analytics.popular_queries(session, since=since, limit=_MOST_POPULAR))
    return [query for query in popular if query.startswith(typed) and query != typed][:limit]
