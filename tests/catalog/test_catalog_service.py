"""How products and variants come to be, and what a product says about its variants."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from commerce_core.catalog import queries
from commerce_core.catalog.models import Product, Variant
from commerce_core.catalog.rows import ProductRow, VariantRow
from commerce_core.catalog.service import add_variant, create_category, refresh_summaries
from commerce_core.stock.models import StockLevel


def test_the_first_variant_is_the_default_and_sets_the_price(make_product: Callable[..., Product]) -> None:
    product = make_product("tee", variants=[{"price_amount": 2_000, "compare_at_amount": 2_500}, {"price_amount": 1}])
    assert (product.price_amount, product.compare_at_amount, product.currency) == (2_000, 2_500, "USD")
    assert (product.price_min, product.price_max, product.variant_count) == (1, 2_000, 2)


def test_another_variant_can_be_the_default(make_product: Callable[..., Product]) -> None:
    product = make_product(
        "tee", variants=[{"price_amount": 2_000, "is_default": False}, {"price_amount": 1_000, "is_default": True}]
    )
    assert product.price_amount == 1_000


def test_a_product_has_one_default_at_most(make_product: Callable[..., Product]) -> None:
    with pytest.raises(IntegrityError, match="uq_variant_default"):
        make_product("tee", variants=[{"is_default": True}, {"is_default": True}])


def test_every_variant_has_a_level_from_the_start(make_product: Callable[..., Product], db: Session) -> None:
    make_product("tee", variants=[{"low_stock_threshold": 2, "allow_backorder": True}])
    level = db.scalars(select(StockLevel)).one()
    assert (level.on_hand, level.reserved, level.version, level.policy) == (0, 0, 0, "track")
    assert (level.low_stock_threshold, level.allow_backorder) == (2, True)


def test_facets_merge_the_attributes_of_product_and_variants(make_product: Callable[..., Product]) -> None:
    product = make_product(
        "tee",
        attributes={"material": "cotton", "color": ["red", "blue"], "organic": True, "nothing": None, "none": []},
        variants=[{"attributes": {"color": "red", "size": 42}}, {"attributes": {"color": "green", "size": 44}}],
    )
    assert product.facets == {
        "material": ["cotton"],
        "color": ["blue", "green", "red"],
        "organic": ["true"],
        "size": ["42", "44"],
    }


def test_a_deleted_variant_no_longer_counts(make_product: Callable[..., Product], db: Session, clock: object) -> None:
    product = db.merge(
        make_product("tee", variants=[{"price_amount": 500, "attributes": {"color": "red"}}, {"price_amount": 900}])
    )
    default = db.scalars(select(Variant).where(Variant.is_default)).one()
    default.deleted_at = product.created_at
    refresh_summaries(db, [product.id])
    assert (product.price_amount, product.price_min, product.variant_count, product.facets) == (900, 900, 1, {})


def test_without_variants_a_product_has_no_price(make_product: Callable[..., Product], db: Session) -> None:
    product = db.merge(make_product("tee"))
    for variant in db.scalars(select(Variant)):
        variant.deleted_at = product.created_at
    refresh_summaries(db, [product.id])
    assert (product.price_amount, product.currency, product.variant_count) == (None, None, 0)


def test_only_prices_of_the_displayed_currency_make_the_range(make_product: Callable[..., Product]) -> None:
    product = make_product("tee", variants=[{"price_amount": 500}, {"price_amount": 90, "currency": "EUR"}])
    assert (product.currency, product.price_min, product.price_max) == ("USD", 500, 500)


def test_summaries_of_other_products_are_left_alone(make_product: Callable[..., Product], db: Session) -> None:
    first, second = (db.merge(make_product(slug, price=500)) for slug in ("first", "second"))
    for variant in db.scalars(select(Variant)):
        variant.price_amount = 700
    refresh_summaries(db, [first.id])
    db.refresh(second)
    assert (first.price_amount, second.price_amount) == (700, 500)


def test_a_taken_slug_or_sku_is_refused(make_product: Callable[..., Product], db: Session) -> None:
    product = db.merge(make_product("tee"))
    create_category(db, slug="clothing", name="Clothing")
    with pytest.raises(IntegrityError, match="uq_variant_sku"), db.begin_nested():
        add_variant(db, product, sku="TEE-0", price_amount=1)
    with pytest.raises(IntegrityError, match="uq_category_slug"), db.begin_nested():
        create_category(db, slug="clothing", name="Other")


def test_rows_name_the_columns_of_their_queries() -> None:
    for row, query, start, end in (
        (ProductRow, queries._PRODUCTS_BY_IDS, "SELECT", "FROM"),
        (VariantRow, queries._VARIANTS, "json_build_array(", ") ORDER"),
    ):
        selected = query.text.split(start, 1)[1].split(end, 1)[0]
        names = tuple(column.split()[-1].split(".")[-1] for column in selected.split(","))
        assert names == row._fields
