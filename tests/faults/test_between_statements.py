"""The connection is lost before every single statement, and around every commit, of what moves stock.

Whatever the moment: nothing is done by half, and trying again succeeds and has its effect once.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import OperationalError
from support.audit import findings
from webtest import TestApp

from commerce_core.payments.provider import ManualProvider
from commerce_core.payments.sweep import expire_orders
from commerce_core.stock.sweep import sweep_holds
from commerce_core.testing import WEBHOOK_SECRET, StoppedClock, assert_stock_adds_up

CUSTOMER = {"email": "buyer@example.com", "name": "Buyer"}


class Sabotage:
    """Ends the connection at one of the moments that pass, from 0 on: before each statement, and around each commit."""

    def __init__(self, victim: Engine, administrator: Engine, moment: int) -> None:
        self.victim = victim
        self.administrator = administrator
        self.moments_left = moment
        self.done = False

    @contextmanager
    def at_work(self) -> Iterator[None]:
        commit = self.victim.dialect.do_commit

        def commit_in_danger(connection: Any) -> None:
            self._moment(connection)
            commit(connection)
            if self._moment(connection):
                # It is committed, but nobody is told so.
                connection.driver_connection.close()
                raise psycopg.OperationalError("the connection was lost")

        def before_statement(connection: Any, *_: Any) -> None:
            self._moment(connection.connection)

        event.listen(self.victim, "before_cursor_execute", before_statement)
        self.victim.dialect.do_commit = commit_in_danger  # type: ignore[method-assign]
        try:
            yield
        finally:
            del self.victim.dialect.do_commit
            event.remove(self.victim, "before_cursor_execute", before_statement)

    def _moment(self, connection: Any) -> bool:
        self.moments_left -= 1
        if self.moments_left != -1:
            return False
        pid = {"pid": connection.driver_connection.info.backend_pid}
        with self.administrator.connect() as administrator:
            administrator.execute(text("SELECT pg_terminate_backend(:pid)"), pid)
            while administrator.scalar(text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid"), pid):
                administrator.rollback()
        self.done = True
        return True


@dataclass
class Shop:
    """The shop under test, and the steps of a purchase."""

    client: TestApp
    engine: Engine
    victim: Engine
    clock: StoppedClock
    variant_id: UUID

    def hold(self, quantity: int = 1) -> str:
        body = {"variant_id": str(self.variant_id), "quantity": quantity}
        return str(self.client.post_json("/api/v1/holds", body, status=201).json["id"])

    def order(self) -> str:
        body = {"hold_id": self.hold(), "payment": {"provider": "manual"}}
        return str(self.client.post_json("/api/v1/orders", body, status=201).json["id"])

    def lapsed_order(self) -> str:
        order_id = self.order()
        self.clock.tick(hours=1)
        expire_orders(self.engine, now=self.clock.now())
        return order_id

    def post(self, path: str, body: Any = None, *, key: str) -> int:
        answer = self.client.post(
            f"/api/v1{path}",
            b"" if body is None else json.dumps(body).encode(),
            content_type="application/json",
            headers={"Idempotency-Key": key},
            status="*",
        )
        return int(answer.status_int)

    def webhook(self, order_id: str, status: str = "paid") -> int:
        body = json.dumps({"event_id": f"{status} {order_id}", "order_id": order_id, "status": status}).encode()
        signature = "sha256=" + ManualProvider.signature(WEBHOOK_SECRET, body)
        answer = self.client.post(
            "/api/v1/payments/webhook",
            body,
            content_type="application/json",
            headers={"X-Webhook-Signature": signature},
            status="*",
        )
        return int(answer.status_int)

    def rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query), parameters)]


@pytest.fixture
def shop(
    client: TestApp, application: Any, engine: Engine, clock: StoppedClock, make_variant: Callable[..., UUID]
) -> Shop:
    return Shop(client, engine, application.registry.engine, clock, make_variant(stock=1_000))


# Each makes ready, and returns the attempt (which says True when it has succeeded, False when it may be tried again,
# and nothing else) and what must be found when it has succeeded.
Scenario = tuple[Callable[[], bool], Callable[[], object]]
ORDER = "SELECT status, payment_status FROM orders WHERE id = :id"
MOVEMENTS = "SELECT kind FROM stock_movement WHERE order_id = :id ORDER BY version"


def succeeded(status: int) -> bool:
    assert status in {200, 201, 204, 503}
    return status != 503


def swept(sweep: Callable[[], object]) -> bool:
    try:
        sweep()
    except OperationalError:
        return False
    return True


def placing_an_order(shop: Shop) -> Scenario:
    hold_id = shop.hold()
    body = {"hold_id": hold_id, "customer": CUSTOMER, "payment": {"provider": "manual"}}

    def check() -> None:
        assert shop.rows(
            "SELECT status, payment_status, hold.state FROM orders JOIN hold ON hold.id = hold_id WHERE hold_id = :id",
            id=hold_id,
        ) == [("pending", "pending", "converted")]

    return lambda: succeeded(shop.post("/orders", body, key=hold_id)), check


def paying(shop: Shop) -> Scenario:
    order_id = shop.order()

    def check() -> None:
        assert shop.rows(ORDER, id=order_id) == [("processing", "paid")]
        assert shop.rows(MOVEMENTS, id=order_id) == [("sale",)]

    return lambda: succeeded(shop.webhook(order_id)), check


def paying_late(shop: Shop) -> Scenario:
    order_id = shop.lapsed_order()

    def check() -> None:
        assert shop.rows(ORDER, id=order_id) == [("processing", "paid")]
        assert shop.rows(MOVEMENTS, id=order_id) == [("release",), ("sale",)]

    return lambda: succeeded(shop.webhook(order_id)), check


def paying_late_for_what_is_gone(shop: Shop) -> Scenario:
    order_id = shop.lapsed_order()
    [(available,)] = shop.rows("SELECT on_hand - reserved FROM stock_level WHERE variant_id = :id", id=shop.variant_id)
    shop.hold(available)

    def check() -> None:
        assert shop.rows(ORDER, id=order_id) == [("cancelled", "paid")]
        assert shop.rows("SELECT status FROM refund WHERE order_id = :id", id=order_id) == [("pending",)]
        shop.clock.tick(hours=1)
        sweep_holds(shop.engine, now=shop.clock.now())

    return lambda: succeeded(shop.webhook(order_id)), check


def failing_to_pay(shop: Shop) -> Scenario:
    order_id = shop.order()

    def check() -> None:
        assert shop.rows(ORDER, id=order_id) == [("pending", "failed")]

    return lambda: succeeded(shop.webhook(order_id, "failed")), check


def cancelling(shop: Shop) -> Scenario:
    order_id = shop.order()

    def check() -> None:
        assert shop.rows(ORDER, id=order_id)[0][0] == "cancelled"
        assert shop.rows(MOVEMENTS, id=order_id) == [("release",)]

    return lambda: succeeded(shop.post(f"/orders/{order_id}/cancel", key=order_id)), check


def releasing(shop: Shop) -> Scenario:
    hold_id = shop.hold()

    def check() -> None:
        assert shop.rows("SELECT state FROM hold WHERE id = :id", id=hold_id) == [("released",)]

    return lambda: succeeded(shop.client.delete(f"/api/v1/holds/{hold_id}", status="*").status_int), check


def extending(shop: Shop) -> Scenario:
    hold_id = shop.hold()

    def check() -> None:
        assert shop.rows("SELECT state, extensions FROM hold WHERE id = :id", id=hold_id) == [("active", 1)]

    return lambda: succeeded(shop.post(f"/holds/{hold_id}/extend", key=hold_id)), check


def sweeping_holds(shop: Shop) -> Scenario:
    hold_ids = [UUID(shop.hold()) for _ in range(3)]
    shop.clock.tick(hours=1)

    def check() -> None:
        assert shop.rows("SELECT state FROM hold WHERE id = ANY(:ids)", ids=hold_ids) == [("expired",)] * 3

    return lambda: swept(lambda: sweep_holds(shop.victim, now=shop.clock.now())), check


def sweeping_orders(shop: Shop) -> Scenario:
    order_ids = [UUID(shop.order()) for _ in range(2)]
    shop.clock.tick(hours=1)

    def check() -> None:
        assert shop.rows("SELECT status FROM orders WHERE id = ANY(:ids)", ids=order_ids) == [("cancelled",)] * 2

    return lambda: swept(lambda: expire_orders(shop.victim, now=shop.clock.now())), check


@pytest.mark.parametrize(
    "scenario",
    [
        placing_an_order,
        paying,
        paying_late,
        paying_late_for_what_is_gone,
        failing_to_pay,
        cancelling,
        releasing,
        extending,
        sweeping_holds,
        sweeping_orders,
    ],
)
def test_a_lost_connection_at_any_moment_leaves_nothing_done_by_half(
    shop: Shop, scenario: Callable[[Shop], Scenario]
) -> None:
    for moment in itertools.count():
        attempt, check = scenario(shop)
        sabotage = Sabotage(shop.victim, shop.engine, moment)
        with sabotage.at_work():
            first_try = attempt()
        assert_stock_adds_up(shop.engine)
        assert findings(shop.engine) == {}
        if not sabotage.done:
            break
        assert first_try or attempt()
        check()  # and whether all adds up, with what comes next
    assert first_try
    print(f"{moment} moments")
    assert moment >= 4  # at least two statements and a commit
