"""Reading the catalogue over HTTP, without any cache: lists of 24 products with their variants, details, filters."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, func, select, text

from benchmarks import load
from benchmarks.server import web_server
from commerce_core.catalog.models import VISIBLE, Product
from commerce_core.demo.bulk import load_bulk

SIZES = (1_000, 100_000)
CONNECTIONS = 32
# The fastest of the shop systems measured the same way on this kind of machine; see README.md.
PEER_LISTS_PER_SECOND = 71


def bench(console: Console, engine: Engine, url: str, config: Path, seconds: float) -> None:
    """Prints one table: answers a second and latencies, at 1,000 and at 100,000 products."""
    table = Table(title=f"Catalogue over HTTP, {CONNECTIONS} connections, no cache")
    for column in ("what", "products", "a second", f"x {PEER_LISTS_PER_SECOND}/s", "p50 ms", "p95", "p99", "answers"):
        table.add_column(column, justify="left" if column in ("what", "answers") else "right")
    for size in SIZES:
        load_bulk(engine, size, seed=1, now=datetime.now(UTC))
        with web_server(config, url, CACHE__ENABLED="false") as port:
            for name, requests in workloads(engine, size).items():
                result = load.run(port, requests, connections=CONNECTIONS, seconds=seconds)
                times = [f"{result.percentile(p):.1f}" for p in (50, 95, 99)]
                statuses = " ".join(f"{status}:{count}" for status, count in sorted(result.statuses.items()))
                ratio = f"{result.rate / PEER_LISTS_PER_SECOND:.1f}"
                table.add_row(name, f"{size:,}", f"{result.rate:,.0f}", ratio, *times, statuses)
    console.print(table)


def workloads(engine: Engine, size: int) -> dict[str, list[bytes]]:
    """Requests by what they measure; each list is drawn from at random."""
    chance = random.Random(size)
    with engine.connect() as connection:
        slugs = connection.scalars(select(Product.slug).where(text(VISIBLE)).order_by(func.random()).limit(500)).all()
        categories = connection.scalars(text("SELECT slug FROM category")).all()
    pages = [chance.randint(1, size // 24) for _ in range(500)]

    def lists(*queries: str) -> list[bytes]:
        return [load.request("GET", f"/api/v1/products?{query}") for query in queries]

    return {
        "list with variants, random page": lists(*(f"include=variants&page={page}" for page in pages)),
        "list with variants, first pages": lists(*(f"include=variants&page={page}" for page in range(1, 11))),
        "list, by price, in stock": lists(*(f"sort=price_asc&in_stock=true&page={page}" for page in range(1, 11))),
        "list, one category": lists(*(f"category={category}" for category in categories)),
        "detail": [load.request("GET", f"/api/v1/products/{slug}") for slug in slugs],
    }
