"""Whether the shop is closed for maintenance: a row says that it is."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, SmallInteger, Text
from sqlalchemy.orm import Mapped, mapped_column

from commerce_core.database import Base


class Maintenance(Base):
    """The one row that there may be, while the shop is closed. `until` is when it should be over, as far as known."""

    __tablename__ = "maintenance"
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, default=1)
    since: Mapped[datetime]
    until: Mapped[datetime | None]
    message: Mapped[str | None] = mapped_column(Text)
