"""Puts the rooms together: settings in, WSGI application out."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.interfaces import IRequestExtensions
from pyramid.request import Request

from commerce_core import embedded, migrations
from commerce_core.clock import Clock
from commerce_core.database import make_engine
from commerce_core.log import configure_logging
from commerce_core.metrics import Metrics
from commerce_core.settings import CoreSettings

# The order of the house: each room may use those before it.
ROOMS = (
    "commerce_core.database",
    "commerce_core.metrics.pools",
    "commerce_core.metrics.database",
    "commerce_core.events",
    "commerce_core.api",
    "commerce_core.audit",
    "commerce_core.jobs",
    "commerce_core.mail",
    "commerce_core.cache",
    "commerce_core.accounts",
    # Its addresses are among those of the catalogue and the stock, and more exact: so they come first.
    "commerce_core.imports",
    "commerce_core.catalog",
    "commerce_core.pricing",
    "commerce_core.stock",
    "commerce_core.merchandising",
    "commerce_core.carts",
    "commerce_core.orders",
    "commerce_core.payments",
    "commerce_core.demo.images",
)


def make_application(settings: CoreSettings, *, clock: Clock | None = None) -> Any:
    """The WSGI application. Refuses to start (MigrationsPending) on a database that needs `commerce db upgrade`."""
    configure_logging(settings.log)
    config = make_configurator(settings, clock=clock)
    engine = config.registry.engine
    try:
        with engine.connect() as connection:
            migrations.check(connection)
    except BaseException:
        engine.dispose()
        raise
    return config.make_wsgi_app()


def make_configurator(settings: CoreSettings, *, clock: Clock | None = None) -> Configurator:
    """The configuration with every room included; does not touch the database."""
    config = Configurator(settings={"retry.attempts": 3})
    registry = config.registry
    registry.settings_object = settings
    registry.clock = clock or Clock()
    registry.metrics = Metrics()
    registry.database_url = embedded.resolve(settings.sqlalchemy.url)
    registry.engine = make_engine(registry.database_url, settings.sqlalchemy)
    for room in ROOMS:
        config.include(room)
    config.commit()
    _bake_request_properties(config)
    return config


def close(registry: Any) -> None:
    """Let go of all that a shop has open: connections, threads. What it has still to tell others is told first."""
    registry.cache.close()
    registry.hold_desk.close()
    registry.limiter.close()
    registry.engine.dispose()


def _bake_request_properties(config: Configurator) -> None:
    """Put what `add_request_method` has added on one request class; Pyramid would make a class for every request."""
    properties = config.registry.queryUtility(IRequestExtensions).descriptors
    config.set_request_factory(type("ShopRequest", (Request,), dict(properties)))
    properties.clear()
