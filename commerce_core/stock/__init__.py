"""Stock: levels, holds, movements. The heart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from pyramid.config import Configurator

from commerce_core.api import API_PREFIX
from commerce_core.events import StockChanged, log_event
from commerce_core.metrics import Metrics
from commerce_core.stock.desk import HoldDesk


def includeme(config: Configurator) -> None:
    config.add_route("holds", f"{API_PREFIX}/holds")
    config.add_route("hold", f"{API_PREFIX}/holds/{{id}}")
    config.add_route("hold_extend", f"{API_PREFIX}/holds/{{id}}/extend")
    config.add_route("admin_stock_low", f"{API_PREFIX}/admin/stock/low")
    config.add_route("admin_stock_out", f"{API_PREFIX}/admin/stock/out")
    config.add_route("admin_stock", f"{API_PREFIX}/admin/stock/{{id}}")
    for operation in ("receive", "adjust", "damage", "return", "movements"):
        config.add_route(f"admin_stock_{operation}", f"{API_PREFIX}/admin/stock/{{id}}/{operation}")
    config.add_autocommit_request("POST", f"{API_PREFIX}/holds")
    desk = _open_desk(config.registry)
    config.registry.pools.watch(desk.engine, "holds", config.registry.settings_object.stock.hot_connections)
    config.registry.hold_desk = desk
    config.registry.bus.subscribe(StockChanged, desk.stock_came_back)
    config.registry.bus.subscribe(StockChanged, _count_lapsed(config.registry.metrics))
    config.include(".jobs")
    config.scan(".views")


def _count_lapsed(metrics: Metrics) -> Callable[[StockChanged], None]:
    lapsed = metrics.counter("commerce_holds_expired_total", "Holds that lapsed, and whose stock was given back.")

    def count(event: StockChanged) -> None:
        if event.lapsed is not None:
            lapsed.inc(event.lapsed)

    return count


def _open_desk(registry: Any) -> HoldDesk:
    settings = registry.settings_object

    def publish(event: StockChanged, hold_ids: Sequence[UUID]) -> None:
        log_event(event, hold_ids=hold_ids or None)
        registry.bus.publish(event)

    return HoldDesk(
        registry.database_url,
        settings.sqlalchemy,
        settings.stock,
        registry.clock,
        publish,
        registry.metrics,
        registry.statements.observer("holds"),
    )
