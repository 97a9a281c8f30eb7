"""The tables. What changes here needs a migration: see `commerce db revision --help`."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from commerce_core.database import Base
from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column


class Entry(Base):
    """What one order has earned."""

    __tablename__ = "${name}_entry"

    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"), primary_key=True)
    points: Mapped[int]
    created_at: Mapped[datetime]
