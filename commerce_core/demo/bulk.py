"""A large catalogue for measuring: invented by a seeded generator, loaded by COPY.

The same seed invents the same products, and what is there already is left alone, so an interrupted load can be
repeated. Each product has three variants; each variant with stock has the `receive` movement that explains it.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import resources
from typing import Any
from uuid import UUID

import orjson
import psycopg
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from commerce_core.catalog.models import Brand, Category
from commerce_core.catalog.service import create_brand, create_category
from commerce_core.database import uuid7
from commerce_core.demo.images import demo_image
from commerce_core.demo.words import slugify

BATCH = 2_000
CURRENCY = "USD"

_COPY_PRODUCT = """
COPY product (id, slug, name, description, status, category_id, brand_id, images, attributes, is_featured, popularity,
              published_at, created_at, updated_at, currency, price_amount, compare_at_amount, price_min, price_max,
              variant_count, facets, sellable_variants) FROM STDIN"""
_COPY_VARIANT = """
COPY variant (id, product_id, sku, name, currency, price_amount, compare_at_amount, cost_amount, attributes,
              weight_grams, position, is_default, created_at, updated_at) FROM STDIN"""
_COPY_LEVEL = "COPY stock_level (variant_id, on_hand, version) FROM STDIN"
_RECORD_RECEIPTS = """
INSERT INTO stock_movement (variant_id, version, kind, on_hand_delta, reserved_delta, on_hand_after, reserved_after,
                            actor, reason, created_at)
SELECT variant_id, 1, 'receive', on_hand, 0, on_hand, 0, 'demo', 'initial stock', %s
FROM stock_level WHERE variant_id = ANY(%s) AND on_hand > 0"""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A category that products are in, and what they are like there. Prices in whole dollars."""

    category_id: UUID
    nouns: Sequence[str]
    option: str
    lowest: int
    highest: int


@dataclass(frozen=True, slots=True)
class InventedVariant:
    """Amounts in US cents."""

    sku: str
    name: str
    price: int
    compare_at: int | None
    attributes: dict[str, str]
    weight_grams: int
    on_hand: int


@dataclass(frozen=True, slots=True)
class InventedProduct:
    slug: str
    name: str
    description: str
    status: str
    category_id: UUID
    brand_id: UUID
    attributes: dict[str, str]
    is_featured: bool
    popularity: int
    age: timedelta
    variants: list[InventedVariant]


class Inventor:
    """Makes up products. Each depends on the seed and its number only, not on those before it."""

    def __init__(self, seed: int, leaves: Sequence[Leaf], brands: dict[str, UUID], words: dict[str, Any]) -> None:
        self._seed = seed
        self._leaves = leaves
        self._brands = list(brands.items())
        self._words = words
        # A few brands and categories are much larger than the others, as in life.
        self._brand_weights = [1 / (place + 3) for place in range(len(self._brands))]
        self._leaf_weights = [1 / (place % 7 + 2) for place in range(len(leaves))]

    def product(self, number: int) -> InventedProduct:
        chance = random.Random(f"{self._seed}/{number}")
        words = self._words
        leaf = chance.choices(self._leaves, self._leaf_weights)[0]
        brand, brand_id = chance.choices(self._brands, self._brand_weights)[0]
        name = f"{brand} {chance.choice(words['lines'])} {chance.choice(leaf.nouns)}"
        attributes = {"material": chance.choice(words["materials"])}
        if leaf.option != "color":
            attributes["color"] = chance.choice(words["options"]["color"])
        slug = f"{slugify(name)}-{self._seed}-{number}"
        return InventedProduct(
            slug=slug,
            name=name,
            description=" ".join(chance.choice(words[part]) for part in ("openings", "middles", "closings")),
            status="active" if chance.random() < 0.98 else "draft",
            category_id=leaf.category_id,
            brand_id=brand_id,
            attributes=attributes,
            is_featured=chance.random() < 0.02,
            popularity=int(chance.paretovariate(1.2) * 10) % 1_000_000,
            age=timedelta(seconds=chance.randrange(3 * 365 * 86_400)),
            variants=self._variants(chance, leaf, number),
        )

    def _variants(self, chance: random.Random, leaf: Leaf, number: int) -> list[InventedVariant]:
        options = self._words["options"][leaf.option]
        first = chance.randrange(len(options) - 2)
        base = chance.randint(leaf.lowest, leaf.highest) * 100 - chance.choice((1, 5, 100))
        step = chance.choice((0, 0, 500, 1_000))
        sold_out = chance.random() < 0.08
        reduced = chance.random() < 0.25
        weight = chance.randrange(50, 5_000, 10)
        return [
            InventedVariant(
                sku=f"B{self._seed}-{number:07d}-{place + 1}",
                name=options[first + place],
                price=base + place * step,
                compare_at=(base + place * step) * 5 // 4 if reduced else None,
                attributes={leaf.option: options[first + place]},
                weight_grams=weight,
                on_hand=0 if sold_out or chance.random() < 0.1 else chance.randint(1, 500),
            )
            for place in range(3)
        ]


def load_bulk(
    engine: Engine, count: int, *, seed: int, now: datetime, progress: Callable[[int], object] = lambda done: None
) -> int:
    """Load `count` invented products and return how many were new. Commits every batch, then vacuums and analyzes.

    `progress` is told how many more are done after each batch. Locks `stock_level` against writers for the time of a
    batch: load into a shop that nobody is buying from.
    """
    words = vocabulary()
    with Session(engine) as session, session.begin():
        inventor = Inventor(seed, _ensure_leaves(session, words), _ensure_brands(session, words), words)
    loaded = 0
    for numbers in _batches(range(count)):
        products = [inventor.product(number) for number in numbers]
        with Session(engine) as session, session.begin():
            session.execute(text("SET LOCAL statement_timeout = 0"))
            connection = session.connection().connection.driver_connection
            assert isinstance(connection, psycopg.Connection)
            loaded += _load_batch(connection, products, now)
        progress(len(products))
    # Index-only scans need the visibility map, and the planner its statistics, now rather than at the next autovacuum.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as maintenance:
        maintenance.execute(text("SET statement_timeout = 0"))
        maintenance.execute(text("VACUUM (ANALYZE) category, brand, product, variant, stock_level, stock_movement"))
        maintenance.invalidate()  # do not lend out a connection without time-outs
    return loaded


def vocabulary() -> dict[str, Any]:
    """The words of vocabulary.toml."""
    return tomllib.loads(resources.files(__package__).joinpath("vocabulary.toml").read_text(encoding="utf-8"))


def _ensure_leaves(session: Session, words: dict[str, Any]) -> list[Leaf]:
    known = {category.slug: category for category in session.scalars(select(Category))}
    leaves = []
    for position, department in enumerate(words["departments"]):
        slug = slugify(department["name"])
        parent = known.get(slug) or create_category(session, slug=slug, name=department["name"], position=position)
        for place, leaf in enumerate(department["leaves"]):
            leaf_slug = f"{slug}-{slugify(leaf['name'])}"
            category = known.get(leaf_slug) or create_category(
                session, slug=leaf_slug, name=leaf["name"], parent=parent, position=place
            )
            leaves.append(Leaf(category.id, leaf["nouns"], leaf["option"], *leaf["prices"]))
    return leaves


def _ensure_brands(session: Session, words: dict[str, Any]) -> dict[str, UUID]:
    known = {brand.slug: brand for brand in session.scalars(select(Brand))}
    return {
        name: (known.get(slugify(name)) or create_brand(session, slug=slugify(name), name=name)).id
        for name in words["brands"]
    }


def _load_batch(connection: psycopg.Connection[Any], products: list[InventedProduct], now: datetime) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT slug FROM product WHERE slug = ANY(%s)", ([product.slug for product in products],))
        known = {slug for (slug,) in cursor}
        new = [(uuid7(), product) for product in products if product.slug not in known]
        variants = [
            (uuid7(), product_id, place, variant)
            for product_id, product in new
            for place, variant in enumerate(product.variants)
        ]
        with cursor.copy(_COPY_PRODUCT) as copy:
            for product_id, product in new:
                copy.write_row(_product_row(product_id, product, now))
        with cursor.copy(_COPY_VARIANT) as copy:
            for variant_id, product_id, place, variant in variants:
                copy.write_row(_variant_row(variant_id, product_id, place, variant, now))
        # The trigger would count sellable variants one by one, which takes minutes; the product rows above carry the
        # right count already.
        cursor.execute("ALTER TABLE stock_level DISABLE TRIGGER sellable_added_or_removed")
        with cursor.copy(_COPY_LEVEL) as copy:
            for variant_id, _, _, variant in variants:
                copy.write_row((variant_id, variant.on_hand, 1 if variant.on_hand else 0))
        cursor.execute("ALTER TABLE stock_level ENABLE TRIGGER sellable_added_or_removed")
        cursor.execute(_RECORD_RECEIPTS, (now, [variant_id for variant_id, *_ in variants]))
    return len(new)


def _product_row(product_id: UUID, product: InventedProduct, now: datetime) -> tuple[Any, ...]:
    """The product with the summary that `refresh_summaries` would compute, which a test compares."""
    prices = [variant.price for variant in product.variants]
    made_at = now - product.age
    return (
        product_id,
        product.slug,
        product.name,
        product.description,
        product.status,
        product.category_id,
        product.brand_id,
        orjson.dumps([demo_image(product.slug, product.name)]).decode(),
        orjson.dumps(product.attributes).decode(),
        product.is_featured,
        product.popularity,
        made_at,
        made_at,
        made_at,
        CURRENCY,
        prices[0],
        product.variants[0].compare_at,
        min(prices),
        max(prices),
        len(prices),
        orjson.dumps(_facets(product)).decode(),
        sum(variant.on_hand > 0 for variant in product.variants),
    )


def _facets(product: InventedProduct) -> dict[str, list[str]]:
    facets: dict[str, set[str]] = {}
    for attributes in (product.attributes, *(variant.attributes for variant in product.variants)):
        for name, value in attributes.items():
            facets.setdefault(name, set()).add(value)
    return {name: sorted(values) for name, values in facets.items()}


def _variant_row(
    variant_id: UUID, product_id: UUID, place: int, variant: InventedVariant, now: datetime
) -> tuple[Any, ...]:
    return (
        variant_id,
        product_id,
        variant.sku,
        variant.name,
        CURRENCY,
        variant.price,
        variant.compare_at,
        variant.price * 3 // 5,
        orjson.dumps(variant.attributes).decode(),
        variant.weight_grams,
        place,
        place == 0,
        now,
        now,
    )


def _batches(numbers: range) -> Iterator[Sequence[int]]:
    return (numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH))
