"""`commerce catalogue` and `commerce stock`: files in and out, with a progress bar."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

from commerce_core.cli.shop import config_argument, open_shop
from commerce_core.stock.commands import stock

_file_argument = click.argument("file", type=click.Path(path_type=Path))
_existing_file = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
_dry_run_option = click.option("--dry-run", is_flag=True, help="Check the file and say what would change.")
ACTOR = "command line"


@click.group()
def catalogue() -> None:
    """Import or export products and variants."""


@catalogue.command("import")
@_existing_file
@config_argument
@_dry_run_option
def import_catalogue(file: Path, config: str, dry_run: bool) -> None:
    """Create and change products and variants out of a CSV file (also .gz): all of it or nothing."""
    from commerce_core.imports.products import import_products

    _import("products", file, config, dry_run, import_products)


@catalogue.command("export")
@_file_argument
@config_argument
def export_catalogue(file: Path, config: str) -> None:
    """Write all products with their variants to a CSV file."""
    from commerce_core.imports.exports import export_products

    _export(file, config, export_products)


@stock.command("import")
@_existing_file
@config_argument
@_dry_run_option
def import_stock_levels(file: Path, config: str, dry_run: bool) -> None:
    """Set or move stock out of a CSV file (also .gz): all of it or nothing."""
    from commerce_core.imports.stock import import_stock

    def run(session: Any, opened: IO[bytes], **options: Any) -> Any:
        return import_stock(session, opened, actor=ACTOR, **options)

    _import("stock", file, config, dry_run, run)


@stock.command("export")
@_file_argument
@config_argument
def export_stock_levels(file: Path, config: str) -> None:
    """Write what is on hand of every variant to a CSV file."""
    from commerce_core.imports.exports import export_stock

    _export(file, config, export_stock)


def _import(kind: str, file: Path, config: str, dry_run: bool, run: Callable[..., Any]) -> None:
    from sqlalchemy.orm import Session

    from commerce_core.api.problems import Problem
    from commerce_core.audit.service import record
    from commerce_core.imports.reports import ImportRefused, counted
    from commerce_core.imports.schemas import present_report

    with open_shop(config) as shop, _opened(file) as (opened, size), Session(shop.engine) as session:
        now = shop.clock.now()
        try:
            with _progress(size) as progress:
                report = run(session, opened, now=now, dry_run=dry_run, progress=progress)
        except Problem as problem:
            raise click.ClickException(problem.detail) from problem
        for error in report.errors:
            click.echo(f"row {error.row}{f', {error.column}' if error.column else ''}: {error.message}", err=True)
        if report.error_count > len(report.errors):
            click.echo(f"... and {counted(report.error_count - len(report.errors), 'error')} more", err=True)
        if report.error_count:
            raise click.ClickException(ImportRefused(report).detail)
        if not dry_run:
            shown = present_report(report, dry_run=False)
            record(session, actor=ACTOR, action=f"{kind}.import", subject=f"import:{file.name}", after=shown, now=now)
            session.commit()
    for what, counts in report.counts.items():
        told = ", ".join(f"{counts[change]:,} {change}" for change in ("created", "updated", "unchanged"))
        click.echo(f"{what}: {told}{' (nothing was written)' if dry_run else ''}")


def _export(file: Path, config: str, export: Callable[..., int]) -> None:
    """Written beside the file and moved there, so that there is never half a file."""
    from commerce_core.imports.reports import counted

    with open_shop(config) as shop:
        descriptor, name = tempfile.mkstemp(dir=file.resolve().parent, prefix=f".{file.name}-")
        try:
            with os.fdopen(descriptor, "wb") as opened, _progress(None) as progress:
                rows = export(shop.engine, opened, progress)
            Path(name).replace(file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    click.echo(f"{file}: {counted(rows, 'row')}")


@contextmanager
def _opened(file: Path) -> Iterator[tuple[IO[bytes], int | None]]:
    """The file, unpacked if it is gzip, and its size in bytes where that is known."""
    import gzip

    with file.open("rb") as opened:
        packed = opened.read(2) == b"\x1f\x8b"
        opened.seek(0)
        if packed:
            with gzip.open(opened) as unpacked:
                yield unpacked, None  # type: ignore[misc]
        else:
            yield opened, file.stat().st_size


@contextmanager
def _progress(size: int | None) -> Iterator[Callable[[int, int], None]]:
    """Told how many bytes and rows there have been: a bar on a terminal, else a line now and then. On stderr."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    started = time.monotonic()

    def said(rows: int) -> str:
        return f"{rows:,} rows, {rows / max(time.monotonic() - started, 0.001):,.0f}/s"

    if not sys.stderr.isatty():

        def line(done: int, rows: int) -> None:
            if rows % 10_000 == 0 and rows:
                click.echo(said(rows), err=True)

        yield line
        return
    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("0 rows", total=size)

        def advance(done: int, rows: int) -> None:
            writing = size is not None and done >= size
            bar.update(task, completed=done, description=f"{said(rows)}{', now writing' if writing else ''}")

        yield advance
