"""What five plugins that implement every runtime hook add to a hold and to an order.

Two shops in one process, one of them with the plugins, are asked in turn and without HTTP, so that whatever else the
machine does happens to both alike. The plugins look at what they are given, and ask the database nothing: what is
measured is the host.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine
from webob import Request

from benchmarks.holds import PLENTY, new_variant
from commerce_core.application import close, make_application
from commerce_core.testing import make_settings

NAMES = ("alpha", "bravo", "charlie", "delta", "echo")
HOOKS = """
from commerce_core.plugin import hookimpl


@hookimpl
def commerce_authenticate(ctx):
    return None if ctx.request.environ.get("HTTP_X_API_KEY") is None else ctx


@hookimpl
def commerce_principals(ctx):
    return ["anybody"]


@hookimpl
def commerce_hold_duration(ctx, lines):
    return None if all(line.quantity < 100 for line in lines) else ctx


@hookimpl
def commerce_validate_cart(ctx, cart, stage):
    return [line for line in cart.lines if line.quantity > 100]


@hookimpl
def commerce_order_placing(ctx, order, lines):
    assert order.subtotal == sum(line.total for line in lines)


@hookimpl
def commerce_order_transition(ctx, order, machine, old, new):
    assert old != new and ctx.now is not None


@hookimpl
def commerce_order_fulfilling(ctx, order, units):
    assert all(units.values())
"""


@contextmanager
def five_plugins() -> Iterator[list[str]]:
    """Five plugins, as if a distribution had brought them; their names."""
    with tempfile.TemporaryDirectory(prefix="commerce-bench-plugins-") as folder:
        root = Path(folder)
        for name in NAMES:
            package = root / f"bench_{name}"
            package.mkdir()
            declaration = f'plugin = Plugin(name="{name}", hooks="bench_{name}.hooks")'
            (package / "__init__.py").write_text(f"from commerce_core.plugin import Plugin\n\n{declaration}\n")
            (package / "hooks.py").write_text(HOOKS)
        info = root / "bench-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bench\nVersion: 1.0\n")
        points = "\n".join(f"{name} = bench_{name}:plugin" for name in NAMES)
        (info / "entry_points.txt").write_text(f"[commerce.plugins]\n{points}\n")
        sys.path.insert(0, folder)
        try:
            yield list(NAMES)
        finally:
            sys.path.remove(folder)


def bench(console: Console, engine: Engine, url: str, _config: Path, seconds: float) -> None:
    """Prints one table: milliseconds a request, and microseconds of CPU time, without and with the plugins."""
    table = Table(title="Five plugins with every runtime hook, asked in turn with none")
    for column in ("what", "ms without", "ms with", "added", "CPU µs without", "CPU µs with", "added"):
        table.add_column(column, justify="left" if column == "what" else "right")
    with five_plugins() as names:
        shops = [
            make_application(make_settings(url, settings)) for settings in ({}, {"commerce.plugins": " ".join(names)})
        ]
        try:
            variants = [str(new_variant(engine, PLENTY)) for _ in range(50)]
            _row(table, "hold", shops, seconds / 2, lambda shop, turn: _hold(shop, variants[turn % 50]))
            _row(table, "order from a hold", shops, seconds / 2, _orders(variants))
        finally:
            for shop in shops:
                close(shop.registry)
    console.print(table)


def _row(
    table: Table, what: str, shops: list[Any], seconds: float, ask: Callable[[Any, int], tuple[float, float]]
) -> None:
    taken: list[list[tuple[float, float]]] = [[], []]
    for warmup in range(20):
        ask(shops[warmup % 2], warmup)
    end = time.perf_counter() + seconds
    turn = 0
    while time.perf_counter() < end:
        turn += 1
        # Who goes first changes, too.
        for which in (turn % 2, (turn + 1) % 2):
            taken[which].append(ask(shops[which], turn))
    walls = [median(wall for wall, _ in each) for each in taken]
    cpus = [median(cpu for _, cpu in each) for each in taken]
    table.add_row(
        what,
        *(f"{wall * 1e3:.3f}" for wall in walls),
        f"{(walls[1] / walls[0] - 1) * 100:+.1f} %",
        *(f"{cpu * 1e6:,.0f}" for cpu in cpus),
        f"{(cpus[1] / cpus[0] - 1) * 100:+.1f} %",
    )


def _hold(shop: Any, variant_id: str) -> tuple[float, float]:
    return _ask(shop, "/api/v1/holds", {"variant_id": variant_id, "quantity": 1})[:2]


def _orders(variants: list[str]) -> Callable[[Any, int], tuple[float, float]]:
    def order(shop: Any, turn: int) -> tuple[float, float]:
        hold = _ask(shop, "/api/v1/holds", {"variant_id": variants[turn % len(variants)], "quantity": 1})[2]
        body = {"hold_id": str(UUID(hold["id"])), "payment": {"provider": "manual"}}
        return _ask(shop, "/api/v1/orders", body)[:2]

    return order


def _ask(shop: Any, path: str, body: Any) -> tuple[float, float, Any]:
    """Seconds by the clock, seconds of CPU time of this thread, and the answer."""
    request = Request.blank(path, method="POST", body=json.dumps(body).encode(), content_type="application/json")
    cpu, started = time.thread_time(), time.perf_counter()
    response = request.get_response(shop)
    answer = response.body
    wall, cpu = time.perf_counter() - started, time.thread_time() - cpu
    if response.status_code != 201:
        raise RuntimeError(f"{path}: {response.status} {response.text}")
    return wall, cpu, json.loads(answer)
