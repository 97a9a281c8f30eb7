"""Search for shoppers."""

from __future__ import annotations

import html
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view
from commerce_core.api.problems import InvalidInput, NotFound
from commerce_core.api.schemas import page_of
from commerce_core.catalog.finding import FoundProducts
from commerce_core.catalog.presentation import show_products
from commerce_core.catalog.schemas import ProductFilters
from commerce_core.money import Money
from commerce_search import analytics, facets, service, suggestions
from commerce_search.documents import FEATURED, NOT_FEATURED
from commerce_search.engine import SearchEngine, search_of
from commerce_search.facets import Chosen
from commerce_search.fallback import search_database
from commerce_search.highlighting import highlighted, snippet
from commerce_search.interface import BackendError
from commerce_search.problems import SearchUnavailable, TooDeep
from commerce_search.schemas import SearchEventIn, SearchPage, SearchQuery, Suggestions, SuggestQuery
from commerce_search.service import Found, Wanted
from commerce_search.understanding import Understood


@api_view(
    route_name="search",
    request_method="GET",
    permission=Permission.PUBLIC,
    query=SearchQuery,
    returns=SearchPage,
    problems=(SearchUnavailable, TooDeep),
)
def search_products(request: Any, query: SearchQuery) -> dict[str, Any]:
    """Find products by what people type, filter and count them."""
    started = time.perf_counter()
    engine = search_of(request.registry)
    chosen = query.chosen()
    wanted = Wanted(
        text=query.q,
        chosen=chosen,
        sort=query.sort,
        page=query.page,
        per_page=query.per_page,
        facets=query.facets,
    )
    found = find(request, wanted)
    products = show_products(request, found.ids, with_variants=query.include == "variants")
    reachable = min(found.total, engine.settings.deepest)
    page = page_of(request.path, query, products, reachable)
    page["meta"]["total"] = found.total
    page["query"] = query.q
    page["corrected"] = found.understood.corrected
    page["relaxed"] = found.is_relaxed
    page["facets"] = _facets(request, engine, found, chosen)
    page["highlights"] = _highlights(engine, products, found.understood)
    page["took_ms"] = _milliseconds_since(started)
    return page


@api_view(
    route_name="search_suggest",
    request_method="GET",
    permission=Permission.PUBLIC,
    query=SuggestQuery,
    returns=Suggestions,
    problems=(SearchUnavailable,),
)
def suggest(request: Any, query: SuggestQuery) -> dict[str, Any]:
    """Suggestions for what has been typed so far; quick enough for every keystroke."""
    started = time.perf_counter()
    engine = search_of(request.registry)
    try:
        found = suggestions.suggest(engine, request.db, query.q, today=request.now.date(), limit=query.limit)
    except BackendError as error:
        raise SearchUnavailable from error
    understood = found.found.understood if found.found else Understood((), ())
    return {
        "products": [_suggested(request, engine, row, understood) for row in found.products],
        "categories": [_group(each) for each in found.categories],
        "brands": [_group(each) for each in found.brands],
        "queries": found.queries,
        "took_ms": _milliseconds_since(started),
    }


@api_view(
    route_name="search_events",
    request_method="POST",
    permission=Permission.PUBLIC,
    body=SearchEventIn,
    status=204,
    problems=(NotFound,),
)
def note_event(request: Any, body: SearchEventIn) -> None:
    """Tell that a product was chosen of what a search has found. Nothing is kept of who chose it."""
    if not analytics.clicked(request.db, body.query, body.product_id, body.position, request.now):
        raise NotFound("There is no such product.")


class Finder:
    """Answers `q` of the core's lists of products."""

    def find(
        self, request: Any, text: str, filters: ProductFilters, *, sort: str | None, page: int, per_page: int
    ) -> FoundProducts:
        tags = () if filters.featured is None else (frozenset({FEATURED if filters.featured else NOT_FEATURED}),)
        chosen = Chosen(
            category=filters.category,
            brands=() if filters.brand is None else (filters.brand,),
            min_price=filters.min_price,
            max_price=filters.max_price,
            attributes=filters.attributes,
            in_stock=filters.in_stock,
            tags=tags,
        )
        if sort == "name":
            raise InvalidInput.field("sort", "unsupported", "what a text finds has no order by name")
        known: Any = sort
        wanted = Wanted(text=text, chosen=chosen, sort=known, page=page, per_page=per_page, facets=False)
        found = find(request, wanted)
        return FoundProducts(found.ids, found.total)


def find(request: Any, wanted: Wanted) -> Found:
    """What is wanted, counted for statistics. Raises TooDeep, and SearchUnavailable unless the database may help."""
    engine = search_of(request.registry)
    deepest = engine.settings.deepest
    if wanted.page * wanted.per_page > deepest:
        raise TooDeep(f"There are pages up to the {deepest:,}th product; narrow it down.", deepest=deepest)
    try:
        found = service.search(engine, request.db, wanted)
    except BackendError as error:
        request.registry.searches.labels("failed").inc()
        if engine.settings.on_failure == "refuse" or isinstance(error.__cause__, SQLAlchemyError):
            raise SearchUnavailable from error
        found = search_database(request.db, wanted, in_stock_only=engine.settings.in_stock_only)
    else:
        request.registry.searches.labels("found" if found.total else "empty").inc()
    actor = request.actor
    if wanted.page == 1 and (actor is None or actor.role == "customer"):
        request.registry.search_counter.searched(wanted.text, found.total, request.now)
    return found


def _facets(request: Any, engine: SearchEngine, found: Found, chosen: Chosen) -> dict[str, Any] | None:
    if found.counts is None:
        return None
    groups = engine.groups(request.db)
    return facets.present(found.counts, chosen, groups.tree, groups.brands, engine.settings.price_bounds)


def _highlights(
    engine: SearchEngine, products: Sequence[dict[str, Any]], understood: Understood
) -> dict[str, dict[str, str | None]]:
    stems, beginnings = understood.stems, understood.beginnings
    if not stems and not beginnings:
        return {}
    return {
        str(product["id"]): {
            "name": highlighted(product["name"], stems, beginnings, engine.analyzer),
            "description": snippet(product["description"], stems, beginnings, engine.analyzer),
        }
        for product in products
    }


def _suggested(request: Any, engine: SearchEngine, row: Any, understood: Understood) -> dict[str, Any]:
    images = request.registry.image_addresses.listed(row.images[:1])
    return {
        "id": row.id,
        "slug": row.slug,
        "name": row.name,
        "highlight": highlighted(row.name, understood.stems, understood.beginnings, engine.analyzer)
        or html.escape(row.name),
        "price": Money.of(row.price_amount, row.currency, request.locale),
        "image": images[0]["url"] if images else None,
    }


def _group(group: Any) -> dict[str, Any]:
    return {"id": group.id, "slug": group.slug, "name": group.name}


def _milliseconds_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)
