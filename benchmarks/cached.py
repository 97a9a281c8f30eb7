"""The catalogue over HTTP by where its answers come from: the database, the process, Redis, or nowhere (304)."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import urlopen

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, select, text

from benchmarks import load
from benchmarks.server import web_server
from commerce_core.catalog.models import VISIBLE, Product
from commerce_core.demo.bulk import load_bulk
from commerce_core.testing.redis import RedisServer, redis_program

PRODUCTS = 1_000
CONNECTIONS = 32


def bench(console: Console, engine: Engine, url: str, config: Path, seconds: float) -> None:
    """Prints one table; every row is divided by the same without a cache."""
    load_bulk(engine, PRODUCTS, seed=1, now=datetime.now(UTC))
    paths = _paths(engine)
    table = Table(title=f"Catalogue out of the cache, {PRODUCTS:,} products, {CONNECTIONS} connections")
    for column in ("what", "answered by", "a second", "x no cache", "p50 ms", "p95", "p99", "answers"):
        table.add_column(column, justify="left" if column in ("what", "answered by", "answers") else "right")
    without: dict[str, float] = {}

    def measure(source: str, requests: dict[str, list[bytes]], port: int) -> None:
        for what, chosen in requests.items():
            result = load.run(port, chosen, connections=CONNECTIONS, seconds=seconds)
            rate = without.setdefault(what, result.rate)
            times = [f"{result.percentile(p):.1f}" for p in (50, 95, 99)]
            statuses = " ".join(f"{status}:{count}" for status, count in sorted(result.statuses.items()))
            table.add_row(what, source, f"{result.rate:,.0f}", f"{result.rate / rate:.1f}", *times, statuses)

    plain = {what: [load.request("GET", path) for path in chosen] for what, chosen in paths.items()}
    with web_server(config, url, CACHE__ENABLED="false") as port:
        measure("database", plain, port)
    with web_server(config, url) as port:
        measure("process", plain, port)
        known = {
            what: [load.request("GET", path, headers=[f"If-None-Match: {_etag(port, path)}"]) for path in chosen]
            for what, chosen in paths.items()
        }
        measure("process, as 304", known, port)
    program = redis_program()
    if program is not None:
        with tempfile.TemporaryDirectory(prefix="commerce-bench-redis-") as folder:
            server = RedisServer(program, Path(folder))
            try:
                with web_server(config, url, REDIS__URL=server.url, CACHE__LOCAL_ENTRIES="0") as port:
                    measure("Redis alone", plain, port)
            finally:
                server.stop()
    console.print(table)


def _paths(engine: Engine) -> dict[str, list[str]]:
    with engine.connect() as connection:
        slugs = connection.scalars(select(Product.slug).where(text(VISIBLE)).order_by(Product.id).limit(200)).all()
    return {
        "list of 24 with variants": [f"/api/v1/products?include=variants&page={page}" for page in range(1, 11)],
        "detail": [f"/api/v1/products/{slug}" for slug in slugs],
    }


def _etag(port: int, path: str) -> str:
    with urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        return str(answer.headers["ETag"])
