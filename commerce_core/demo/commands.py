"""`commerce demo`: fill a shop with things to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from commerce_core.cli.shop import config_argument, open_shop


@click.group()
def demo() -> None:
    """Fill the shop with demo products."""


@demo.command()
@config_argument
@click.option("--products", type=click.IntRange(1, 9_999_999), help="Invent this many, three variants each.")
@click.option("--if-empty", is_flag=True, help="Do nothing when there is any product.")
@click.option("--seed", type=int, default=1, show_default=True, help="What is invented depends on this alone.")
def load(config: str, products: int | None, if_empty: bool, seed: int) -> None:
    """Load the demo shop, or with --products a large invented catalogue. Loading again adds only what is missing."""
    from sqlalchemy import exists, select

    from commerce_core.catalog.models import Product
    from commerce_core.database import transaction
    from commerce_core.demo.bulk import load_bulk
    from commerce_core.demo.shop import load_shop
    from commerce_core.events import ProductChanged, emit

    with open_shop(config) as shop:
        if if_empty:
            with transaction(shop.engine) as session:
                if session.execute(select(exists().select_from(Product))).scalar_one():
                    click.echo("There are products already; nothing was loaded.")
                    return
        if products is None:
            with transaction(shop.engine) as session:
                new = load_shop(session, now=shop.clock.now())
                session.info.pop("events", None)  # opening stock is no news to anybody
        else:
            with _progress(products) as advance:
                new = load_bulk(shop.engine, products, seed=seed, now=shop.clock.now(), progress=advance)
        with transaction(shop.engine) as session:
            emit(session, ProductChanged(what="demo.load"))
        click.echo(f"{new:,} products loaded." if new else "Everything was there already.")


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr; what it yields is told how many more are done."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("Products"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("Products", total=total)
        yield lambda done: progress.advance(task, done)
