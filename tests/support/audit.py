"""Holds what the shop told its buyers against what is in the database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from commerce_core.testing import assert_stock_adds_up
from support.crowd import Told
from support.processes import wait_until

# Each finds what must not be there.
FINDINGS = {
    "a movement left more reserved than on hand":
        "SELECT variant_id, version FROM stock_movement WHERE reserved_after > on_hand_after",
    "a hold was both sold and given back": """
        SELECT hold_id FROM stock_movement WHERE kind IN ('sale', 'release', 'expire')
        GROUP BY hold_id HAVING count(*) > 1""",
    "a converted hold belongs to no living order": """
        SELECT hold.id FROM hold LEFT JOIN orders ON orders.id = hold.order_id
        WHERE hold.state = 'converted' AND (orders.status IS NULL OR orders.status = 'cancelled')""",
    "a processed order has a hold that was not sold": """
        SELECT orders.id FROM orders JOIN order_line ON order_line.order_id = orders.id
        LEFT JOIN hold ON hold.id = order_line.hold_id
        WHERE orders.status = 'processing' AND hold.sold_at IS NULL""",
    "money was taken and there is neither an order nor a refund": """
        SELECT orders.id FROM orders WHERE payment_status IN ('paid', 'refunded') AND status <> 'processing'
        AND (SELECT count(*) FROM refund WHERE refund.order_id = orders.id AND refund.amount = orders.total) <> 1""",
    "an order that has its goods is refunded as well": """
        SELECT orders.id FROM orders JOIN refund ON refund.order_id = orders.id WHERE orders.status <> 'cancelled'""",
    "an order was paid more than once": """
        SELECT order_id FROM order_event WHERE kind = 'payment_status' AND data ->> 'new' = 'paid'
        GROUP BY order_id HAVING count(*) > 1""",
    "an order has more than one paid payment":
        "SELECT order_id FROM payment WHERE status = 'paid' GROUP BY order_id HAVING count(*) > 1",
    "a webhook took effect more than once, or not at all":
        "SELECT event_id FROM webhook_event WHERE attempts <> 1 OR state NOT IN ('processed', 'ignored')",
}  # fmt: skip
# What was paid too late has been given back by a worker, or will be.
MONEY_CAME = ("paid", "refunded")
OPEN = """
    SELECT (SELECT count(*) FROM hold WHERE state = 'active')
         + (SELECT count(*) FROM orders WHERE status = 'pending')"""


def wait_until_all_has_lapsed(engine: Engine) -> None:
    """Until the workers have given back every hold, and cancelled every order, that its buyer left behind."""

    def nothing_is_open() -> bool:
        with engine.connect() as connection:
            return connection.scalar(text(OPEN)) == 0

    wait_until(nothing_is_open)


def findings(engine: Engine) -> dict[str, list[Any]]:
    with engine.connect() as connection:
        found = {name: [tuple(row) for row in connection.execute(text(query))] for name, query in FINDINGS.items()}
    return {name: rows for name, rows in found.items() if rows}


def assert_everything_adds_up(engine: Engine, told: Told, stock: Mapping[UUID, int]) -> None:
    """The stock verifies, nothing was oversold, and what the crowd was told is what happened. `stock`: at first."""
    assert told.unexpected == []
    assert_stock_adds_up(engine)
    assert findings(engine) == {}
    with engine.connect() as connection:
        holds = {row.id: (row.variant_id, row.quantity) for row in connection.execute(text("SELECT * FROM hold"))}
        orders = {row.id: row for row in connection.execute(text("SELECT * FROM orders"))}
        levels = {row.variant_id: row for row in connection.execute(text("SELECT * FROM stock_level"))}
        sold = connection.execute(
            text("SELECT variant_id, -sum(on_hand_delta) AS units FROM stock_movement WHERE kind = 'sale' GROUP BY 1")
        )
        units_sold = {row.variant_id: row.units for row in sold}
    assert {hold_id: holds.get(hold_id) for hold_id in told.holds} == told.holds
    assert {order_id: orders[order_id].hold_id for order_id in told.orders if order_id in orders} == told.orders
    assert [order_id for order_id in told.paid if orders[order_id].payment_status not in MONEY_CAME] == []
    states = {event_id: {receipt["state"] for receipt in told.receipts[event_id]} for event_id in told.paid.values()}
    assert [event_id for event_id, found in states.items() if found != {"processed"}] == []
    for variant_id, units in stock.items():
        assert levels[variant_id].on_hand + units_sold.get(variant_id, 0) == units
