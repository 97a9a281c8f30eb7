"""What is for sale: categories, brands, products and their variants.

A product carries a summary of its variants (`price_amount`, `facets` ...), so that every list, filter and sort is
served by an index on one table. `service.refresh_summaries` writes it; call it after changing variants.
`sellable_variants` is the exception: a trigger on `stock_level` keeps it in the transaction that moves the stock.
`version` counts the edits of a row: it is what the ETag of a resource says to staff.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from commerce_core.database import Base, Currency, Id, MinorUnits, one_of

# What a guest may see: published, and with a price (so with a variant). The partial indexes below use the same words,
# so a query must, too.
VISIBLE = "status = 'active' AND deleted_at IS NULL AND published_at IS NOT NULL AND price_amount IS NOT NULL"


class Category(Base):
    """A node of the category tree."""

    __tablename__ = "category"

    id: Mapped[Id]
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("category.id"), index=True)
    slug: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, default="", server_default="")
    position: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    version: Mapped[int] = mapped_column(Integer, default=1, server_default="1")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Brand(Base):
    """Who makes it."""

    __tablename__ = "brand"

    id: Mapped[Id]
    slug: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(Integer, default=1, server_default="1")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


def _list_index(name: str, *keys: str, carried: Sequence[str] = ()) -> Index:
    """An index that a list can be read from alone, whatever it is filtered and sorted by (attributes excepted).

    It carries every column that needs; without them, each row that is skipped or counted would be fetched from the
    table, which costs up to ten times as much.
    """
    needed = (
        "category_id",
        "brand_id",
        "price_amount",
        "published_at",
        "popularity",
        "is_featured",
        "sellable_variants",
    )
    ordered_by = {key.removesuffix(" DESC") for key in keys}
    return Index(
        f"ix_product_{name}",
        *(key if key.isidentifier() else text(key) for key in keys),
        postgresql_include=[*carried, *(column for column in needed if column not in ordered_by)],
        postgresql_where=text(VISIBLE),
    )


class Product(Base):
    """What a shopper looks at; sold as one of its variants."""

    __tablename__ = "product"
    # Which list is read from which index: docs/catalogue.md.
    __table_args__ = (
        one_of("status", "draft", "active", "archived"),
        CheckConstraint("char_length(tax_class) BETWEEN 1 AND 50", name="tax_class"),
        Index("ix_product_newest", text("published_at DESC"), text("id DESC"), postgresql_where=text(VISIBLE)),
        _list_index("price", "price_amount", "id"),
        # The name itself is carried, because PostgreSQL does not read it back out of lower(name).
        _list_index("name", "lower(name)", "id", carried=["name"]),
        _list_index("popular", "popularity DESC", "id DESC"),
        _list_index("category", "category_id", "published_at DESC", "id DESC"),
        _list_index("brand", "brand_id", "published_at DESC", "id DESC"),
        Index(
            "ix_product_featured",
            text("published_at DESC"),
            text("id DESC"),
            postgresql_where=text(f"is_featured AND {VISIBLE}"),
        ),
        Index(
            "ix_product_in_stock",
            text("published_at DESC"),
            text("id DESC"),
            postgresql_where=text(f"sellable_variants > 0 AND {VISIBLE}"),
        ),
        Index("ix_product_facets", "facets", postgresql_using="gin", postgresql_ops={"facets": "jsonb_path_ops"}),
    )

    id: Mapped[Id]
    slug: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, default="", server_default="")
    status: Mapped[str] = mapped_column(Text, default="draft", server_default="draft")
    category_id: Mapped[UUID | None] = mapped_column(ForeignKey("category.id"))
    brand_id: Mapped[UUID | None] = mapped_column(ForeignKey("brand.id"))
    images: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    attributes: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    is_featured: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    popularity: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    tax_class: Mapped[str] = mapped_column(Text, default="standard", server_default="standard")
    version: Mapped[int] = mapped_column(Integer, default=1, server_default="1")
    published_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())

    # The summary of its variants.
    currency: Mapped[Currency | None]
    price_amount: Mapped[MinorUnits | None]
    compare_at_amount: Mapped[MinorUnits | None]
    price_min: Mapped[MinorUnits | None]
    price_max: Mapped[MinorUnits | None]
    variant_count: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    facets: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    sellable_variants: Mapped[int] = mapped_column(Integer, default=0, server_default="0")

    category: Mapped[Category | None] = relationship()
    brand: Mapped[Brand | None] = relationship()
    variants: Mapped[list[Variant]] = relationship(back_populates="product", order_by="Variant.position, Variant.id")


class Variant(Base):
    """The thing sold. Prices are whole minor units of `currency`."""

    __tablename__ = "variant"
    __table_args__ = (
        CheckConstraint("price_amount >= 0", name="price_not_negative"),
        Index("ix_variant_product_id", "product_id", "position", "id"),
        Index(
            "uq_variant_default",
            "product_id",
            unique=True,
            postgresql_where=text("is_default AND deleted_at IS NULL"),
        ),
    )

    id: Mapped[Id]
    product_id: Mapped[UUID] = mapped_column(ForeignKey("product.id"))
    sku: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text)
    currency: Mapped[Currency]
    price_amount: Mapped[MinorUnits]
    compare_at_amount: Mapped[MinorUnits | None]
    cost_amount: Mapped[MinorUnits | None]
    attributes: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    weight_grams: Mapped[int | None]
    position: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    is_default: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    version: Mapped[int] = mapped_column(Integer, default=1, server_default="1")
    deleted_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())

    product: Mapped[Product] = relationship(back_populates="variants")
