"""Large files: memory stays flat, others go on shopping, and who is killed leaves nothing half-done."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from uuid import UUID

import psutil  # type: ignore[import-untyped]
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session
from webtest import TestApp

from commerce_core.imports.exports import export_products, export_stock
from commerce_core.imports.products import import_products
from commerce_core.imports.stock import import_stock
from commerce_core.stock.models import StockLevel
from commerce_core.testing import StoppedClock, assert_stock_adds_up

SOAK = bool(os.environ.get("COMMERCE_SOAK"))
FEW, MANY = (2_000, 20_000) if SOAK else (1_000, 8_000)
MEBIBYTE = 1_048_576


def products(rows: int, *, price: str = "12.50", broken_row: int | None = None) -> IO[bytes]:
    """A file of `rows` variants, three to a product."""
    file = tempfile.TemporaryFile()  # noqa: SIM115
    target = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(target)
    writer.writerow(
        [
            "slug",
            "name",
            "description",
            "status",
            "attribute:material",
            "sku",
            "currency",
            "price",
            "variant_attribute:size",
        ]
    )
    for number in range(rows):
        product = number // 3
        given = "broken" if number + 2 == broken_row else price
        name = f"Product {product}"
        writer.writerow(
            [f"p-{product}", name, name * 10, "active", "cotton", f"SKU-{number:07}", "USD", given, "SML"[number % 3]]
        )
    target.flush()
    target.detach()
    file.seek(0)
    return file


def stock(rows: int, on_hand: int) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115
    file.write(b"sku,on_hand\n")
    for number in range(rows):
        file.write(b"SKU-%07d,%d\n" % (number, on_hand))
    file.seek(0)
    return file


@pytest.fixture
def run(engine: Engine, clock: StoppedClock) -> Callable[..., Any]:
    """`run(import_products, file)`: import and commit; the report."""

    def run(importer: Any, file: IO[bytes], **options: Any) -> Any:
        with file, Session(engine) as session:
            report = importer(session, file, now=clock.now(), dry_run=False, **options)
            if not report.error_count:
                session.commit()
            return report

    return run


def peak(work: Callable[[], object]) -> int:
    """The most memory that Python held during `work`, in bytes."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_file(engine: Engine, run: Callable[..., Any]) -> None:
    run(import_products, products(FEW))  # what is loaded once is loaded
    few = peak(lambda: run(import_products, products(FEW, price="13")))
    many = peak(lambda: run(import_products, products(MANY, price="14")))
    assert many - few < 2 * MEBIBYTE
    few = peak(lambda: run(import_stock, stock(FEW, 3), actor="test"))
    many = peak(lambda: run(import_stock, stock(MANY, 5), actor="test"))
    assert many - few < 2 * MEBIBYTE
    for export in (export_products, export_stock):
        with tempfile.TemporaryFile() as file:
            assert peak(lambda export=export, file=file: export(engine, file)) < 8 * MEBIBYTE
    assert_stock_adds_up(engine)


def test_a_broken_row_in_the_middle_of_many_leaves_nothing(engine: Engine, run: Callable[..., Any]) -> None:
    report = run(import_products, products(MANY, broken_row=MANY // 2))
    assert [(error.row, error.column) for error in report.errors] == [(MANY // 2, "price")]
    assert report.rows == MANY
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM product")) == 0


def test_others_are_served_while_stock_is_imported(
    engine: Engine, clock: StoppedClock, client: TestApp, make_variant: Callable[..., UUID], run: Callable[..., Any]
) -> None:
    """Levels that are in the file wait for its end; those that are not do not."""
    other = make_variant()
    run(import_products, products(30))
    with Session(engine) as session, stock(30, 7) as file:
        import_stock(session, file, now=clock.now(), actor="test", dry_run=False)
        client.post_json("/api/v1/holds", {"variant_id": str(other), "quantity": 1}, status=201)
        session.commit()
    assert_stock_adds_up(engine)


@pytest.fixture
def command(tmp_path: Path, database_url: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`command("stock", "import", file)`: a process of its own."""
    ini = tmp_path / "shop.ini"
    url = database_url.replace("%", "%%")
    ini.write_text(
        "[app:main]\nuse = egg:commerce-core\ncommerce.environment = development\nlog.level = warning\n"
        f"sqlalchemy.url = {url}\nsqlalchemy.lock_timeout_ms = 60000\n"
    )
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "commerce_core.cli", *arguments, str(ini)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_killed_import_leaves_nothing_half_done(
    tmp_path: Path, engine: Engine, run: Callable[..., Any], command: Callable[..., subprocess.Popen[str]]
) -> None:
    """It is killed while it waits for one level, with all those before it locked."""
    run(import_products, products(300))
    file = tmp_path / "stock.csv"
    with stock(300, 7) as rows:
        file.write_bytes(rows.read())
    with Session(engine) as session:
        last = session.scalar(text("SELECT max(variant_id::text) FROM stock_level"))
        session.get_one(StockLevel, UUID(str(last)), with_for_update=True)
        process = command("stock", "import", str(file))
        waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        deadline = time.monotonic() + 120
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not connection.scalar(waiting):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        session.commit()
    with engine.connect() as connection:
        # Takes every lock that the import had, as soon as the server has noticed.
        connection.execute(text("SET lock_timeout = '60s'"))
        connection.execute(text("SELECT FROM stock_level FOR UPDATE"))
        assert connection.scalar(text("SELECT sum(on_hand) FROM stock_level")) == 0
        assert connection.scalar(text("SELECT count(*) FROM stock_movement")) == 0
    assert_stock_adds_up(engine)
    again = command("stock", "import", str(file))
    assert "levels: 0 created, 300 updated, 0 unchanged" in again.communicate(timeout=120)[0]


@pytest.mark.skipif(not SOAK, reason="takes minutes")
def test_a_hundred_thousand_rows(engine: Engine, run: Callable[..., Any]) -> None:
    rows = 100_000
    run(import_products, products(FEW))
    process = psutil.Process()
    for importer, file, options in (
        (import_products, products(rows), {}),
        (import_products, products(rows, price="9"), {}),
        (import_products, products(rows, price="9"), {}),
        (import_stock, stock(rows, 7), {"actor": "test"}),
        (import_stock, stock(rows, 8), {"actor": "test"}),
    ):
        before, started = process.memory_info().rss, time.perf_counter()
        report = run(importer, file, **options)
        grown = (process.memory_info().rss - before) / MEBIBYTE
        print(f"{importer.__name__}: {time.perf_counter() - started:.1f} s, {grown:+.1f} MiB, {report.counts}")
        assert grown < 40
    for export in (export_products, export_stock):
        with tempfile.TemporaryFile() as file:
            started = time.perf_counter()
            assert export(engine, file) == rows
            print(f"{export.__name__}: {time.perf_counter() - started:.1f} s, {file.tell() / MEBIBYTE:.1f} MiB")
    assert_stock_adds_up(engine)
