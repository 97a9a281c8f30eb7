"""The tables of the backend `postgresql`: two of each, of which one pair is live and the other is built.

A row of documents is as good as read only through its indexes: GIN for words, tags and keys. `words` holds the stems of
all text fields by weight, and the beginnings of words with a `^` in front.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, SmallInteger, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.orm import Mapped, mapped_column

from commerce_core.database import Base


class SearchIndex(Base):
    """Which pair of tables is live (None: neither), of which build it is, and the build that the other belongs to."""

    __tablename__ = "search_index"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    live: Mapped[int | None] = mapped_column(SmallInteger)
    version: Mapped[int] = mapped_column(BigInteger, default=0)
    live_build: Mapped[str | None] = mapped_column(Text)
    build: Mapped[str | None] = mapped_column(Text)


def _documents(slot: int) -> Table:
    name = f"search_document_{slot}"
    return Table(
        name,
        Base.metadata,
        Column("id", PG_UUID(as_uuid=True), primary_key=True),
        Column("fingerprint", Text, nullable=False),
        Column("words", TSVECTOR, nullable=False),
        Column("tags", ARRAY(Text), nullable=False),
        Column("keys", ARRAY(Text), nullable=False),
        Column("title", Text, nullable=False),
        Column("price", BigInteger, nullable=False),
        Column("in_stock", Boolean, nullable=False),
        Column("published", BigInteger, nullable=False),
        Column("popularity", Integer, nullable=False),
        # Written entries at once: a list of pending ones is read as a whole by every search.
        *(
            Index(f"ix_{name}_{column}", column, postgresql_using="gin", postgresql_with={"fastupdate": "off"})
            for column in ("words", "tags", "keys")
        ),
        Index(f"ix_{name}_price", "price"),
        Index(f"ix_{name}_popularity", "popularity"),
        Index(f"ix_{name}_published", "published"),
    )


def _words(slot: int) -> Table:
    """Every stem (`t`) and every spoken word (`s`) with the number of documents, as it was when the index was built."""
    return Table(
        f"search_word_{slot}",
        Base.metadata,
        Column("kind", Text, primary_key=True),
        Column("word", Text(collation="C"), primary_key=True),
        Column("documents", Integer, nullable=False),
    )


DOCUMENTS = (_documents(0), _documents(1))
WORDS = (_words(0), _words(1))
