"""What shoppers read: products by filter and sort, one product, the category tree, the brands.

A page of products takes two statements, whatever its size: the first finds the ids and the total by reading indexes
only, so a deep page costs little more than the first page; the second fetches the rows of those ids. A category or
brand to look up is one statement more, and so are the variants. docs/catalogue.md shows the plans.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, TextClause, any_, func, literal, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.orm import Session

from commerce_core.catalog.models import VISIBLE, Brand, Category, Product
from commerce_core.catalog.rows import ProductRow, VariantRow
from commerce_core.catalog.schemas import ProductFilters

_product = Product.__table__.c
_is_visible = text(VISIBLE)

# Every direction of an order has an index that is read forwards or backwards; the id makes it total.
_ORDERS: dict[str, tuple[ColumnElement[Any], ...]] = {
    "newest": (_product.published_at.desc(), _product.id.desc()),
    "price_asc": (_product.price_amount.asc(), _product.id.asc()),
    "price_desc": (_product.price_amount.desc(), _product.id.desc()),
    "name": (func.lower(_product.name).asc(), _product.id.asc()),
    "popular": (_product.popularity.desc(), _product.id.desc()),
}

_FIND_GROUPS = text("""
WITH RECURSIVE tree AS (
    SELECT id FROM category WHERE slug = :category
    UNION
    SELECT category.id FROM category JOIN tree ON category.parent_id = tree.id
)
SELECT (SELECT array_agg(id) FROM tree) AS category_ids, (SELECT id FROM brand WHERE slug = :brand) AS brand_id
""")

# The catalogue shows availability, but the stock room stands above it and may not be imported here: its table is read
# by name. What was promised beyond the stock on hand (a backorder) is not less than nothing.
_PRODUCTS = """
SELECT product.id, product.slug, product.name, product.description, product.status, product.images,
       product.attributes, product.is_featured, product.published_at, product.currency, product.price_amount,
       product.compare_at_amount, product.price_min, product.price_max, product.variant_count,
       category.id AS category_id, category.slug AS category_slug, category.name AS category_name,
       brand.id AS brand_id, brand.slug AS brand_slug, brand.name AS brand_name, stock.available
FROM product
LEFT JOIN category ON category.id = product.category_id
LEFT JOIN brand ON brand.id = product.brand_id
LEFT JOIN LATERAL (
    SELECT CASE WHEN bool_and(policy = 'track') THEN sum(greatest(on_hand - reserved, 0)) END AS available
    FROM variant JOIN stock_level ON variant_id = variant.id
    WHERE product_id = product.id AND variant.deleted_at IS NULL
) AS stock ON true
"""
_PRODUCTS_BY_IDS = text(_PRODUCTS + "WHERE product.id = ANY(:ids)")
_VISIBLE_BY_IDS = text(
    _PRODUCTS + "WHERE product.id IN (SELECT id FROM product WHERE id = ANY(:ids) AND " + VISIBLE + ")"  # noqa: S608
)
_ONE_VISIBLE = "WHERE product.id = (SELECT id FROM product WHERE {which} AND " + VISIBLE + ")"  # noqa: S608 (our own words)
_PRODUCT_BY_ID = text(_PRODUCTS + _ONE_VISIBLE.format(which="id = :id"))
_PRODUCT_BY_SLUG = text(_PRODUCTS + _ONE_VISIBLE.format(which="slug = :slug"))

# One row per product with its variants as JSON: a page has a hundred of them, and one JSON text is read several times
# faster than as many rows of columns.
_VARIANTS = text("""
SELECT product_id, json_agg(json_build_array(
    id, sku, name, currency, price_amount, compare_at_amount, attributes, weight_grams, is_default,
    on_hand, reserved, policy, allow_backorder, low_stock_threshold, stock_level.version
) ORDER BY position, id) AS variants
FROM variant JOIN stock_level ON variant_id = id
WHERE product_id = ANY(:product_ids) AND deleted_at IS NULL
GROUP BY product_id
""")

_CATEGORIES = select(Category).order_by(Category.position, Category.name, Category.id)

Variants = dict[UUID, list[VariantRow]]


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of products in their order, the number of all that match, and their variants if those were asked for."""

    products: Sequence[ProductRow] = ()
    total: int = 0
    variants: Variants | None = None
    category_is_known: bool = True


def list_products(
    session: Session,
    filters: ProductFilters,
    *,
    sort: str = "newest",
    page: int = 1,
    per_page: int = 24,
    with_variants: bool = False,
) -> Listing:
    """The visible products that match every filter. An unknown category or brand matches nothing. No locks."""
    groups = _find_groups(session, filters)
    if groups.is_empty:
        return Listing(category_is_known=filters.category is None or groups.category_ids is not None)
    conditions = _conditions(filters, groups)
    # The total comes with the ids: one snapshot, so that they never contradict each other.
    total = select(func.count()).select_from(Product).where(*conditions).correlate(None).scalar_subquery()
    found = session.execute(
        select(_product.id, total)
        .where(*conditions)
        .order_by(*_ORDERS[sort])
        .limit(per_page)
        .offset((page - 1) * per_page)
    ).all()
    if not found:
        beyond_the_last = page > 1
        return Listing(total=session.execute(select(total)).scalar_one() if beyond_the_last else 0)
    ids = [id_ for id_, _ in found]
    rows = _rows(session, _PRODUCTS_BY_IDS, ids)
    return Listing(
        products=[rows[id_] for id_ in ids],
        total=found[0][1],
        variants=variants_of_products(session, ids) if with_variants else None,
    )


def products_by_ids(session: Session, ids: Sequence[UUID]) -> dict[UUID, ProductRow]:
    """Those of these products that shoppers may see. No locks."""
    return _rows(session, _VISIBLE_BY_IDS, ids) if ids else {}


def _rows(session: Session, statement: TextClause, ids: Sequence[UUID]) -> dict[UUID, ProductRow]:
    return {row[0]: ProductRow._make(row) for row in session.execute(statement, {"ids": list(ids)}).all()}


def listing_of(session: Session, ids: Sequence[UUID], total: int, *, with_variants: bool = False) -> Listing:
    """A page of products that somebody else has found, in that order, but for those that shoppers may not see."""
    rows = products_by_ids(session, ids)
    return Listing(
        products=[rows[id_] for id_ in ids if id_ in rows],
        total=total,
        variants=variants_of_products(session, list(rows)) if with_variants else None,
    )


def get_product(session: Session, id_or_slug: str) -> ProductRow | None:
    """A visible product, or None. What reads as a UUID is an id, anything else a slug."""
    try:
        found = session.execute(_PRODUCT_BY_ID, {"id": UUID(id_or_slug)})
    except ValueError:
        found = session.execute(_PRODUCT_BY_SLUG, {"slug": id_or_slug})
    row = found.one_or_none()
    return None if row is None else ProductRow._make(row)


def variants_of_products(session: Session, product_ids: Sequence[UUID]) -> Variants:
    """The variants of several products with their stock levels, in their order. One statement."""
    variants: Variants = defaultdict(list)
    for product_id, rows in session.execute(_VARIANTS, {"product_ids": list(product_ids)}).all():
        variants[product_id] = [VariantRow._make(row) for row in rows]
    return variants


def list_categories(session: Session) -> Sequence[Category]:
    """All categories, siblings by position and name."""
    return session.scalars(_CATEGORIES).all()


def category_branch(session: Session, slug: str) -> list[Category]:
    """A category and all those below it, siblings by position and name; empty when there is no such category."""
    tree = select(Category.id).where(Category.slug == slug).cte("tree", recursive=True)
    tree = tree.union(select(Category.id).join(tree, Category.parent_id == tree.c.id))
    return list(session.scalars(_CATEGORIES.where(Category.id.in_(select(tree.c.id)))))


def list_brands(session: Session) -> Sequence[Brand]:
    """All brands by name."""
    return session.scalars(select(Brand).order_by(func.lower(Brand.name), Brand.id)).all()


@dataclass(frozen=True, slots=True)
class _Groups:
    """What the filters' slugs stand for; None where they stand for nothing."""

    category_ids: list[UUID] | None = None
    brand_id: UUID | None = None
    is_empty: bool = False


def _find_groups(session: Session, filters: ProductFilters) -> _Groups:
    if filters.category is None and filters.brand is None:
        return _Groups()
    row = session.execute(_FIND_GROUPS, {"category": filters.category, "brand": filters.brand}).one()
    category_is_unknown = filters.category is not None and row.category_ids is None
    brand_is_unknown = filters.brand is not None and row.brand_id is None
    return _Groups(row.category_ids, row.brand_id, is_empty=category_is_unknown or brand_is_unknown)


def _conditions(filters: ProductFilters, groups: _Groups) -> list[Any]:
    conditions: list[Any] = [_is_visible]
    if groups.category_ids is not None:
        conditions.append(_product.category_id == any_(literal(groups.category_ids, ARRAY(PG_UUID))))
    if groups.brand_id is not None:
        conditions.append(_product.brand_id == groups.brand_id)
    if filters.min_price is not None:
        conditions.append(_product.price_amount >= filters.min_price)
    if filters.max_price is not None:
        conditions.append(_product.price_amount <= filters.max_price)
    if filters.in_stock is not None:
        # The words of the partial index.
        conditions.append(text("sellable_variants > 0" if filters.in_stock else "sellable_variants <= 0"))
    if filters.featured is not None:
        conditions.append(text("is_featured" if filters.featured else "NOT is_featured"))
    for name, values in filters.attributes.items():
        conditions.append(or_(*(_product.facets.contains({name: [value]}) for value in values)))
    return conditions
