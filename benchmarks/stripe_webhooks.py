"""Stripe's webhooks a second, with workers using the events meanwhile: a fake Stripe is asked about each of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from commerce_stripe_payments.testing import signature
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text

from benchmarks import load
from benchmarks.server import web_server
from commerce_core import migrations
from commerce_core.child_process import tied
from commerce_core.cli.web import claim_port
from commerce_core.plugins.loading import owners_declared
from commerce_core.testing import make_settings

SECRET = "whsec_bench"
EVENTS = 20_000


def bench(console: Console, engine: Engine, url: str, config: Path, seconds: float) -> None:
    """Prints one table: answers to webhooks, some of them twice, and events used meanwhile."""
    migrations.upgrade(engine, owners_declared(make_settings(url, {"commerce.plugins": "stripe"})))
    table = Table(title="Stripe's webhooks")
    for column in ("clients", "answers/s", "p50 ms", "p95", "p99", "events used/s meanwhile", "answers"):
        table.add_column(column, justify="left" if column == "answers" else "right")
    with _fake() as address:
        settings = {
            "COMMERCE__PLUGINS": "stripe",
            "STRIPE__SECRET_KEY": "sk_test_bench",
            "STRIPE__PUBLISHABLE_KEY": "pk_test_bench",
            "STRIPE__WEBHOOK_SECRETS": SECRET,
            "STRIPE__API_BASE": address,
        }
        with web_server(config, url, **settings) as port, _worker(config, url, settings):
            for run, clients in enumerate((1, 8, 32)):
                before, started = _used(engine), time.perf_counter()
                result = load.run(port, _webhooks(run), connections=clients, seconds=seconds)
                used = (_used(engine) - before) / (time.perf_counter() - started)
                shown = [f"{result.percentile(percent):.1f}" for percent in (50, 95, 99)]
                statuses = " ".join(f"{status}:{count}" for status, count in sorted(result.statuses.items()))
                table.add_row(str(clients), f"{result.rate:,.0f}", *shown, f"{used:,.0f}", statuses)
    console.print(table)


def _webhooks(run: int) -> list[bytes]:
    """Requests with an event each, signed just now."""
    made = []
    now = int(time.time())
    for number in range(EVENTS):
        event = {
            "id": f"evt_{run}_{number}",
            "object": "event",
            "api_version": "2026-10-28.endive",
            "created": now,
            "livemode": False,
            "type": "payment_intent.succeeded",
            "data": {"object": {"id": f"pi_{run}_{number}", "object": "payment_intent", "amount": 1_999}},
            "padding": "x" * 3_000,
        }
        body = json.dumps(event).encode()
        header = f"Stripe-Signature: {signature(body, [SECRET], now)}"
        made.append(load.request("POST", "/webhooks/stripe", body, [header]))
    return made


def _used(engine: Engine) -> int:
    """How many events have been used."""
    with engine.connect() as connection:
        return int(
            connection.execute(text("SELECT count(*) FROM stripe_event WHERE processed_at IS NOT NULL")).scalar_one()
        )


@contextmanager
def _fake() -> Iterator[str]:
    port = claim_port("127.0.0.1", 0)
    command = [sys.executable, "-m", "commerce_stripe_payments.testing", "--port", str(port)]
    process = subprocess.Popen(tied(command), stdout=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _worker(config: Path, url: str, settings: dict[str, str]) -> Iterator[None]:
    given = {f"COMMERCE_{name}": value for name, value in settings.items()}
    environment = {**os.environ, "COMMERCE_SQLALCHEMY__URL": url, "COMMERCE_LOG__LEVEL": "error", **given}
    command = [sys.executable, "-W", "ignore", "-m", "commerce_core.cli", "worker", str(config), "--workers", "2"]
    process = subprocess.Popen(tied(command), env=environment)
    try:
        yield
    finally:
        process.terminate()
        process.wait()
