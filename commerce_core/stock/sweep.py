"""Gives back what lapsed holds had reserved, so that the numbers shown are fresh. Selling is exact without it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine, Select, select
from sqlalchemy.orm import Session

from commerce_core.database import transaction
from commerce_core.log import each_by_itself
from commerce_core.stock.models import Hold, StockLevel
from commerce_core.stock.service import reclaim_expired, serve_backorders

_VARIANTS_AT_A_TIME = 200


def sweep_holds(engine: Engine, *, now: datetime, stop: Callable[[], bool] = lambda: False) -> int:
    """Expire every hold that has lapsed by `now`; how many. One short transaction per variant; any number may run."""
    total = 0
    while not stop():
        with Session(engine) as session:
            variants = session.scalars(
                select(Hold.variant_id)
                .where(Hold.state == "active", Hold.expires_at <= now)
                .distinct()
                .limit(_VARIANTS_AT_A_TIME)
            ).all()
        swept = 0
        for variant_id in variants:
            with each_by_itself("variant", variant_id), transaction(engine) as session:
                swept += reclaim_expired(session, variant_id, now=now)
        total += swept
        if not swept:
            break
    return total


def serve_waiting_backorders(engine: Engine, *, now: datetime) -> int:
    """Serve paid backorders whose units are there: those that a delivery had to leave out. How many were served."""
    with Session(engine) as session:
        variants = session.scalars(backorders_to_serve().distinct().limit(_VARIANTS_AT_A_TIME)).all()
    served = 0
    for variant_id in variants:
        with each_by_itself("variant", variant_id), transaction(engine) as session:
            served += serve_backorders(session, variant_id, now=now, actor="scheduler")
    return served


def backorders_to_serve() -> Select[UUID]:
    """The variants of paid backorders that wait although their units are on hand."""
    return (
        select(Hold.variant_id)
        .join(StockLevel, StockLevel.variant_id == Hold.variant_id)
        .where(Hold.awaiting_stock, Hold.sold_at.is_(None), Hold.state == "converted")
        .where(StockLevel.on_hand >= Hold.reserved)
    )
