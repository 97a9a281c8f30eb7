"""`make bench`: everything in one run, on a PostgreSQL of its own that is thrown away afterwards."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import click
from rich.console import Console

warnings.filterwarnings("ignore", category=UserWarning)

from benchmarks import (  # noqa: E402
    accounts,
    cached,
    carts,
    catalogue,
    holds,
    jobs,
    plugins,
    pricing,
    quote,
    realtime,
    search,
    stripe_webhooks,
)
from commerce_core import migrations  # noqa: E402
from commerce_core.database import make_engine  # noqa: E402
from commerce_core.embedded import embedded_postgres  # noqa: E402
from commerce_core.log import configure_logging  # noqa: E402
from commerce_core.settings import LogSettings  # noqa: E402
from commerce_core.testing import make_settings  # noqa: E402

CONFIG = """[app:main]
use = egg:commerce-core
commerce.environment = development
sqlalchemy.url = postgresql://set-by-the-environment/
stock.hold_seconds = 600
limits.exempt = 127.0.0.0/8
"""
PARTS = {
    "accounts": accounts.bench,
    "holds": holds.bench,
    "catalogue": catalogue.bench,
    "cached": cached.bench,
    "carts": carts.bench,
    "quote": quote.bench,
    "jobs": jobs.bench,
    "plugins": plugins.bench,
    "pricing": pricing.bench,
    "stripe_webhooks": stripe_webhooks.bench,
    "realtime": realtime.bench,
    "search": search.bench,
}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--seconds", default=6.0, show_default=True, help="How long each figure is measured.")
def main(parts: tuple[str, ...], seconds: float) -> None:
    """Measure PARTS, or everything."""
    console = Console(width=150)
    configure_logging(LogSettings(level="warning"))
    with tempfile.TemporaryDirectory(prefix="commerce-bench-") as folder:
        config = Path(folder) / "bench.ini"
        config.write_text(CONFIG)
        Path(folder).chmod(0o755)
        with embedded_postgres(Path(folder) / "postgres") as url:
            engine = make_engine(url, make_settings(url).sqlalchemy)
            migrations.upgrade(engine)
            for part in parts or PARTS:
                PARTS[part](console, engine, url, config, seconds)
            engine.dispose()


if __name__ == "__main__":
    main()
