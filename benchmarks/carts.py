"""Carts and checkouts a second over HTTP."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, insert

from benchmarks import load
from benchmarks.holds import PLENTY, new_variant
from benchmarks.server import web_server
from commerce_core.accounts.policy import owner_of_cart_token
from commerce_core.carts.models import Cart, CartLine
from commerce_core.database import transaction, uuid7

VARIANTS = 300
CUSTOMER = {"email": "ada@example.com", "name": "Ada Lovelace"}
ADDRESS = {"name": "Ada Lovelace", "line1": "27 Long Acre", "city": "London", "country": "GB"}


def filled_carts(engine: Engine, variants: list[UUID], number: int, lines: int) -> list[str]:
    """The tokens of so many guests' carts with so many lines each."""
    tokens = [f"guest-of-the-benchmark-{uuid7()}" for _ in range(number)]
    now = datetime.now(UTC)
    carts = [
        {
            "id": uuid7(),
            "owner": owner_of_cart_token(token),
            "state": "active",
            "currency": "USD",
            "coupons": [],
            "expires_at": now + timedelta(days=1),
            "created_at": now,
            "updated_at": now,
        }
        for token in tokens
    ]
    rows = [
        {
            "id": uuid7(),
            "cart_id": cart["id"],
            "variant_id": variants[(place * lines + line) % len(variants)],
            "quantity": 1,
            "unit_price": 9_999,
            "created_at": now,
        }
        for place, cart in enumerate(carts)
        for line in range(lines)
    ]
    with transaction(engine) as session:
        session.execute(insert(Cart), carts)
        session.execute(insert(CartLine), rows)
    return tokens


def bench(console: Console, engine: Engine, url: str, config: Path, seconds: float) -> None:
    """Prints one table. Each cart is checked out once; those drawn twice are refused, and not counted."""
    variants = [new_variant(engine, PLENTY) for _ in range(VARIANTS)]
    new_carts = [
        load.request("POST", "/api/v1/cart/lines", json.dumps({"variant_id": str(variant), "quantity": 1}).encode())
        for variant in variants
    ]
    body = json.dumps({"cart": True, "customer": CUSTOMER, "shipping_address": ADDRESS}).encode()

    def checkouts(lines: int) -> list[bytes]:
        tokens = filled_carts(engine, variants, int(seconds + 1) * 1_500, lines)
        return [load.request("POST", "/api/v1/orders", body, [f"X-Cart-Token: {token}"]) for token in tokens]

    def reads(lines: int) -> list[bytes]:
        tokens = filled_carts(engine, variants, 500, lines)
        return [load.request("GET", "/api/v1/cart", headers=[f"X-Cart-Token: {token}"]) for token in tokens]

    parts = {
        "new cart with one line": new_carts,
        "read a cart of 3 lines": reads(3),
        "read a cart of 20 lines": reads(20),
        "check out a cart of 3 lines": checkouts(3),
        "check out a cart of 20 lines": checkouts(20),
    }
    table = Table(title="Carts")
    for column in ("what", "connections", "a second", "p50 ms", "p95", "p99", "answers"):
        table.add_column(column, justify="left" if column in ("what", "answers") else "right")
    with web_server(config, url) as port:
        for what, requests in parts.items():
            result = load.run(port, requests, connections=16, seconds=seconds)
            done = sum(count for status, count in result.statuses.items() if status < 300) / result.seconds
            statuses = " ".join(f"{status}:{count}" for status, count in sorted(result.statuses.items()))
            shown = [f"{result.percentile(percent):.1f}" for percent in (50, 95, 99)]
            table.add_row(what, "16", f"{done:,.0f}", *shown, statuses)
    console.print(table)
