"""The rules of the catalogue: how categories, brands, products and variants come to be.

Every function works in the caller's transaction and flushes, never commits. Reading is in queries.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import column, insert, table, text
from sqlalchemy.orm import Session

from commerce_core.catalog.models import Brand, Category, Product, Variant

# The stock room stands above the catalogue and may not be imported here, so a variant's level is made by table name.
_STOCK_LEVEL = table(
    "stock_level",
    column("variant_id"),
    column("policy"),
    column("allow_backorder"),
    column("low_stock_threshold"),
)

# The columns of `product` that summarise its variants. The default variant sets the displayed price; where none is
# marked so, the first one does. Minimum and maximum are of the variants in the same currency. Every attribute value is
# a string in `facets`, and a list of values counts as each of them.
_SUMMARY = ("currency", "price_amount", "compare_at_amount", "price_min", "price_max", "variant_count", "facets")
_REFRESH_SUMMARIES = text("""
UPDATE product SET
    currency = shown.currency,
    price_amount = shown.price_amount,
    compare_at_amount = shown.compare_at_amount,
    price_min = totals.price_min,
    price_max = totals.price_max,
    variant_count = totals.variant_count,
    facets = totals.facets
FROM product AS subject
LEFT JOIN LATERAL (
    SELECT currency, price_amount, compare_at_amount FROM variant
    WHERE product_id = subject.id AND deleted_at IS NULL
    ORDER BY is_default DESC, position, id LIMIT 1
) AS shown ON true
CROSS JOIN LATERAL (
    SELECT
        min(price_amount) FILTER (WHERE currency = shown.currency) AS price_min,
        max(price_amount) FILTER (WHERE currency = shown.currency) AS price_max,
        count(*) AS variant_count,
        (
            SELECT coalesce(jsonb_object_agg(name, found), '{}')
            FROM (
                SELECT name, jsonb_agg(DISTINCT word COLLATE "C") AS found
                FROM (
                    SELECT subject.attributes
                    UNION ALL
                    SELECT attributes FROM variant WHERE product_id = subject.id AND deleted_at IS NULL
                ) AS source,
                jsonb_each(source.attributes) AS pair (name, value),
                jsonb_array_elements_text(
                    CASE jsonb_typeof(value) WHEN 'array' THEN value ELSE jsonb_build_array(value) END
                ) AS word
                WHERE word IS NOT NULL
                GROUP BY name
            ) AS words
        ) AS facets
    FROM variant WHERE product_id = subject.id AND deleted_at IS NULL
) AS totals
WHERE product.id = subject.id AND subject.id = ANY(:ids)
""")


def create_category(
    session: Session, *, slug: str, name: str, parent: Category | None = None, description: str = "", position: int = 0
) -> Category:
    """Add a category below `parent`, or at the top. A slug that is taken fails at the flush."""
    category = Category(
        slug=slug, name=name, parent_id=parent and parent.id, description=description, position=position
    )
    session.add(category)
    session.flush()
    return category


def create_brand(session: Session, *, slug: str, name: str) -> Brand:
    """Add a brand. A slug that is taken fails at the flush."""
    brand = Brand(slug=slug, name=name)
    session.add(brand)
    session.flush()
    return brand


def create_product(
    session: Session,
    *,
    slug: str,
    name: str,
    now: datetime,
    description: str = "",
    category: Category | None = None,
    brand: Brand | None = None,
    status: str = "active",
    published_at: datetime | None = None,
    images: Iterable[Mapping[str, str]] = (),
    attributes: Mapping[str, Any] | None = None,
    is_featured: bool = False,
    popularity: int = 0,
    tax_class: str = "standard",
) -> Product:
    """Add a product. It is published `now` unless told otherwise or a draft, and seen once it has a variant.

    A slug that is taken fails at the flush.
    """
    product = Product(
        slug=slug,
        name=name,
        description=description,
        status=status,
        category_id=category and category.id,
        brand_id=brand and brand.id,
        images=[dict(image) for image in images],
        attributes=dict(attributes or {}),
        is_featured=is_featured,
        popularity=popularity,
        tax_class=tax_class,
        published_at=published_at or (None if status == "draft" else now),
    )
    session.add(product)
    session.flush()
    return product


def add_variant(
    session: Session,
    product: Product,
    *,
    sku: str,
    price_amount: int,
    currency: str = "USD",
    name: str | None = None,
    compare_at_amount: int | None = None,
    cost_amount: int | None = None,
    attributes: Mapping[str, Any] | None = None,
    weight_grams: int | None = None,
    is_default: bool | None = None,
    track_stock: bool = True,
    allow_backorder: bool = False,
    low_stock_threshold: int = 5,
) -> Variant:
    """Add a variant after the product's others, with a stock level of nothing on hand. Amounts in minor units.

    The first one is the default unless told otherwise; its name, where none is given, is the product's. Refreshes the
    product's summary, and so locks the product. A SKU that is taken, or a second default, fails at the flush.
    """
    session.flush()
    variant = Variant(
        product_id=product.id,
        sku=sku,
        name=name or product.name,
        currency=currency,
        price_amount=price_amount,
        compare_at_amount=compare_at_amount,
        cost_amount=cost_amount,
        attributes=dict(attributes or {}),
        weight_grams=weight_grams,
        position=product.variant_count,
        is_default=product.variant_count == 0 if is_default is None else is_default,
    )
    session.add(variant)
    session.flush()
    # A variant has exactly one level from its first moment on, so that nobody has to ask whether there is one.
    session.execute(
        insert(_STOCK_LEVEL).values(
            variant_id=variant.id,
            policy="track" if track_stock else "ignore",
            allow_backorder=allow_backorder,
            low_stock_threshold=low_stock_threshold,
        )
    )
    refresh_summaries(session, [product.id])
    return variant


def refresh_summaries(session: Session, product_ids: Iterable[UUID]) -> None:
    """Recompute what the products say about their variants: price, price range, number, facets. One statement.

    Call it after changing variants. Locks the products until the transaction ends.
    """
    ids = set(product_ids)
    session.flush()
    session.execute(_REFRESH_SUMMARIES, {"ids": list(ids)})
    for entity in session.identity_map.values():
        if isinstance(entity, Product) and entity.id in ids:
            session.expire(entity, _SUMMARY)
