"""Reading carts, and the articles in them. Nothing here locks, unless asked to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session, selectinload

from commerce_core.carts.models import Cart, CartLine
from commerce_core.catalog.models import Product, Variant
from commerce_core.stock.models import Hold, StockLevel


@dataclass(frozen=True, slots=True)
class Article:
    """A variant as it can be bought now. `price_amount` is the catalogue's, in minor units of `currency`.

    `free` is what nobody holds (what lapsed holds keep counts as free); None when there is no limit.
    """

    variant_id: UUID
    sku: str
    name: str
    currency: str
    price_amount: int
    attributes: dict[str, Any]
    images: list[Any]
    product_name: str
    product_slug: str
    is_for_sale: bool
    free: int | None

    def available(self, own: int = 0) -> int | None:
        """How many units a cart that holds `own` of them could have; None when there is no limit."""
        if not self.is_for_sale:
            return 0
        return None if self.free is None else self.free + own


def articles_of(session: Session, variant_ids: Iterable[UUID], *, now: datetime) -> dict[UUID, Article]:
    """What is known of these variants, sold any more or not. One statement."""
    ids = list(variant_ids)
    if not ids:
        return {}
    lapsed = (
        select(func.coalesce(func.sum(Hold.reserved), 0))
        .where(Hold.variant_id == Variant.id, Hold.state == "active", Hold.expires_at <= now)
        .correlate(Variant)
        .scalar_subquery()
    )
    is_for_sale = and_(
        Variant.deleted_at.is_(None),
        Product.status == "active",
        Product.deleted_at.is_(None),
        Product.published_at.is_not(None),
    )
    rows = session.execute(
        select(
            Variant.id,
            Variant.sku,
            Variant.name,
            Variant.currency,
            Variant.price_amount,
            Product.attributes.concat(Variant.attributes).label("attributes"),
            Product.images,
            Product.name.label("product_name"),
            Product.slug.label("product_slug"),
            is_for_sale.label("is_for_sale"),
            (StockLevel.policy == "ignore").label("is_untracked"),
            StockLevel.allow_backorder,
            (StockLevel.on_hand - StockLevel.reserved + lapsed).label("free"),
        )
        .join(Product, Product.id == Variant.product_id)
        .join(StockLevel, StockLevel.variant_id == Variant.id)
        .where(Variant.id.in_(ids))
    ).all()
    return {
        row.id: Article(
            variant_id=row.id,
            sku=row.sku,
            name=row.name,
            currency=row.currency,
            price_amount=row.price_amount,
            attributes=row.attributes,
            images=row.images,
            product_name=row.product_name,
            product_slug=row.product_slug,
            is_for_sale=row.is_for_sale,
            free=None if row.is_untracked or row.allow_backorder else max(0, row.free),
        )
        for row in rows
    }


def find_cart(session: Session, owner: str | None, *, now: datetime) -> Cart | None:
    """The owner's cart with its lines, if there is one that has not lapsed. Two statements."""
    if owner is None:
        return None
    return session.scalar(
        select(Cart)
        .where(Cart.owner == owner, Cart.state == "active", Cart.expires_at > now)
        .options(selectinload(Cart.lines))
    )


def holds_of(session: Session, lines: Sequence[CartLine], *, lock: bool = False) -> dict[UUID, Hold]:
    """The holds of these lines by their ids, locked (by ascending id) if asked. One statement, or none."""
    ids = [line.hold_id for line in lines if line.hold_id is not None]
    if not ids:
        return {}
    query = select(Hold).where(Hold.id.in_(ids)).order_by(Hold.id)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return {hold.id: hold for hold in session.scalars(query)}
