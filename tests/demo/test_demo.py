"""Demo data: a small shop, and a large invented catalogue."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session
from webtest import TestApp

from commerce_core.catalog.models import Product, Variant
from commerce_core.catalog.service import refresh_summaries
from commerce_core.clock import Clock
from commerce_core.database import Base
from commerce_core.demo.bulk import load_bulk
from commerce_core.demo.commands import demo
from commerce_core.demo.images import draw
from commerce_core.demo.words import slugify
from commerce_core.stock.models import StockLevel
from commerce_core.testing import assert_stock_adds_up

SUMMARIES = text("""
SELECT slug, currency, price_amount, compare_at_amount, price_min, price_max, variant_count, facets, sellable_variants
FROM product ORDER BY slug""")
SELLABLE = text("""
SELECT product.slug, count(*) FILTER (WHERE policy = 'ignore' OR allow_backorder OR on_hand > reserved)
FROM product JOIN variant ON product_id = product.id JOIN stock_level ON variant_id = variant.id
GROUP BY product.slug ORDER BY product.slug""")


@pytest.fixture
def config(tmp_path: Path, database_url: str, engine: Engine) -> str:
    """The .ini file of the database under test."""
    path = tmp_path / "shop.ini"
    url = database_url.replace("%", "%%")
    path.write_text(
        f"[app:main]\nuse = egg:commerce-core\ncommerce.environment = development\nsqlalchemy.url = {url}\n"
    )
    return str(path)


def load(config: str, *options: str) -> str:
    result = CliRunner().invoke(demo, ["load", config, *options], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def everything(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return [
            connection.execute(table.select().order_by(*table.primary_key)).all()
            for table in Base.metadata.sorted_tables
        ]


def test_the_shop_is_believable(config: str, client: TestApp) -> None:
    assert "30 products" in load(config)
    products = client.get("/api/v1/products?per_page=100&include=variants").json
    assert products["meta"]["total"] == 30
    stocks = [variant["stock"] for product in products["data"] for variant in product["variants"]]
    assert any(stock["low"] for stock in stocks)
    assert any(not stock["in_stock"] for stock in stocks)
    assert any(stock["available"] is None for stock in stocks)
    assert any(stock["available"] == 0 and stock["in_stock"] for stock in stocks)
    assert any(product["discount_percentage"] for product in products["data"])
    assert all(product["description"] and product["images"][0]["alt"] for product in products["data"])
    assert len(client.get("/api/v1/categories").json["data"]) == 6


def test_the_flash_sale_item_is_a_hundred_pieces(config: str, client: TestApp) -> None:
    load(config)
    product = client.get("/api/v1/products/limited-edition-flash-sale-item").json
    assert (product["price"]["amount"], product["currency"], product["is_featured"]) == (9999, "USD", True)
    (variant,) = product["variants"]
    assert (variant["sku"], variant["stock"]["available"]) == ("FLASH-001", 100)


def test_loading_again_changes_nothing(config: str, engine: Engine) -> None:
    load(config)
    before = everything(engine)
    assert "already" in load(config)
    assert everything(engine) == before
    assert_stock_adds_up(engine)


def test_if_empty_leaves_a_shop_with_products_alone(config: str, engine: Engine) -> None:
    load(config, "--products", "1")
    before = everything(engine)
    assert "nothing was loaded" in load(config, "--if-empty")
    assert everything(engine) == before


def test_a_bulk_load_is_complete_and_adds_up(config: str, engine: Engine, client: TestApp) -> None:
    load(config, "--products", "250")
    with engine.connect() as connection:
        counts = [
            connection.execute(select(func.count()).select_from(kind)).scalar_one()
            for kind in (Product, Variant, StockLevel)
        ]
        assert counts == [250, 750, 750]
        summaries = connection.execute(SUMMARIES).all()
        sellable = connection.execute(SELLABLE).all()
    assert [(row.slug, row.sellable_variants) for row in summaries] == [tuple(row) for row in sellable]
    assert_stock_adds_up(engine)
    assert 200 < client.get("/api/v1/products").json["meta"]["total"] <= 250


def test_a_bulk_load_writes_the_summaries_that_the_service_would(engine: Engine) -> None:
    load_bulk(engine, 100, seed=1, now=Clock().now())
    with Session(engine) as session:
        before = session.execute(SUMMARIES).all()
        refresh_summaries(session, session.scalars(select(Product.id)))
        assert session.execute(SUMMARIES).all() == before


def test_after_a_bulk_load_the_trigger_counts_again(config: str, engine: Engine) -> None:
    load(config, "--products", "5")
    with engine.connect() as connection:
        states = connection.execute(text("SELECT tgenabled FROM pg_trigger WHERE tgname LIKE 'sellable%'")).scalars()
        assert set(states) == {"O"}


def test_the_same_seed_invents_the_same_products(engine: Engine) -> None:
    now = Clock().now()
    assert load_bulk(engine, 20, seed=7, now=now) == 20
    with engine.connect() as connection:
        before = connection.execute(SUMMARIES).all()
    assert load_bulk(engine, 30, seed=7, now=now) == 10
    assert load_bulk(engine, 30, seed=7, now=now) == 0
    with engine.connect() as connection:
        assert set(map(str, before)) <= set(map(str, connection.execute(SUMMARIES)))


def test_progress_is_told(engine: Engine) -> None:
    told: list[int] = []
    load_bulk(engine, 30, seed=1, now=Clock().now(), progress=told.append)
    assert sum(told) == 30


def test_a_picture_escapes_what_it_is_given() -> None:
    drawn = draw('"><script>-x')
    assert "<script>" not in drawn
    assert draw("a") == draw("a") != draw("b")


def test_a_picture_shows_what_the_product_is_or_else_its_initials() -> None:
    shop = tomllib.loads(resources.files("commerce_core.demo").joinpath("shop.toml").read_text(encoding="utf-8"))
    assert [slug for product in shop["products"] if "<text" in draw(slug := slugify(product["name"]))] == []
    assert ">QU</text>" in draw("quite-unheard-of")
