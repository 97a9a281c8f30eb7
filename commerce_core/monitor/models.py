"""What the shop has to be told of itself: its traffic, how its hosts stand, and what is wrong."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Double, Index, SmallInteger, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from commerce_core.database import Base, Id, Json, one_of


class TrafficMinute(Base):
    """Requests that all processes have answered within a minute, by how long they took.

    `bucket` is a number among metrics.REQUEST_SECONDS: the first bound that is not less; one more stands for the rest.
    """

    __tablename__ = "traffic_minute"

    minute: Mapped[datetime] = mapped_column(primary_key=True)
    bucket: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    errors: Mapped[int] = mapped_column(BigInteger)


class HostState(Base):
    """How full something of a host is, in percent, as a process there has seen it last: `memory`, or `disk /srv`."""

    __tablename__ = "host_state"

    host: Mapped[str] = mapped_column(Text, primary_key=True)
    what: Mapped[str] = mapped_column(Text, primary_key=True)
    percent: Mapped[float] = mapped_column(Double)
    seen_at: Mapped[datetime]


class Alert(Base):
    """Something was wrong from `fired_at` on, and is until `recovered_at`. For a rule and a subject one is open.

    `told` says what each channel has been told: `{"slack": "fired"}`, and then `"recovered"`.
    """

    __tablename__ = "alert"
    __table_args__ = (
        one_of("severity", "critical", "error", "warning"),
        Index("uq_alert_open", "rule", "subject", unique=True, postgresql_where=text("recovered_at IS NULL")),
    )

    id: Mapped[Id]
    rule: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    severity: Mapped[str] = mapped_column(Text)
    summary: Mapped[str] = mapped_column(Text)
    value: Mapped[float] = mapped_column(Double)
    threshold: Mapped[float] = mapped_column(Double)
    fired_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    # How many checks in a row have found it well again.
    good_checks: Mapped[int] = mapped_column(SmallInteger, default=0)
    recovered_at: Mapped[datetime | None]
    told: Mapped[Json] = mapped_column(default=dict)
