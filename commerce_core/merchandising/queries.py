"""Lists for staff. Nothing here locks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, or_, select
from sqlalchemy.orm import Session

from commerce_core.catalog.models import Brand, Category, Product, Variant
from commerce_core.stock.models import StockLevel


def list_products(
    session: Session,
    *,
    status: str | None,
    q: str | None,
    category: str | None,
    brand: str | None,
    deleted: bool,
    before: UUID | None,
    limit: int,
) -> tuple[Sequence[Product], bool]:
    """Products, newest first, and whether more follow. `q` begins the name (in any case), the slug, or a SKU."""
    query = select(Product).order_by(Product.id.desc()).limit(limit + 1)
    query = query.where(Product.deleted_at.is_not(None) if deleted else Product.deleted_at.is_(None))
    if status is not None:
        query = query.where(Product.status == status)
    if q is not None:
        with_sku = select(Variant.product_id).where(Variant.sku.startswith(q, autoescape=True))
        query = query.where(
            or_(
                func.lower(Product.name).startswith(q.lower(), autoescape=True),
                Product.slug.startswith(q, autoescape=True),
                Product.id.in_(with_sku),
            )
        )
    if category is not None:
        tree = select(Category.id).where(Category.slug == category).cte("tree", recursive=True)
        tree = tree.union(select(Category.id).join(tree, Category.parent_id == tree.c.id))
        query = query.where(Product.category_id.in_(select(tree.c.id)))
    if brand is not None:
        query = query.where(Product.brand_id.in_(select(Brand.id).where(Brand.slug == brand)))
    if before is not None:
        query = query.where(Product.id < before)
    products = session.scalars(query).all()
    return products[:limit], len(products) > limit


def list_groups(session: Session, kind: type[Any], *, after: UUID | None, limit: int) -> tuple[Sequence[Any], bool]:
    """Categories or brands by id, and whether more follow."""
    query = select(kind).order_by(kind.id).limit(limit + 1)
    if after is not None:
        query = query.where(kind.id > after)
    groups = session.scalars(query).all()
    return groups[:limit], len(groups) > limit


def list_variants(session: Session, product_id: UUID) -> Sequence[Row[Variant, StockLevel]]:
    """The variants of a product that are not deleted, in their order, with their levels."""
    return session.execute(
        select(Variant, StockLevel)
        .join(StockLevel, StockLevel.variant_id == Variant.id)
        .where(Variant.product_id == product_id, Variant.deleted_at.is_(None))
        .order_by(Variant.position, Variant.id)
    ).all()
