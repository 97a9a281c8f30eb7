"""The rules of points. In the caller's transaction; nothing here commits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from commerce_${name}.models import Entry


def credit(session: Session, order_id: UUID, points: int, *, now: datetime) -> bool:
    """Write down what an order has earned; whether that is new. However often it is called, it counts once."""
    row = insert(Entry).values(order_id=order_id, points=points, created_at=now)
    written = session.scalar(row.on_conflict_do_nothing(index_elements=["order_id"]).returning(Entry.order_id))
    return written is not None


def points_of(session: Session, order_ids: Sequence[UUID]) -> dict[UUID, int]:
    """By order; those without any are left out. One statement."""
    found = select(Entry.order_id, Entry.points).where(Entry.order_id.in_(order_ids))
    return {row.order_id: row.points for row in session.execute(found)}


def total(session: Session) -> int:
    """All points that there are."""
    return session.scalar(select(func.coalesce(func.sum(Entry.points), 0))) or 0


def forget(session: Session, *, before: datetime) -> int:
    """Delete what is older; how many entries that were."""
    old = delete(Entry).where(Entry.created_at < before).returning(Entry.order_id)
    return len(session.scalars(old).all())
