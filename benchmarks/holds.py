"""Holds a second on one hot variant: PostgreSQL's own limit, then ours over HTTP, by mode and connections."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text

from benchmarks import load, pgbench
from benchmarks.server import web_server
from commerce_core.catalog.service import add_variant, create_product
from commerce_core.database import transaction, uuid7
from commerce_core.stock.service import receive_stock

PLENTY = 1_000_000_000


def new_variant(engine: Engine, stock: int) -> UUID:
    with transaction(engine) as session:
        product = create_product(session, slug=f"hot-{uuid7()}", name="Hot", now=datetime.now(UTC))
        variant = add_variant(session, product, sku=f"HOT-{uuid7()}", price_amount=9_999)
        if stock:
            receive_stock(session, variant.id, stock, now=datetime.now(UTC))
        return variant.id


def hold_request(variant_id: UUID) -> bytes:
    return load.request("POST", "/api/v1/holds", json.dumps({"variant_id": str(variant_id), "quantity": 1}).encode())


def bench(console: Console, engine: Engine, url: str, config: Path, seconds: float) -> None:
    """Prints one table; every row is divided by pgbench's one statement at 32 clients of the same run."""
    rows: list[tuple[str, str, float, load.Result | None]] = []

    def fresh() -> UUID:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE stock_level"))
            connection.execute(text("CHECKPOINT"))
        return new_variant(engine, PLENTY)

    for name, script in (("lock, read, write, commit", pgbench.CLASSIC), ("one statement", pgbench.ONE_STATEMENT)):
        for clients in (1, 8, 32):
            rate = pgbench.holds_per_second(url, script, fresh(), clients=clients, seconds=int(seconds))
            rows.append((f"pgbench: {name}", str(clients), rate, None))
    modes = (("default mode", "false"), ("hot mode", "true"))
    for name, hot in modes:
        with web_server(config, url, STOCK__HOT_MODE=hot) as port:
            for connections in (1, 32, 128):
                result = load.run(port, [hold_request(fresh())], connections=connections, seconds=seconds)
                rows.append((f"HTTP hold, {name}", str(connections), result.rate, result))
            sold_out = load.run(port, [hold_request(new_variant(engine, 0))], connections=64, seconds=seconds)
            rows.append((f"HTTP sold out, {name}", "64", sold_out.rate, sold_out))
            if hot == "true":
                alive = load.run(port, [load.request("GET", "/healthz")], connections=64, seconds=seconds)
                rows.append(("HTTP /healthz (no database)", "64", alive.rate, alive))

    classic = next(rate for name, clients, rate, _ in rows if "lock" in name and clients == "32")
    single = next(rate for name, clients, rate, _ in rows if "one statement" in name and clients == "32")
    table = Table(title="Holds on one hot variant")
    for column in ("what", "clients", "a second", "x classic@32", "x one stmt@32", "p50 ms", "p95", "p99", "answers"):
        table.add_column(column, justify="left" if column in ("what", "answers") else "right")
    for name, clients, rate, result in rows:
        shown = [f"{result.percentile(p):.1f}" for p in (50, 95, 99)] if result else ["", "", ""]
        statuses = " ".join(f"{status}:{count}" for status, count in sorted(result.statuses.items())) if result else ""
        ratios = f"{rate / classic:.2f}", f"{rate / single:.2f}"
        table.add_row(name, clients, f"{rate:,.0f}", *ratios, *shown, statuses)
    console.print(table)
