"""What search keeps in the shop's database: what has changed, builds, what staff decide, what was searched for.

The tables of the backend `postgresql` are in backends/postgresql_tables.py.
"""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Date, ForeignKey, Identity, Index, Integer, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from commerce_core.database import Base, Id, one_of
from commerce_search.backends.postgresql_tables import SearchIndex

__all__ = ["SearchBuild", "SearchChange", "SearchClick", "SearchIndex", "SearchQuery", "SearchRule", "SearchSynonym"]


class SearchChange(Base):
    """Something that is not in the index yet: a product, all of a category or a brand; everything, if it names none.

    Written in the transaction of the change. What is applied is kept while a build runs, which has to catch up with it.
    """

    __tablename__ = "search_change"
    __table_args__ = (
        Index("ix_search_change_waiting", "id", postgresql_where=text("applied_at IS NULL")),
        {"postgresql_with": {"autovacuum_vacuum_scale_factor": "0.02"}},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    product_id: Mapped[UUID | None]
    category_id: Mapped[UUID | None]
    brand_id: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    applied_at: Mapped[datetime | None]


class SearchBuild(Base):
    """An index that is being made beside the live one. `cursor` is the last product that is safely in it."""

    __tablename__ = "search_build"
    __table_args__ = (
        one_of("state", "building", "published", "abandoned"),
        Index("uq_search_build_building", "backend", unique=True, postgresql_where=text("state = 'building'")),
    )

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    backend: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, default="building")
    cursor: Mapped[UUID]
    done: Mapped[int] = mapped_column(Integer, default=0)
    total: Mapped[int] = mapped_column(Integer, default=0)
    started_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    finished_at: Mapped[datetime | None]


class SearchSynonym(Base):
    """Words that mean the same: each finds what any of them does. With `source`, only that one finds the others."""

    __tablename__ = "search_synonym"

    id: Mapped[Id]
    source: Mapped[str | None] = mapped_column(Text)
    words: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class SearchRule(Base):
    """What staff want for one query (as `service.plain` has it): a product pinned to a place, or hidden."""

    __tablename__ = "search_rule"
    __table_args__ = (
        one_of("kind", "pinned", "hidden"),
        CheckConstraint("(kind = 'pinned') = (position IS NOT NULL)", name="pinned_has_a_position"),
        Index("uq_search_rule_query", "query", "product_id", unique=True),
    )

    id: Mapped[Id]
    query: Mapped[str] = mapped_column(Text)
    product_id: Mapped[UUID] = mapped_column(ForeignKey("product.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(Text)
    position: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class SearchQuery(Base):
    """How often something was searched for on a day (UTC), and how often nothing was found. Nobody knows by whom."""

    __tablename__ = "search_query"
    __table_args__ = (Index("ix_search_query_query", "query"),)

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    query: Mapped[str] = mapped_column(Text, primary_key=True)
    searches: Mapped[int] = mapped_column(Integer, default=0)
    empty: Mapped[int] = mapped_column(Integer, default=0)
    found: Mapped[int] = mapped_column(Integer, default=0)


class SearchClick(Base):
    """How often a product was chosen on a day (UTC) among what a query had found, and the sum of its places there."""

    __tablename__ = "search_click"

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    query: Mapped[str] = mapped_column(Text, primary_key=True)
    product_id: Mapped[UUID] = mapped_column(ForeignKey("product.id", ondelete="CASCADE"), primary_key=True, index=True)
    clicks: Mapped[int] = mapped_column(Integer, default=0)
    positions: Mapped[int] = mapped_column(BigInteger, default=0)
