"""Reading stock: lists of holds, levels and movements. Nothing here locks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, or_, select
from sqlalchemy.orm import Session

from commerce_core.catalog.models import Variant
from commerce_core.stock.models import Hold, StockLevel, StockMovement

Found = TypeVar("Found")

_AVAILABLE = StockLevel.on_hand - StockLevel.reserved
_TRACKED = and_(StockLevel.policy == "track", Variant.deleted_at.is_(None))
OUT = and_(_TRACKED, _AVAILABLE <= 0)
LOW = and_(_TRACKED, _AVAILABLE > 0, StockLevel.low_stock_threshold >= _AVAILABLE)


def list_holds(
    session: Session,
    *,
    now: datetime,
    owner: str | None,
    variant_id: UUID | None,
    state: str | None,
    before: UUID | None,
    limit: int,
) -> tuple[Sequence[Hold], bool]:
    """Holds, newest first, and whether more follow. `owner` None means everybody's."""
    query = select(Hold).order_by(Hold.id.desc())
    if owner is not None:
        query = query.where(Hold.owner == owner)
    if variant_id is not None:
        query = query.where(Hold.variant_id == variant_id)
    lapsed = and_(Hold.state == "active", Hold.expires_at <= now)
    if state == "active":
        query = query.where(Hold.state == "active", Hold.expires_at > now)
    elif state == "expired":
        query = query.where(or_(Hold.state == "expired", lapsed))
    elif state is not None:
        query = query.where(Hold.state == state)
    if before is not None:
        query = query.where(Hold.id < before)
    return _limited(session, query, limit)


def list_levels(
    session: Session, which: ColumnElement[bool], *, after: UUID | None, limit: int
) -> tuple[Sequence[Row[StockLevel, str]], bool]:
    """Levels (with their SKU) for which `which` holds, by variant id, and whether more follow."""
    query = select(StockLevel, Variant.sku).join(Variant, Variant.id == StockLevel.variant_id).where(which)
    if after is not None:
        query = query.where(StockLevel.variant_id > after)
    rows = session.execute(query.order_by(StockLevel.variant_id).limit(limit + 1)).all()
    return rows[:limit], len(rows) > limit


def level_with_sku(session: Session, variant_id: UUID) -> Row[StockLevel, str] | None:
    return session.execute(
        select(StockLevel, Variant.sku)
        .join(Variant, Variant.id == StockLevel.variant_id)
        .where(StockLevel.variant_id == variant_id)
        .execution_options(populate_existing=True)
    ).one_or_none()


def list_movements(
    session: Session, variant_id: UUID, *, before: int | None, limit: int
) -> tuple[Sequence[StockMovement], bool]:
    """The ledger of a variant, newest first, from below version `before`, and whether more follow."""
    query = select(StockMovement).where(StockMovement.variant_id == variant_id).order_by(StockMovement.version.desc())
    if before is not None:
        query = query.where(StockMovement.version < before)
    return _limited(session, query, limit)


def _limited(session: Session, query: Select[Found], limit: int) -> tuple[Sequence[Found], bool]:
    rows = session.scalars(query.limit(limit + 1)).all()
    return rows[:limit], len(rows) > limit
