"""Orders: placed from holds, paid, cancelled, expired."""

from __future__ import annotations

from pyramid.config import Configurator

from commerce_core.api import API_PREFIX


def includeme(config: Configurator) -> None:
    config.add_route("orders", f"{API_PREFIX}/orders")
    config.add_route("order", f"{API_PREFIX}/orders/{{id}}")
    config.add_route("order_cancel", f"{API_PREFIX}/orders/{{id}}/cancel")
    config.scan(".views")
