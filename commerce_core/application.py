"""Puts the rooms together: settings in, WSGI application out."""

from __future__ import annotations

from functools import partial
from typing import Any

from pyramid.config import Configurator
from pyramid.interfaces import IRequestExtensions
from pyramid.request import Request
from sqlalchemy import Connection

from commerce_core import embedded, migrations
from commerce_core.clock import Clock
from commerce_core.database import make_engine
from commerce_core.log import configure_logging
from commerce_core.metrics import Metrics
from commerce_core.plugins.host import PluginHost
from commerce_core.plugins.startup import put_together, start, stop
from commerce_core.settings import CoreSettings

# The order of the house: each room may use those before it.
ROOMS = (
    "commerce_core.database",
    "commerce_core.replicas",
    "commerce_core.pulse",
    "commerce_core.metrics.pools",
    "commerce_core.metrics.statements",
    "commerce_core.metrics.database",
    "commerce_core.events",
    "commerce_core.api",
    "commerce_core.audit",
    "commerce_core.jobs",
    "commerce_core.mail",
    "commerce_core.cache",
    "commerce_core.plugins",
    "commerce_core.accounts",
    "commerce_core.maintenance",
    "commerce_core.webhooks",
    # Its addresses are among those of the catalogue and the stock, and more exact: so they come first.
    "commerce_core.imports",
    "commerce_core.catalog",
    "commerce_core.pricing",
    "commerce_core.stock",
    "commerce_core.merchandising",
    "commerce_core.carts",
    "commerce_core.orders",
    "commerce_core.payments",
    "commerce_core.monitor",
    "commerce_core.demo.images",
)


def make_application(settings: CoreSettings, *, clock: Clock | None = None) -> Any:
    """The WSGI application.

    Refuses to start with plugins that are not sound (BrokenPlugins), and on a database that needs `commerce db upgrade`
    (MigrationsPending).
    """
    configure_logging(settings.log)
    config = make_configurator(settings, clock=clock)
    try:
        with config.registry.engine.connect() as connection:
            config.registry.check_schema(connection)
        start(config.registry, "web")
    except BaseException:
        close(config.registry)
        raise
    return config.make_wsgi_app()


def check_schema(connection: Connection, host: PluginHost) -> None:
    """Raise MigrationsPending unless the database is as the core and the shop's plugins need it, or ahead of that.

    The one place where the database is held against a shop's plugins; the shop's registry has it, for `/readyz`.
    """
    migrations.check(connection, host.owners, may_be_ahead=True)


def make_configurator(settings: CoreSettings, *, clock: Clock | None = None) -> Configurator:
    """The configuration with every room and every plugin; does not touch the database. Raises BrokenPlugins."""
    clock = clock or Clock()
    host = PluginHost.load(settings, clock)
    config = _configure(settings, clock, host)
    while any(host.is_half_way_in(name) for name in host.missing):
        close(config.registry)
        host = host.without_the_broken()
        config = _configure(settings, clock, host)
    try:
        host.raise_mistakes()
    except BaseException:
        close(config.registry)
        raise
    _bake_request_properties(config)
    return config


def check_plugins(settings: CoreSettings) -> PluginHost:
    """Put the shop together, and let go of it again. Raises BrokenPlugins; the host otherwise. Needs no database."""
    configurator = make_configurator(without_database(settings))
    close(configurator.registry)
    host: PluginHost = configurator.registry.plugins
    return host


def without_database(settings: CoreSettings) -> CoreSettings:
    """The same, for putting a shop together: nothing connects then, but an embedded database must run to be named."""
    database = settings.sqlalchemy.model_copy(
        update={"url": "postgresql://not-needed", "direct_url": None, "replica_urls": ()}
    )
    return settings.model_copy(update={"sqlalchemy": database})


def _configure(settings: CoreSettings, clock: Clock, host: PluginHost) -> Configurator:
    """One attempt at it: what is wrong with plugins is in the host afterwards."""
    config = Configurator(settings={"retry.attempts": 3})
    registry = config.registry
    registry.settings_object = settings
    registry.clock = clock
    registry.plugins = host
    registry.check_schema = partial(check_schema, host=host)
    registry.metrics = Metrics()
    database = settings.sqlalchemy
    # For what outlives a transaction: listening, and the hold desk's connections with time-outs of their own.
    registry.database_url = embedded.resolve(database.direct_url or database.url)
    registry.engine = make_engine(embedded.resolve(database.url), database, pooled=database.direct_url is not None)
    for room in ROOMS:
        config.include(room)
    config.commit()
    put_together(config, host)
    return config


def close(registry: Any) -> None:
    """Let go of all that a shop has open: connections, threads. What it has still to tell others is told first."""
    stop(registry)
    registry.pulse.close()
    registry.cache.close()
    registry.hold_desk.close()
    registry.limiter.close()
    registry.replicas.close()
    registry.engine.dispose()


def _bake_request_properties(config: Configurator) -> None:
    """Put what `add_request_method` has added on one request class; Pyramid would make a class for every request."""
    properties = config.registry.queryUtility(IRequestExtensions).descriptors
    config.set_request_factory(type("ShopRequest", (Request,), dict(properties)))
    properties.clear()
