"""`commerce search`: build the index, compare it, look at it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from commerce_core.cli.shop import Shop, config_argument, open_shop


@click.command()
@config_argument
@click.option("--fresh", is_flag=True, help="Begin anew, even if a build was interrupted.")
def reindex(config: str, fresh: bool) -> None:
    """Build the index beside the live one, and put it in its place. Searches go on meanwhile.

    When it is interrupted, the next call goes on from there.
    """
    from commerce_search.engine import search_of
    from commerce_search.indexing import rebuild

    with _shop(config) as shop, _progress("Products") as progress:
        done = rebuild(search_of(shop.registry), shop.engine, fresh=fresh, progress=progress)
    click.echo(f"{done:,} products are indexed.")


@click.command()
@config_argument
@click.option("--dry-run", is_flag=True, help="Only say what differs.")
def check(config: str, dry_run: bool) -> None:
    """Compare the index with the database, and mend it. Exits with 1 if something differed."""
    from commerce_search import indexing
    from commerce_search.engine import search_of

    with _shop(config) as shop, _progress("Products") as progress:
        found = indexing.check(search_of(shop.registry), shop.engine, mend=not dry_run, progress=progress)
    if not len(found):
        click.echo("The index is as the database.")
        return
    click.echo(
        f"{len(found.missing):,} products were missing, {len(found.outdated):,} were outdated,"
        f" {len(found.surplus):,} should not have been there{'.' if dry_run else '; mended.'}"
    )
    sys.exit(1)


@click.command()
@config_argument
def status(config: str) -> None:
    """Say which backend there is, and how many products it has."""
    from commerce_core.database import transaction
    from commerce_search.documents import count_products
    from commerce_search.engine import search_of

    with _shop(config) as shop, transaction(shop.engine) as session:
        engine = search_of(shop.registry)
        with engine.reading(session) as reader:
            stats = reader.stats()
        products = count_products(session)
    click.echo(f"{engine.code}: {stats.documents:,} of {products:,} products, {stats.size / 1e6:,.1f} MB.")


@contextmanager
def _shop(config: str) -> Iterator[Shop]:
    """The shop; what goes wrong with its index is told in a line."""
    from commerce_search.indexing import BuildUnderWay
    from commerce_search.interface import BackendError

    with open_shop(config) as shop:
        try:
            yield shop
        except BuildUnderWay as error:
            raise click.ClickException(f"{error}; wait for it.") from None
        except BackendError as error:
            raise click.ClickException(f"{type(error).__name__}: {error}") from None


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr; what it yields is told how many are done, and of how many."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
