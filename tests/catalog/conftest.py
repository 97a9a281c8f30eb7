"""A small catalogue, made for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from commerce_core.catalog.models import Brand, Category, Product
from commerce_core.catalog.service import add_variant, create_brand, create_category, create_product
from commerce_core.database import transaction
from commerce_core.stock.service import receive_stock
from commerce_core.testing import StoppedClock


@pytest.fixture
def make_product(engine: Engine, clock: StoppedClock) -> Callable[..., Product]:
    """`make_product("tee", price=1500, stock=3, category="shirts", brand="acme", days_old=2, ...)`, committed.

    `variants` overrides the one variant by several: each the arguments of `add_variant`, and `stock`.
    """

    def make(
        slug: str,
        *,
        price: int = 1_000,
        stock: int = 10,
        category: str | None = None,
        brand: str | None = None,
        days_old: float = 0,
        variants: Sequence[Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> Product:
        with transaction(engine) as session:
            product = create_product(
                session,
                slug=slug,
                name=options.pop("name", slug.title()),
                category=_find(session, Category, category),
                brand=_find(session, Brand, brand),
                published_at=clock.now() - timedelta(days=days_old),
                now=clock.now(),
                **options,
            )
            for place, given in enumerate([{"stock": stock}] if variants is None else variants):
                variant = {"sku": f"{slug}-{place}".upper(), "price_amount": price, **given}
                units = variant.pop("stock", 0)
                added = add_variant(session, product, **variant)
                if units:
                    receive_stock(session, added.id, units, now=clock.now())
            session.refresh(product)
            session.expunge(product)
        return product

    return make


def _find(session: Session, kind: type[Any], slug: str | None) -> Any:
    return None if slug is None else session.scalars(select(kind).where(kind.slug == slug)).one()


@pytest.fixture
def shop(engine: Engine, make_product: Callable[..., Product]) -> None:
    """Clothing (with shirts, with tees below them), and garden; from newest to oldest: tee, shirt, coat, rake, hose."""
    with transaction(engine) as session:
        clothing = create_category(session, slug="clothing", name="Clothing", position=1)
        shirts = create_category(session, slug="shirts", name="Shirts", parent=clothing)
        create_category(session, slug="tees", name="Tees", parent=shirts)
        create_category(session, slug="garden", name="Garden", position=0)
        create_brand(session, slug="acme", name="Acme")
        create_brand(session, slug="bolt", name="Bolt")
    make_product(
        "tee",
        category="tees",
        brand="acme",
        days_old=1,
        popularity=5,
        attributes={"material": "cotton"},
        variants=[
            {"price_amount": 1_500, "attributes": {"color": "red", "size": "M"}, "stock": 4},
            {"price_amount": 1_700, "attributes": {"color": "blue", "size": "M"}, "stock": 0},
        ],
    )
    make_product(
        "shirt",
        category="shirts",
        brand="bolt",
        days_old=2,
        popularity=9,
        price=4_000,
        is_featured=True,
        attributes={"material": "linen", "color": ["blue", "green"]},
    )
    make_product("coat", category="clothing", brand="acme", days_old=3, price=9_000, stock=0, popularity=1)
    make_product("rake", category="garden", brand="bolt", days_old=4, price=2_500, is_featured=True, popularity=7)
    make_product("hose", days_old=5, price=2_500, popularity=3, stock=2)
