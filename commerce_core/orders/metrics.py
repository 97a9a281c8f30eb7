"""What becomes of orders, counted after the commit, in whichever process it happened."""

from __future__ import annotations

from pyramid.config import Configurator

from commerce_core.events import OrderCancelled, OrderPaid, OrderPaymentFailed, OrderPlaced


def includeme(config: Configurator) -> None:
    metrics, bus = config.registry.metrics, config.registry.bus
    placed = metrics.counter("commerce_orders_placed_total", "Orders placed.")
    paid = metrics.counter("commerce_orders_paid_total", "Orders paid.")
    unpaid = metrics.counter("commerce_order_payment_failures_total", "Payments of orders that failed.")
    cancelled = metrics.counter("commerce_orders_cancelled_total", "Orders cancelled, or expired unpaid.", ("reason",))
    bus.subscribe(OrderPlaced, lambda _: placed.inc())
    bus.subscribe(OrderPaid, lambda _: paid.inc())
    bus.subscribe(OrderPaymentFailed, lambda _: unpaid.inc())
    bus.subscribe(OrderCancelled, lambda event: cancelled.labels(event.reason).inc())
