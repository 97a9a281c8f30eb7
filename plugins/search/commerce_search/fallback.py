"""Finding without an index: names in the database, every word somewhere in them. Slow for many products, and without
facets, but it is there when nothing else is."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, ColumnElement, func, literal_column, or_, select
from sqlalchemy.orm import Session

from commerce_core.catalog.models import VISIBLE, Brand, Category, Product
from commerce_search.analysis import words_of
from commerce_search.documents import FEATURED
from commerce_search.facets import Chosen
from commerce_search.service import Found, Wanted, rules_for
from commerce_search.understanding import MOST_CHARACTERS, MOST_WORDS, Understood

_ORDERS: dict[str, tuple[Any, ...]] = {
    "relevance": (Product.popularity.desc(), Product.id.desc()),
    "price_asc": (Product.price_amount.asc(), Product.id.asc()),
    "price_desc": (Product.price_amount.desc(), Product.id.desc()),
    "newest": (Product.published_at.desc(), Product.id.desc()),
    "popular": (Product.popularity.desc(), Product.id.desc()),
}


def search_database(session: Session, wanted: Wanted, *, in_stock_only: bool) -> Found:
    """What `service.search` does, as far as the database can. What staff have hidden is left out, but what they have
    pinned does not come first. Three statements at the most."""
    words = words_of(wanted.text[:MOST_CHARACTERS])[:MOST_WORDS]
    _, hidden = rules_for(session, " ".join(words))
    conditions: list[ColumnElement[bool]] = [
        literal_column(f"({VISIBLE})", Boolean()),
        *(Product.name.icontains(word, autoescape=True) for word in words),
        *_conditions(wanted.chosen),
        *([Product.sellable_variants > 0] if in_stock_only else []),
        *([Product.id.not_in(hidden)] if hidden else []),
    ]
    total = session.scalar(select(func.count()).select_from(Product).where(*conditions)) or 0
    ids = session.scalars(
        select(Product.id)
        .where(*conditions)
        .order_by(*_ORDERS[wanted.sort or "relevance"])
        .limit(wanted.per_page)
        .offset((wanted.page - 1) * wanted.per_page)
    ).all()
    return Found(ids, total, None, Understood(tuple(words), ()), False)


def _conditions(chosen: Chosen) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if chosen.category is not None:
        tree = select(Category.id).where(Category.slug == chosen.category).cte("tree", recursive=True)
        tree = tree.union(select(Category.id).join(tree, Category.parent_id == tree.c.id))
        conditions.append(Product.category_id.in_(select(tree.c.id)))
    if chosen.brands:
        conditions.append(Product.brand_id.in_(select(Brand.id).where(Brand.slug.in_(chosen.brands))))
    if chosen.min_price is not None:
        conditions.append(Product.price_amount >= chosen.min_price)
    if chosen.max_price is not None:
        conditions.append(Product.price_amount <= chosen.max_price)
    if chosen.in_stock is not None:
        conditions.append(Product.sellable_variants > 0 if chosen.in_stock else Product.sellable_variants <= 0)
    for name, values in chosen.attributes.items():
        conditions.append(or_(*(Product.facets.contains({name: [value]}) for value in values)))
    conditions += [Product.is_featured.is_(FEATURED in group) for group in chosen.tags]
    return conditions
