"""What the metrics of several processes say after a load is what the load did, to the last one."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from uuid import UUID

from sqlalchemy import Engine, text
from support.metrics import Reading
from support.processes import COMMERCE, PATIENT, Process, Web, free_port, wait_until

from commerce_core.payments.provider import ManualProvider
from commerce_core.testing import WEBHOOK_SECRET, assert_stock_adds_up
from tests.metrics.test_processes import environment  # noqa: F401 (a fixture)

API = "/api/v1"
STOCK, BUYERS, ORDERS, PAID, FAILED, CANCELLED = 30, 40, 10, 6, 2, 2
BUYER = {
    "customer": {"email": "ada@example.com", "name": "Ada"},
    "shipping_address": {"name": "Ada", "line1": "1 Way", "city": "London", "country": "GB"},
}


class Load:
    """Asks on a new connection each time, which the kernel gives to any of the processes, and keeps the books."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answered: Counter[tuple[str, str, str]] = Counter()

    def ask(self, route: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            connection.request(method, API + path, content, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            read = answer.read()
        finally:
            connection.close()
        self.answered[API + route, method, f"{answer.status // 100}xx"] += 1
        return answer.status, json.loads(read) if read else None

    def tell(self, event_id: str, order_id: str, status: str) -> Any:
        """The payment provider's webhook."""
        body = json.dumps({"event_id": event_id, "order_id": order_id, "status": status}).encode()
        signature = "sha256=" + ManualProvider.signature(WEBHOOK_SECRET, body)
        return self.ask("/payments/webhook", "POST", "/payments/webhook", body, **{"X-Webhook-Signature": signature})


def test_the_metrics_after_a_load_are_what_the_load_did(
    tmp_path: Path,
    environment: Mapping[str, str],  # noqa: F811
    engine: Engine,
    make_variant: Callable[..., UUID],
) -> None:
    variant = {"variant_id": str(make_variant(stock=STOCK)), "quantity": 1}
    config = tmp_path / "shop.ini"
    given = {**PATIENT, "metrics.allowed": "127.0.0.1", "stock.sold_out_memory_ms": 0}
    config.write_text("\n".join(["[app:main]", "use = egg:commerce-core", *(f"{k} = {v}" for k, v in given.items())]))
    web = Web(config, COMMERCE, environment, tmp_path / "web.log")
    port = free_port()
    worker = Process(
        [*COMMERCE, "worker", str(config), "--metrics-port", str(port)], environment, tmp_path / "worker.log"
    )
    load = Load(web.port)

    def read(port: int) -> Reading:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=120) as answer:
            return Reading(answer.read().decode())

    def of_worker(figure: str, /, **labels: str) -> float:
        try:
            return read(port)(figure, **labels)
        except OSError:
            assert worker.popen.poll() is None, worker.output
            return -1.0

    try:
        web.wait_until_ready()
        with ThreadPoolExecutor(8) as crowd:

            def hold(number: int) -> Any:
                return load.ask("/holds", "POST", "/holds", variant, **{"Idempotency-Key": f"buyer-{number}"})

            answers = list(crowd.map(hold, range(BUYERS)))
            held = [body["id"] for status, body in answers if status == 201]
            assert (len(held), Counter(status for status, _ in answers)[409]) == (STOCK, BUYERS - STOCK)
            again = [number for number, (status, _) in enumerate(answers) if status == 201][:5]
            assert [body["id"] for _, body in crowd.map(hold, again)] == [answers[number][1]["id"] for number in again]
            placed = list(
                crowd.map(lambda id: load.ask("/orders", "POST", "/orders", {"hold_id": id, **BUYER}), held[:ORDERS])
            )
            orders = [body["id"] for _, body in placed]
            for number, order in enumerate(orders[:PAID]):
                list(crowd.map(lambda _, n=number, id=order: load.tell(f"paid-{n}", id, "paid"), range(2)))
            for number, order in enumerate(orders[PAID : PAID + FAILED]):
                load.tell(f"failed-{number}", order, "failed")
            for order in orders[-CANCELLED:]:
                assert load.ask("/orders/{id}/cancel", "POST", f"/orders/{order}/cancel")[0] == 200
            for _ in range(12):  # one by one: who waits for another's answer that is overtaken looks again
                load.ask("/products", "GET", "/products")
        with engine.begin() as connection:
            connection.execute(text("UPDATE hold SET expires_at = now() WHERE state = 'active'"))
        wait_until(lambda: of_worker("commerce_holds_expired_total") == STOCK - ORDERS)

        for _ in range(4):  # whichever process answers
            told = read(web.port)
            for (route, method, status), number in load.answered.items():
                asked = {"route": route, "method": method}
                assert told("commerce_http_requests_total", **asked, status=status) == number, (route, status)
                of_route = sum(many for key, many in load.answered.items() if key[:2] == (route, method))
                assert told("commerce_http_request_seconds_count", **asked) == of_route, route
            assert told("commerce_http_requests_total", status="5xx") == 0
            assert told("commerce_holds_total", outcome="placed") == STOCK
            assert told("commerce_holds_total", outcome="out_of_stock") == BUYERS - STOCK
            assert told("commerce_holds_total", outcome="replayed") == len(again)
            assert told("commerce_holds_total") == BUYERS + len(again)
            assert told("commerce_hold_batch_size_sum") == BUYERS + len(again)
            assert told("commerce_orders_placed_total") == ORDERS
            assert told("commerce_orders_paid_total") == PAID
            assert told("commerce_order_payment_failures_total") == FAILED
            assert told("commerce_orders_cancelled_total", reason="cancelled") == CANCELLED
            assert told("commerce_webhooks_total", provider="manual") == PAID + FAILED
            assert told("commerce_cache_lookups_total", tier="process") == 12
            assert told("commerce_database_statement_seconds_count", pool="holds") >= told(
                "commerce_hold_batch_size_count"
            )
        # It is counted as run once it is over, which is after its stock was given back.
        wait_until(lambda: of_worker("commerce_job_runs_total", name="stock.expire_holds", outcome="done") >= 1)
        ran = read(port)
        assert ran("commerce_job_runs_total") == ran("commerce_job_run_seconds_count") >= 1
    finally:
        web.stop()
        worker.stop()
    assert_stock_adds_up(engine)
