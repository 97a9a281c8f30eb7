"""What the commands share: a shop opened from its .ini file, with its database, for as long as the command runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from sqlalchemy import Engine

from commerce_core.clock import Clock
from commerce_core.settings import CoreSettings

if TYPE_CHECKING:
    from commerce_core.migrations import Owner

config_argument: Callable[[Any], Any] = click.argument(
    "config", type=click.Path(dir_okay=False), default="development.ini", envvar="COMMERCE_CONFIG"
)
existing_config_argument: Callable[[Any], Any] = click.argument(
    "config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default="development.ini",
    envvar="COMMERCE_CONFIG",
)


@dataclass(frozen=True, slots=True)
class Shop:
    settings: CoreSettings
    url: str
    engine: Engine
    clock: Clock
    # Everything else that the shop is made of: `registry.plugins`, `registry.pricing`, `registry.jobs` ...
    registry: Any


@dataclass(frozen=True, slots=True)
class ShopDatabase:
    """`owners` are those of the enabled plugins."""

    engine: Engine
    owners: tuple[Owner, ...]


@contextmanager
def open_shop(config: str, *, plugins: bool = True) -> Iterator[Shop]:
    """The shop of an .ini file, with all its rooms: what a command changes is told as any change is.

    Without `plugins`, those are not imported: for commands that must work when one of them does not.

    An embedded database that is not running is started, and stopped at the end.
    """
    from commerce_core.application import close, make_configurator

    settings = _settings(config)
    with _running(settings) as url:
        registry = make_configurator(settings).registry
        try:
            yield Shop(settings, url, registry.engine, registry.clock, registry)
        finally:
            close(registry)


@contextmanager
def open_database(config: str) -> Iterator[ShopDatabase]:
    """The database of an .ini file, for what has to work while the rooms, or a plugin, do not.

    An embedded database that is not running is started, and stopped at the end.
    """
    from commerce_core.database import make_engine
    from commerce_core.plugins.loading import owners_declared

    settings = _settings(config)
    with _running(settings) as url:
        # Nobody waits for these, so they may take as long as they like.
        engine = make_engine(url, settings.sqlalchemy.model_copy(update={"statement_timeout_ms": 0}))
        try:
            yield ShopDatabase(engine, owners_declared(settings))
        finally:
            engine.dispose()


def _settings(config: str) -> CoreSettings:
    from commerce_core.log import configure_logging
    from commerce_core.settings import load_settings

    settings = load_settings(config)
    configure_logging(settings.log)
    return settings


@contextmanager
def _running(settings: CoreSettings) -> Iterator[str]:
    """The address of the shop's database itself, which runs."""
    from commerce_core.embedded import embedded_postgres, folder_of, is_embedded, resolve

    if is_embedded(settings.sqlalchemy.url):
        with embedded_postgres(folder_of(settings.sqlalchemy.url)) as url:
            yield url
    else:
        yield resolve(settings.sqlalchemy.direct_url or settings.sqlalchemy.url)
