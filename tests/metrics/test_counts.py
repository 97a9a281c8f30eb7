"""What happens in the shop is what the metrics say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import structlog
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from structlog.testing import capture_logs
from support.metrics import Reading
from webob import Request
from webtest import TestApp

from commerce_core.api import requests
from commerce_core.application import close, make_configurator
from commerce_core.embedded import EmbeddedPostgres
from commerce_core.jobs.runner import run_due
from commerce_core.metrics import Metrics, statements
from commerce_core.settings import CoreSettings
from commerce_core.testing import StoppedClock, count_sql, folder_for_postgres, make_settings
from tests.jobs.kinds import RAN, fatal, fragile, note

HERE = {"REMOTE_ADDR": "127.0.0.1"}
HOLDS = "/api/v1/holds"

pytestmark = pytest.mark.commerce(settings={"metrics.allowed": "127.0.0.1"})


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy must not look like a database that is away."""
    monkeypatch.setattr("commerce_core.metrics.database.CONNECT_SECONDS", 60)
    monkeypatch.setattr("commerce_core.metrics.database.STATEMENT_MS", 60_000)


@pytest.fixture
def read(application: Any, clock: StoppedClock) -> Callable[[], Reading]:
    """`read()`: the metrics as they are now."""

    def read() -> Reading:
        clock.tick(seconds=6)  # what was read from the database is kept for a few seconds
        return Reading(TestApp(application, extra_environ=HERE).get("/metrics").text)

    return read


def test_what_an_alert_counts_the_first_of_is_0_before(read: Callable[[], Reading]) -> None:
    # Prometheus sees no increase in a figure that begins with 1.
    for name in ("commerce_refunds_total", "commerce_mails_total"):
        assert {"outcome": "failed"} in read().labels(name), name


def test_requests_are_counted_by_route_and_status(
    client: TestApp, read: Callable[[], Reading], make_variant: Callable[..., UUID]
) -> None:
    before = read()
    variant_id = str(make_variant(stock=3))
    for quantity in (1, 2, 1):
        client.post_json(HOLDS, {"variant_id": variant_id, "quantity": quantity}, status="*")
    after = read()

    def grown(name: str, /, **labels: str) -> float:
        return after(name, **labels) - before(name, **labels)

    assert grown("commerce_http_requests_total", route=HOLDS, method="POST", status="2xx") == 2
    assert grown("commerce_http_requests_total", route=HOLDS, method="POST", status="4xx") == 1
    assert grown("commerce_http_request_seconds_count", route=HOLDS, method="POST") == 3
    assert grown("commerce_holds_total", outcome="placed") == 2
    assert grown("commerce_holds_total", outcome="out_of_stock") == 1
    assert grown("commerce_hold_batch_size_count") == 3
    assert grown("commerce_hold_batch_size_sum") == 3
    assert after("commerce_database_pool_in_use") == 0
    assert after("commerce_database_pool_size", pool="holds") == 4


def test_made_up_addresses_and_methods_make_no_series(
    application: Any, client: TestApp, read: Callable[[], Reading]
) -> None:
    for number in range(20):
        client.get(f"/{number}", status=404)
        client.get(f"/api/v1/products/{uuid4()}", status=404)
        Request.blank("/healthz", method=f"METHOD{number}").get_response(application)
    reading = read()
    assert reading("commerce_http_requests_total", route="other", method="GET", status="4xx") == 20
    assert reading("commerce_http_requests_total", route="/healthz", method="other") == 20
    assert reading("commerce_http_requests_total", route="/api/v1/products/{id}", status="4xx") == 20
    assert len(reading.labels("commerce_http_requests_total")) == 3


def test_a_repeated_request_is_counted_as_one_effect(
    client: TestApp, read: Callable[[], Reading], make_variant: Callable[..., UUID]
) -> None:
    body = {"variant_id": str(make_variant()), "quantity": 1}
    for _ in range(3):
        client.post_json(HOLDS, body, headers={"Idempotency-Key": "once"})
    reading = read()
    assert reading("commerce_holds_total", outcome="placed") == 1
    assert reading("commerce_holds_total", outcome="replayed") == 2
    assert reading("commerce_idempotent_replays_total") == 2


@pytest.mark.commerce(settings={"metrics.allowed": "127.0.0.1", "limits.hold": "2/minute"})
def test_what_a_limit_refuses_is_counted_by_limit(application: Any, read: Callable[[], Reading]) -> None:
    client = TestApp(application, extra_environ=HERE)
    statuses = [client.post_json(HOLDS, {}, status="*").status_code for _ in range(5)]
    assert statuses == [422, 422, 429, 429, 429]
    assert read()("commerce_rate_limit_refusals_total", limit="hold") == 3


def test_orders_and_the_cache_are_counted(
    client: TestApp, staff: TestApp, read: Callable[[], Reading], make_variant: Callable[..., UUID]
) -> None:
    variant_id = str(make_variant(stock=5))
    for _ in range(3):
        client.get("/api/v1/products")
    placed = []
    for _ in range(2):
        hold = client.post_json(HOLDS, {"variant_id": variant_id, "quantity": 1}).json
        placed.append(client.post_json("/api/v1/orders", {"hold_id": hold["id"], **BUYER}).json["id"])
    staff.post_json(f"/api/v1/admin/orders/{placed[0]}/mark-paid", {"reference": "cash"})
    staff.post_json(f"/api/v1/admin/orders/{placed[1]}/cancel", {"reason": "changed her mind"})
    reading = read()
    assert reading("commerce_orders_placed_total") == 2
    assert reading("commerce_orders_paid_total") == 1
    assert reading("commerce_orders_cancelled_total", reason="cancelled") == 1
    # How many are found depends on how soon the process hears of the others.
    missed = reading("commerce_cache_lookups_total", tier="process", outcome="miss")
    assert missed + reading("commerce_cache_lookups_total", tier="process", outcome="hit") == 3
    assert reading("commerce_cache_builds_total") == missed > 0


def test_mails_are_counted_when_they_are_delivered(
    client: TestApp, read: Callable[[], Reading], run_jobs: Callable[[], int]
) -> None:
    body = {"email": "ada@example.com", "password": "correct horse battery", "name": "Ada"}
    client.post_json("/api/v1/auth/register", body, status=202)
    assert read()("commerce_mails_waiting") == 1
    run_jobs()
    reading = read()
    assert (reading("commerce_mails_waiting"), reading("commerce_mails_total", outcome="sent")) == (0, 1)


BUYER = {
    "customer": {"email": "ada@example.com", "name": "Ada"},
    "shipping_address": {"name": "Ada", "line1": "1 Way", "city": "London", "country": "GB"},
}


@pytest.fixture
def shop(settings: CoreSettings, clock: StoppedClock, engine: Engine) -> Iterator[Any]:
    """The application, with a few jobs of its own."""
    config = make_configurator(settings, clock=clock)
    for kind in (note, fragile, fatal):
        config.add_job(kind)
    application = config.make_wsgi_app()
    RAN.clear()
    yield application
    close(application.registry)


def test_jobs_are_counted_where_they_run_and_those_that_wait_when_somebody_asks(shop: Any, clock: StoppedClock) -> None:
    registry = shop.registry
    reader = TestApp(shop, extra_environ=HERE)
    with Session(registry.engine) as session, session.begin():
        for word in ("a", "b"):
            note.enqueue(session, now=clock.now(), word=word)
        fatal.enqueue(session, now=clock.now())
        fragile.enqueue(session, now=clock.now())
    clock.tick(seconds=4)
    run_due(registry, registry.engine)
    with Session(registry.engine) as session, session.begin():
        note.enqueue(session, now=clock.now(), word="c")
    clock.tick(seconds=7)
    reading = Reading(reader.get("/metrics").text)
    runs = "commerce_job_runs_total"
    assert reading(runs, queue="default", name="test.note", outcome="done") == 2
    assert reading(runs, name="test.fatal", outcome="dead") == 1
    assert reading(runs, queue="critical", name="test.fragile", outcome="retry") == 1
    assert reading("commerce_job_run_seconds_count") == 4
    assert reading("commerce_job_wait_seconds_sum", queue="default") == pytest.approx(12)
    states = {state: reading("commerce_jobs", state=state) for state in ("waiting", "scheduled", "running", "dead")}
    assert states == {"waiting": 1, "scheduled": 1, "running": 0, "dead": 1}
    assert reading("commerce_jobs_oldest_waiting_seconds", queue="default") == pytest.approx(7)
    assert reading("commerce_jobs_oldest_waiting_seconds", queue="critical") == 0


@pytest.mark.commerce(
    settings={"metrics.allowed": "127.0.0.1", "sqlalchemy.pool_size": 1, "sqlalchemy.pool_timeout_seconds": 0.01}
)
def test_a_pool_that_is_used_up_is_told_by_a_scrape_that_does_not_need_it(
    application: Any, read: Callable[[], Reading]
) -> None:
    engine = application.registry.engine
    with engine.connect():
        with pytest.raises(PoolTimeout):
            engine.connect()
        reading = read()
    assert reading("commerce_database_pool_in_use", pool="requests") == 1
    assert reading("commerce_database_pool_timeouts_total", pool="requests") == 1
    assert reading("commerce_database_up") == 1
    assert read()("commerce_database_pool_in_use", pool="requests") == 0


def test_a_scrape_is_answered_while_the_database_is_away_and_after(clock: StoppedClock) -> None:
    with folder_for_postgres() as folder:
        server = EmbeddedPostgres(folder)
        server.start()
        application = make_configurator(
            make_settings(server.url, {"metrics.allowed": "127.0.0.1"}), clock=clock
        ).make_wsgi_app()
        client = TestApp(application, extra_environ=HERE)
        try:
            server.stop(patience=0)
            client.get("/readyz", status=503)
            away = Reading(client.get("/metrics").text)
            assert away("commerce_database_up") == 0
            assert away("commerce_http_requests_total", route="/readyz", status="5xx") == 1
            assert away.labels("commerce_jobs") == []
            assert away("commerce_database_pool_in_use") == 0
        finally:
            close(application.registry)


def test_statements_are_counted_and_timed_those_that_fail_too(
    application: Any, client: TestApp, read: Callable[[], Reading], make_variant: Callable[..., UUID]
) -> None:
    variant_id, engine = str(make_variant(stock=1)), application.registry.engine
    name = "commerce_database_statement_seconds_count"
    before = read()
    with count_sql(engine) as sent:
        client.get(f"/api/v1/holds/{uuid4()}", status=404)
        with engine.connect() as connection, pytest.raises(DBAPIError):
            connection.exec_driver_sql("SELECT no_such_column")
    for status in (201, 409):
        client.post_json(HOLDS, {"variant_id": variant_id, "quantity": 1}, status=status)
    after = read()
    assert after(name, pool="requests") - before(name, pool="requests") == len(sent) >= 2
    # One takes; the other tries, and then looks what there is.
    assert after(name, pool="holds") - before(name, pool="holds") == 3


def test_holds_that_lapse_are_counted_wherever_that_is_noticed(
    client: TestApp,
    read: Callable[[], Reading],
    make_variant: Callable[..., UUID],
    clock: StoppedClock,
    run_jobs: Callable[[], int],
) -> None:
    variant_id = str(make_variant(stock=2))
    for _ in range(2):
        client.post_json(HOLDS, {"variant_id": variant_id, "quantity": 1})
    clock.tick(minutes=3)
    client.post_json(HOLDS, {"variant_id": variant_id, "quantity": 2})  # noticed at the desk
    assert read()("commerce_holds_expired_total") == 2
    clock.tick(minutes=3)
    run_jobs()  # noticed by a worker
    assert read()("commerce_holds_expired_total") == 3


@pytest.mark.commerce(settings={"log.slow_request_ms": 1, "log.slow_statement_ms": 1, "log.repeated_statements": 3})
def test_slow_and_repeated_things_get_a_line_without_what_was_bound(
    settings: CoreSettings, clock: StoppedClock, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (requests, statements):  # a logger that was used before goes on as it was configured then
        monkeypatch.setattr(module, "_log", structlog.get_logger())

    def busy(request: Any) -> Response:
        for _ in range(3):
            with request.registry.engine.connect() as connection:
                connection.execute(text("SELECT pg_sleep(0.002), :secret"), {"secret": "hunter2"})
        return Response("done")

    config = make_configurator(settings, clock=clock)
    config.add_route("busy", "/busy")
    config.add_view(busy, route_name="busy", permission=NO_PERMISSION_REQUIRED)
    application = config.make_wsgi_app()
    try:
        with capture_logs() as lines:
            TestApp(application).get("/busy?token=hunter2")
    finally:
        close(config.registry)
    events = Counter(line["event"] for line in lines)
    assert (events["slow statement"], events["slow request"], events["statement repeated"]) == (3, 1, 1)
    (repeated,) = (line for line in lines if line["event"] == "statement repeated")
    assert (repeated["route"], repeated["times"]) == ("busy", 3)
    assert repeated["statement"].startswith("SELECT pg_sleep(0.002), ")
    assert "hunter2" not in str(lines)


def test_two_applications_in_a_process_count_apart(application: Any, shop: Any, read: Callable[[], Reading]) -> None:
    TestApp(shop).get("/healthz")
    assert read()("commerce_http_requests_total", route="/healthz") == 0


def test_the_documented_metrics_are_those_that_there_are(application: Any) -> None:
    metrics: Metrics = application.registry.metrics
    page = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    rows = re.findall(r"^\| `(commerce_\w+)` \| (\w+) \|([^|]*)\|", page, re.MULTILINE)
    documented = {(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert documented == {(each.name, each.kind, each.labels) for each in metrics.descriptions}
