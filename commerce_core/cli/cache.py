"""`commerce cache`: fill it before the crowd comes, and empty it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from commerce_core.api import API_PREFIX
from commerce_core.cli.shop import Shop, config_argument, open_shop

LIST_PAGES = 3
SORTS = ("newest", "price_asc", "price_desc", "name", "popular")
TIMEOUT_SECONDS = 30.0

# Asks for an address; says whether it was answered.
Fetch = Callable[[str], bool]


@click.group()
def cache() -> None:
    """What is kept of the catalogue's answers."""


@cache.command()
@config_argument
@click.option("--products", type=click.IntRange(min=0), help="Only so many of the most popular; without, all.")
@click.option("--language", default="en", show_default=True, help="Accept-Language of those who will ask.")
@click.option("--url", help="Ask the shop at this address: the way to warm it, where there is no Redis, or a CDN.")
def warm(config: str, products: int | None, language: str, url: str | None) -> None:
    """Ask for what will be asked for: the first pages of all lists, and the products."""
    with open_shop(config) as shop:
        paths = addresses(shop, products)
        with _fetching(shop, url, language) as fetch, _progress(len(paths)) as advance:
            failed = 0
            for path in paths:
                failed += not fetch(path)
                advance(1)
    click.echo(f"{len(paths) - failed:,} answers are warm.")
    if failed:
        raise click.ClickException(f"{failed:,} could not be had.")


@cache.command()
@config_argument
def clear(config: str) -> None:
    """Drop everything, from Redis and from every process of the shop. CDNs keep what they have."""
    from commerce_core.cache import drop_everywhere

    with open_shop(config) as shop:
        drop_everywhere(shop.url, shop.settings)
    click.echo("Nothing is kept any more.")


def addresses(shop: Shop, products: int | None) -> list[str]:
    """What to ask for: lists first, then products by popularity."""
    from sqlalchemy import select, text

    from commerce_core.catalog.models import VISIBLE, Category, Product

    with shop.engine.connect() as connection:
        categories = connection.scalars(select(Category.slug).order_by(Category.position, Category.id)).all()
        slugs = connection.scalars(
            select(Product.slug).where(text(VISIBLE)).order_by(Product.popularity.desc(), Product.id).limit(products)
        ).all()
    found = ["/categories", "/brands", "/products"]
    found += [f"/products?sort={sort}&page={page}" for sort in SORTS for page in range(1, LIST_PAGES + 1)]
    for slug in categories:
        found += [f"/categories/{slug}", f"/categories/{slug}/products"]
    return [API_PREFIX + path for path in [*found, *(f"/products/{slug}" for slug in slugs)]]


@contextmanager
def _fetching(shop: Shop, url: str | None, language: str) -> Iterator[Fetch]:
    if url is None and shop.settings.redis.url is None:
        raise click.ClickException(
            "Without Redis each process keeps its own: name the running shop with --url http://127.0.0.1:6543."
        )
    if url is None:
        with _in_this_process(shop, language) as fetch:
            yield fetch
    else:
        yield _over_http(url.rstrip("/"), language)


@contextmanager
def _in_this_process(shop: Shop, language: str) -> Iterator[Fetch]:
    """Build the answers here, and leave them in Redis."""
    from pyramid.request import Request

    from commerce_core.application import close, make_application
    from commerce_core.settings import LimitSettings

    unlimited: dict[str, Any] = {"limits": LimitSettings(default="off")}
    quiet = {"log": shop.settings.log.model_copy(update={"requests": False})}
    app = make_application(shop.settings.model_copy(update=unlimited | quiet), clock=shop.clock)

    def fetch(path: str) -> bool:
        response = Request.blank(path, headers={"Accept-Language": language}).get_response(app)
        return bool(response.status_code == 200)

    try:
        yield fetch
    finally:
        close(app.registry)


def _over_http(url: str, language: str) -> Fetch:
    import urllib3

    http = urllib3.PoolManager(timeout=TIMEOUT_SECONDS, retries=False)

    def fetch(path: str) -> bool:
        while True:
            try:
                answer = http.request("GET", url + path, headers={"Accept-Language": language})
            except urllib3.exceptions.HTTPError as error:
                raise click.ClickException(f"{url} does not answer: {error}") from error
            if answer.status != 429:
                return answer.status == 200
            time.sleep(float(answer.headers.get("Retry-After", "1")))  # it is we who are limited, like anybody

    return fetch


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

    columns: Sequence[ProgressColumn] = (
        TextColumn("Answers"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("Answers", total=total)
        yield lambda done: progress.advance(task, done)
