"""Orders: placed from holds and carts, paid, cancelled, expired."""

from __future__ import annotations

from pyramid.config import Configurator

from commerce_core.api import API_PREFIX


def includeme(config: Configurator) -> None:
    config.add_route("cart_merge", f"{API_PREFIX}/cart/merge")
    config.add_route("orders", f"{API_PREFIX}/orders")
    config.add_route("order_lookup", f"{API_PREFIX}/orders/lookup")
    config.add_route("order", f"{API_PREFIX}/orders/{{id}}")
    config.add_route("order_cancel", f"{API_PREFIX}/orders/{{id}}/cancel")
    config.add_route("admin_orders", f"{API_PREFIX}/admin/orders")
    config.add_route("admin_order", f"{API_PREFIX}/admin/orders/{{id}}")
    config.add_route("admin_order_cancel", f"{API_PREFIX}/admin/orders/{{id}}/cancel")
    config.add_route("admin_order_fulfillments", f"{API_PREFIX}/admin/orders/{{id}}/fulfillments")
    fulfillment = f"{API_PREFIX}/admin/orders/{{id}}/fulfillments/{{fulfillment_id}}"
    config.add_route("admin_order_fulfillment", fulfillment)
    config.add_route("admin_order_fulfillment_cancel", f"{fulfillment}/cancel")
    config.include(".mails")
    config.include(".metrics")
    config.scan(".views")
    config.scan(".admin_views")
