"""How a variant's stock is kept: whether it is counted, may be promised before it is there, and when it is low."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from commerce_core.stock.models import StockLevel
from commerce_core.stock.service import StockConflict, UnknownVariant, announce


def lock_level(session: Session, variant_id: UUID) -> StockLevel:
    """The level of a variant, locked until the transaction ends. Raises UnknownVariant."""
    level = session.get(StockLevel, variant_id, with_for_update=True, populate_existing=True)
    if level is None:
        raise UnknownVariant(variant_id)
    return level


def set_policy(session: Session, level: StockLevel, changes: Mapping[str, Any]) -> None:
    """Change `track_stock`, `allow_backorder` and `low_stock_threshold` of a level that is locked.

    Counters and holds stay as they are; what was held while stock was not counted stays uncounted. Raises StockConflict
    when backorders are to end while more is promised than is there.
    """
    if "track_stock" in changes:
        level.policy = "track" if changes["track_stock"] else "ignore"
    for name in changes.keys() & {"allow_backorder", "low_stock_threshold"}:
        setattr(level, name, changes[name])
    if not session.is_modified(level):
        return
    try:
        session.flush()
    except IntegrityError as error:
        if "ck_stock_level" in str(error.orig):
            raise StockConflict(
                "More is promised than is on hand: backorders cannot end before that is served."
            ) from error
        raise
    announce(session, level.variant_id, "policy", level)
