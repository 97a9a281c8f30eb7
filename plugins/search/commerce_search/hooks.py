"""What the core calls."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import click
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from sqlalchemy.orm import Session

from commerce_core.api import API_PREFIX
from commerce_core.database import transaction
from commerce_core.events import ProductChanged, StockBack, StockChanged, StockOut
from commerce_core.jobs.kinds import JobKind, Periodic, Watched
from commerce_core.plugin import (
    AdminResource,
    HealthCheck,
    PluginPermission,
    SearchBackend,
    hookimpl,
)
from commerce_search import admin_views, changes, commands, jobs
from commerce_search.analytics import FLUSH_SECONDS, Counter
from commerce_search.backends.opensearch import OpensearchBackendFactory
from commerce_search.backends.postgresql import PostgresqlBackendFactory
from commerce_search.backends.tantivy import TantivyBackendFactory
from commerce_search.backends.whoosh import WhooshBackendFactory
from commerce_search.engine import SearchEngine
from commerce_search.indexing import changes_are_waiting
from commerce_search.interface import BackendError, Query
from commerce_search.settings import Settings
from commerce_search.views import Finder


@hookimpl
def commerce_includeme(config: Configurator, settings: Settings) -> None:
    registry = config.registry
    if settings.backend not in registry.search_backends:
        known = ", ".join(sorted(registry.search_backends))
        raise ConfigurationError(f"search.backend: there is no {settings.backend!r}; there are {known}")
    at_once = settings.delay_ms == 0
    registry.search = SearchEngine(settings, registry.engine, registry.search_backends, impatient=at_once)
    registry.search_counter = Counter(registry.engine, seconds=0.0 if at_once else FLUSH_SECONDS)
    registry.search_changes = changes.ChangeFeed(
        registry.search,
        registry.engine,
        lambda session: jobs.want_index(session, registry),
        delay=settings.delay_ms / 1000,
    )
    registry.search.on_broken = _order_anew(registry)
    registry.bus.record(ProductChanged, changes.record_product_changed)
    registry.bus.record(StockOut, changes.record_stock_signal)
    registry.bus.record(StockBack, changes.record_stock_signal)
    for kind in (ProductChanged, StockOut, StockBack):
        registry.bus.subscribe(kind, registry.search_changes.catalogue_changed)
    registry.bus.subscribe(StockChanged, registry.search_changes.stock_changed)
    registry.health_checks.add("search.index", HealthCheck(name="index", check=lambda: _look(registry)))
    registry.searches = registry.metrics.counter(
        "commerce_searches_total", "Searches by what came of them: found, empty, failed.", ("outcome",)
    )
    config.set_product_finder(Finder())
    config.add_root_route("search", f"{API_PREFIX}/search")
    config.add_route("search_suggest", "/suggest")
    config.add_route("search_events", "/events")
    admin = f"{API_PREFIX}/admin/search"
    config.add_root_route("search_admin_queries", f"{admin}/queries")
    config.add_root_route("search_admin_clicks", f"{admin}/clicks")
    config.add_root_route("search_admin_synonyms", f"{admin}/synonyms")
    config.add_root_route("search_admin_synonym", f"{admin}/synonyms/{{id}}")
    config.add_root_route("search_admin_rules", f"{admin}/rules")
    config.add_root_route("search_admin_rule", f"{admin}/rules/{{id}}")
    config.add_root_route("search_admin_status", f"{admin}/status")
    config.add_root_route("search_admin_reindex", f"{admin}/reindex")
    config.scan(".views")
    config.scan(".admin_views")


def _look(registry: Any) -> None:
    """Raises if the index cannot be read. Products are sold all the same."""
    with Session(registry.engine) as session, registry.search.reading(session) as reader:
        reader.search(Query(limit=1))


def _order_anew(registry: Any) -> Any:
    """Have a worker build the index that is missing or broken."""

    def order(_error: BackendError) -> None:
        with transaction(registry.engine) as session:
            jobs.want(session, registry, jobs.rebuild)

    return order


@hookimpl
def commerce_startup(registry: Any, role: str) -> None:
    """A worker sees to it that there is an index, of the backend that is chosen now."""
    if role == "worker":
        try:
            is_there = registry.search.backend.live() is not None
        except BackendError:
            return  # it is away, and will be noticed when it is asked
        if not is_there:
            with transaction(registry.engine) as session:
                jobs.want(session, registry, jobs.rebuild)


@hookimpl
def commerce_shutdown(registry: Any) -> None:
    registry.search_changes.close()
    registry.search_counter.flush()
    registry.search.close()


@hookimpl
def commerce_register_search_backends() -> Iterable[SearchBackend]:
    return [
        WhooshBackendFactory(),
        TantivyBackendFactory(),
        PostgresqlBackendFactory(),
        OpensearchBackendFactory(),
    ]


@hookimpl
def commerce_register_jobs() -> Iterable[JobKind | Periodic | Watched]:
    return [
        Watched(jobs.index_changes, changes_are_waiting),
        jobs.compare,
        jobs.rebuild,
        Periodic(jobs.tidy, timedelta(minutes=15)),
    ]


@hookimpl
def commerce_register_permissions() -> Iterable[PluginPermission]:
    return [admin_views.READ, admin_views.MANAGE]


@hookimpl
def commerce_register_admin_resources() -> Iterable[AdminResource]:
    return admin_views.RESOURCES


@hookimpl
def commerce_register_commands() -> Iterable[click.Command]:
    return [commands.reindex, commands.check, commands.status]
