"""The demo shop of shop.toml: thirty products that show what the catalogue and the stock room can do."""

from __future__ import annotations

import tomllib
from datetime import datetime, timedelta
from importlib import resources
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from commerce_core.catalog.models import Brand, Category, Product, Variant
from commerce_core.catalog.service import add_variant, create_brand, create_category, create_product
from commerce_core.demo.images import demo_image
from commerce_core.demo.words import slugify
from commerce_core.stock.service import receive_stock

CURRENCY = "USD"
ACTOR = "demo"


def load_shop(session: Session, *, now: datetime) -> int:
    """Add what is missing of the demo shop, by slug and SKU, and return how many products are new.

    What is there already is left as it is, stock included. Locks the stock levels that it fills; does not commit.
    """
    shop = tomllib.loads(resources.files(__package__).joinpath("shop.toml").read_text(encoding="utf-8"))
    categories = _load_categories(session, shop["categories"])
    brands = _load_brands(session, shop["brands"])
    known_products = {product.slug: product for product in session.scalars(select(Product))}
    known_skus = set(session.scalars(select(Variant.sku)))
    new = 0
    for place, told in enumerate(shop["products"]):
        slug = slugify(told["name"])
        product = known_products.get(slug)
        if product is None:
            new += 1
            product = create_product(
                session,
                slug=slug,
                name=told["name"],
                description=told["description"],
                category=categories.get(told.get("category")),
                brand=brands.get(told.get("brand")),
                images=[demo_image(slug, told["name"])],
                attributes=told.get("attributes"),
                is_featured=told.get("featured", False),
                popularity=told["popularity"],
                published_at=now - timedelta(hours=place),  # the first one of the file is the newest
                now=now,
            )
        for variant in told["variants"]:
            if variant["sku"] not in known_skus:
                _load_variant(session, product, told, variant, now)
    return new


def _load_categories(session: Session, told: list[dict[str, Any]]) -> dict[str | None, Category]:
    """By name. The slug of a child is its own name's."""
    known = {category.slug: category for category in session.scalars(select(Category))}
    categories: dict[str | None, Category] = {}

    def ensure(name: str, parent: Category | None, description: str, position: int) -> Category:
        slug = slugify(name)
        categories[name] = known.get(slug) or create_category(
            session, slug=slug, name=name, parent=parent, description=description, position=position
        )
        return categories[name]

    for position, category in enumerate(told):
        parent = ensure(category["name"], None, category["description"], position)
        for place, child in enumerate(category.get("children", ())):
            ensure(child, parent, "", place)
    return categories


def _load_brands(session: Session, names: list[str]) -> dict[str | None, Brand]:
    """By name."""
    known = {brand.slug: brand for brand in session.scalars(select(Brand))}
    return {name: known.get(slugify(name)) or create_brand(session, slug=slugify(name), name=name) for name in names}


def _load_variant(
    session: Session, product: Product, told: dict[str, Any], variant: dict[str, Any], now: datetime
) -> None:
    added = add_variant(
        session,
        product,
        sku=variant["sku"],
        name=variant["name"],
        currency=CURRENCY,
        price_amount=variant.get("price", told["price"]),
        compare_at_amount=told.get("compare_at"),
        attributes=variant.get("attributes"),
        weight_grams=variant.get("weight"),
        is_default=_is_default(told, variant),
        track_stock=variant.get("policy", "track") == "track",
        allow_backorder=variant.get("backorder", False),
    )
    if variant.get("stock", 0):
        receive_stock(session, added.id, variant["stock"], now=now, actor=ACTOR, reason="initial stock")


def _is_default(told: dict[str, Any], variant: dict[str, Any]) -> bool:
    """The variant that says so, else the first."""
    default = next((v for v in told["variants"] if v.get("default")), told["variants"][0])
    return bool(variant["sku"] == default["sku"])
