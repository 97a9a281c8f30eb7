"""Events reach endpoints: signed, with one id, for as long as it takes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session
from support.processes import wait_until
from support.till import Till
from webtest import TestApp

from commerce_core.database import transaction
from commerce_core.events import JobDied, OrderPaid, ProductChanged, emit
from commerce_core.jobs.runner import time_limit
from commerce_core.orders.models import Order
from commerce_core.orders.privacy import forget_customer
from commerce_core.testing import StoppedClock, count_sql
from commerce_core.webhooks.delivery import LEASE, RETRY, claim_delivery, deliver_due, retry_after
from commerce_core.webhooks.models import WebhookDelivery
from tests.webhooks.conftest import ENDPOINTS, Desk
from tests.webhooks.receiver import Receiver, running

Desks = Callable[..., Desk]
Run = Callable[..., Any]


@pytest.fixture
def pay(engine: Engine, application: Any) -> Callable[[], UUID]:
    """Emits that an order was paid, of which there is nothing else; its id."""

    def emit_one() -> UUID:
        order_id = uuid4()
        with transaction(engine) as session:
            emit(session, OrderPaid(order_id=order_id, number="N-1"))
        return order_id

    return emit_one


def test_an_order_paid_over_http_is_told_once_and_signed(
    desk: Desks, till: Till, receiver: Receiver, run_jobs: Run, make_variant: Run, clock: StoppedClock
) -> None:
    endpoint = desk("order.paid")
    order = till.buy({make_variant(): 1})
    run_jobs()
    run_jobs()
    [message], [headers] = receiver.taken, receiver.calls
    assert message == {
        "id": headers["webhook-id"],
        "topic": "order.paid",
        "created_at": clock.now().isoformat().replace("+00:00", "Z"),
        "api_version": "1",
        "data": {"order_id": order["id"], "number": order["number"]},
    }
    assert headers["content-type"] == "application/json"
    assert headers["webhook-timestamp"] == str(int(clock.now().timestamp()))
    assert (headers["host"], headers["path"]) == (f"127.0.0.1:{receiver.server_port}", "/hooks?shop=1")
    [delivery] = endpoint.deliveries(f"?subject=order:{order['id']}")
    assert (delivery["state"], delivery["attempts"], delivery["event_id"]) == ("delivered", 1, message["id"])


def test_each_endpoint_hears_what_it_asks_for(
    desk: Desks, till: Till, receiver: Receiver, staff: TestApp, run_jobs: Run, make_variant: Run
) -> None:
    variant_id = make_variant()
    everything = desk("*")
    with running() as other:
        orders = Desk(staff, other, ["order.*", "refund.due"])
        till.buy({variant_id: 1})
        run_jobs()
        assert [message["topic"] for message in other.taken] == ["order.placed", "order.paid"]
    assert [message["topic"] for message in receiver.taken] == ["order.placed", "order.paid"]
    ids = [{each["event_id"] for each in endpoint.deliveries()} for endpoint in (everything, orders)]
    assert ids[0] == ids[1], "an event has one id, whoever is told of it"


def test_nothing_is_told_of_what_was_rolled_back(
    engine: Engine, desk: Desks, run_jobs: Run, receiver: Receiver
) -> None:
    endpoint = desk()
    with Session(engine) as session:
        emit(session, OrderPaid(order_id=uuid4(), number="N-1"))
        session.rollback()
    run_jobs()
    assert (receiver.calls, endpoint.deliveries()) == ([], [])


def test_what_nobody_wants_costs_one_query_and_writes_nothing(desk: Desks, engine: Engine) -> None:
    desk("refund.*").change(active=True)
    with count_sql(engine) as statements, transaction(engine) as session:
        emit(session, ProductChanged(what="product.update"))
    assert [statement.split()[0] for statement in statements] == ["SELECT"]
    with Session(engine) as session:
        assert session.scalar(text("SELECT count(*) FROM job WHERE state = 'waiting'")) == 0
        assert session.scalars(select(WebhookDelivery)).all() == []


def test_the_shops_own_works_are_told_nobody(desk: Desks, engine: Engine) -> None:
    endpoint = desk("*")
    with transaction(engine) as session:
        emit(session, JobDied(job_id=uuid4(), name="mail.deliver", error="no", subject=None))
    assert endpoint.deliveries() == []


@pytest.mark.usefixtures("soon_given_up")
def test_a_receiver_that_was_down_is_told_later_with_the_same_id(
    desk: Desks, pay: Callable[[], UUID], receiver: Receiver, run_jobs: Run, at_next_attempt: Run
) -> None:
    endpoint = desk()
    order_id = pay()
    receiver.mischief.extend([500, "hang up", "hang"])
    run_jobs()
    assert receiver.taken == []
    for _ in range(3):
        at_next_attempt(endpoint)
    [message] = receiver.taken
    assert message["data"]["order_id"] == str(order_id)
    assert {call["webhook-id"] for call in receiver.calls} == {message["id"]}
    detail = endpoint.detail(endpoint.deliveries()[0])
    assert [attempt["status"] for attempt in detail["log"]] == [500, None, None, 200]
    assert detail["log"][0]["response"] == "nothing"
    assert "ReadTimeoutError" in detail["log"][2]["error"]
    assert detail["log"][3]["response"] == "thanks"
    assert f'"id":"{message["id"]}"' in detail["body"]
    assert (endpoint.show()["failing_since"], endpoint.show()["rests_until"]) == (None, None)


def test_it_is_tried_for_three_days(
    desk: Desks, pay: Run, receiver: Receiver, run_jobs: Run, at_next_attempt: Run, clock: StoppedClock
) -> None:
    endpoint, began = desk(), clock.now()
    pay()
    receiver.mischief.extend([404] * 20)
    run_jobs()
    while endpoint.deliveries("?state=waiting"):
        at_next_attempt(endpoint)
    [delivery] = endpoint.deliveries()
    assert (delivery["state"], delivery["attempts"]) == ("failed", len(RETRY) + 1)
    assert timedelta(days=3) < clock.now() - began < timedelta(days=4)
    assert endpoint.show()["active"]


def test_one_that_nobody_can_read_holds_up_no_other(desk: Desks, pay: Run, receiver: Receiver, run_jobs: Run) -> None:
    endpoint = desk()
    pay()
    second = pay()
    receiver.mischief.append(500)
    run_jobs()
    assert [message["data"]["order_id"] for message in receiver.taken] == [str(second)]
    assert [each["state"] for each in endpoint.deliveries()] == ["waiting", "delivered"]


@pytest.mark.usefixtures("soon_given_up")
def test_an_endpoint_where_nobody_answers_rests_and_holds_up_no_other(
    desk: Desks, pay: Run, receiver: Receiver, staff: TestApp, run_jobs: Run, later: Run
) -> None:
    endpoint = desk()
    receiver.mischief.append("hang")
    with running() as other:
        Desk(staff, other, ["*"])
        for _ in range(3):
            pay()
        run_jobs()
        assert len(other.taken) == 3
    assert [each["attempts"] for each in endpoint.deliveries()] == [1, 0, 0]
    run_jobs()
    assert len(receiver.calls) == 1
    later(seconds=12)
    assert len(receiver.taken) == 3


def test_one_who_answers_byte_by_byte_is_given_the_time_of_a_job(
    desk: Desks, pay: Run, receiver: Receiver, application: Any, clock: StoppedClock
) -> None:
    endpoint, registry = desk(), application.registry
    pay()
    receiver.mischief.append("drip")

    def end_the_time() -> None:
        wait_until(lambda: receiver.calls)
        os.kill(os.getpid(), signal.SIGALRM)

    with time_limit(600), ThreadPoolExecutor(1) as thread:
        thread.submit(end_the_time)
        settings = registry.settings_object.webhooks
        deliver_due(registry.engine, registry.webhook_sender, settings, UUID(endpoint.id), clock=clock)
    [attempt] = endpoint.detail(endpoint.deliveries()[0])["log"]
    assert attempt["error"].startswith("TimeLimitExceeded")
    assert endpoint.show()["rests_until"] is not None


def test_a_receiver_that_asks_for_time_is_given_it(
    desk: Desks, pay: Run, receiver: Receiver, run_jobs: Run, later: Run, clock: StoppedClock
) -> None:
    endpoint = desk()
    pay()
    receiver.mischief.append("retry later")
    run_jobs()
    [delivery] = endpoint.deliveries()
    assert datetime.fromisoformat(delivery["next_attempt_at"]) == clock.now() + timedelta(hours=2)
    later(hours=1)
    assert receiver.taken == []
    later(hours=1)
    assert len(receiver.taken) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("90", 90),
        ("999999999999", 86_400),
        ("-5", 0),
        ("soon", 0),
        ("Sat, 21 Nov 2026 12:01:00 GMT", 60),
        ("Sat, 21 Nov 2020 12:01:00 GMT", 0),
    ],
)
def test_retry_after_is_honoured_within_bounds(header: str | None, seconds: int) -> None:
    now = datetime.fromisoformat("2026-11-21T12:00:00Z")
    assert retry_after(header, now=now) == timedelta(seconds=seconds)


def test_a_redirect_is_not_followed(desk: Desks, pay: Run, receiver: Receiver, run_jobs: Run) -> None:
    endpoint = desk()
    pay()
    receiver.mischief.append("redirect")
    run_jobs()
    detail = endpoint.detail(endpoint.deliveries()[0])
    assert (detail["state"], detail["log"][0]["status"]) == ("waiting", 307)


def test_of_a_huge_answer_the_beginning_is_read(desk: Desks, pay: Run, receiver: Receiver, run_jobs: Run) -> None:
    endpoint = desk()
    pay()
    receiver.mischief.append("huge")
    run_jobs()
    detail = endpoint.detail(endpoint.deliveries()[0])
    assert (detail["state"], detail["log"][0]["response"]) == ("delivered", "x" * 2_048)


def test_an_endpoint_that_is_gone_is_sent_nothing_more(
    desk: Desks, pay: Run, receiver: Receiver, run_jobs: Run, sign_in: Run
) -> None:
    endpoint = desk()
    pay()
    pay()
    receiver.mischief.append(410)
    run_jobs()
    assert len(receiver.calls) == 1
    assert (endpoint.show()["active"], endpoint.show()["disabled_reason"]) == (False, "gone")
    pay()  # is not written down for it
    assert [each["state"] for each in endpoint.deliveries()] == ["failed", "waiting"]
    log = sign_in("admin").client.get(f"/api/v1/admin/audit-log?subject=webhook-endpoint:{endpoint.id}").json["data"]
    assert (log[0]["action"], log[0]["actor"]) == ("webhook-endpoint.disable", "worker")


def test_an_endpoint_that_fails_for_days_is_disabled_until_staff_enable_it(
    desk: Desks, pay: Run, receiver: Receiver, run_jobs: Run, later: Run
) -> None:
    endpoint = desk()
    receiver.mischief.extend([500] * 100)
    pay()
    run_jobs()
    later(days=4)
    assert endpoint.show()["active"]
    later(days=1, seconds=1)
    assert (endpoint.show()["active"], endpoint.show()["disabled_reason"]) == (False, "failing")
    receiver.mischief.clear()
    later(days=1)
    assert receiver.taken == []
    shown = endpoint.change(active=True)
    assert (shown["disabled_reason"], shown["failing_since"]) == (None, None)
    run_jobs()
    assert len(receiver.taken) == 1, "what waited is sent when it is enabled again"


def test_one_delivery_in_between_keeps_an_endpoint_alive(
    desk: Desks, pay: Run, receiver: Receiver, run_jobs: Run, later: Run
) -> None:
    endpoint = desk()
    receiver.mischief.extend([500, 500, 200, 500])
    pay()
    run_jobs()
    later(days=4)
    pay()
    run_jobs()
    later(days=4)
    assert endpoint.show()["active"]


def test_a_rotated_secret_signs_beside_the_new_one_for_a_day(
    desk: Desks, pay: Run, receiver: Receiver, run_jobs: Run, clock: StoppedClock
) -> None:
    endpoint = desk()
    old, new = endpoint.secret, endpoint.rotate()
    assert new != old
    for receiver.secret in (old, new):
        pay()
        run_jobs()
    assert len(receiver.taken) == 2
    clock.tick(hours=24)
    receiver.secret = old
    pay()
    run_jobs()
    assert len(receiver.taken) == 2
    assert len(receiver.calls[-1]["webhook-signature"].split(" ")) == 1


def test_staff_send_a_failed_delivery_again(
    desk: Desks, pay: Run, receiver: Receiver, run_jobs: Run, at_next_attempt: Run
) -> None:
    endpoint = desk()
    pay()
    receiver.mischief.extend([500] * 11)
    run_jobs()
    while endpoint.deliveries("?state=waiting"):
        at_next_attempt(endpoint)
    [failed] = endpoint.deliveries("?state=failed&topic=order.paid")
    answer = endpoint.staff.post_json(
        f"{endpoint.path}/deliveries/replay", {"failed_since": "2026-01-01T00:00:00Z", "topic": "order.placed"}
    )
    assert answer.json == {"replayed": 0, "more": False}
    answer = endpoint.staff.post_json(f"{endpoint.path}/deliveries/replay", {"failed_since": failed["created_at"]})
    assert answer.json == {"replayed": 1, "more": False}
    run_jobs()
    assert [message["id"] for message in receiver.taken] == [failed["event_id"]]
    endpoint.staff.post_json(f"{endpoint.path}/deliveries/{failed['id']}/replay", {})
    run_jobs()
    assert [message["id"] for message in receiver.taken] == [failed["event_id"]] * 2
    assert endpoint.detail(failed)["attempts"] == 13


def test_a_ping_is_sent_whatever_the_topics(desk: Desks, receiver: Receiver, run_jobs: Run) -> None:
    endpoint = desk("refund.failed")
    endpoint.ping()
    run_jobs()
    [message] = receiver.taken
    assert (message["topic"], message["data"]) == ("ping", {"endpoint_id": endpoint.id})


def test_an_inactive_endpoint_is_sent_no_ping(desk: Desks) -> None:
    endpoint = desk()
    endpoint.change(active=False)
    answer = endpoint.staff.post_json(f"{endpoint.path}/test", {}, status=409)
    assert answer.json["type"] == "/problems/webhook-endpoint-inactive"


def test_a_worker_that_dies_while_it_sends_leaves_the_delivery_to_another(
    desk: Desks, pay: Run, receiver: Receiver, run_jobs: Run, later: Run, engine: Engine, clock: StoppedClock
) -> None:
    endpoint = desk()
    pay()
    with transaction(engine) as session:
        assert claim_delivery(session, UUID(endpoint.id), now=clock.now()) is not None
    run_jobs()
    assert receiver.calls == []
    later(seconds=LEASE.total_seconds())
    assert [each["attempts"] for each in endpoint.deliveries()] == [2]
    assert len(receiver.taken) == 1


def test_old_deliveries_and_those_of_deleted_endpoints_are_forgotten(
    desk: Desks, pay: Run, run_jobs: Run, later: Run, engine: Engine
) -> None:
    endpoint = desk()
    pay()
    run_jobs()
    later(days=31)
    assert endpoint.deliveries() == []
    pay()
    endpoint.staff.delete(endpoint.path, headers={"If-Match": "*"}, status=204)
    later(hours=1)
    with Session(engine) as session:
        assert session.scalars(select(WebhookDelivery)).all() == []


def test_secrets_are_in_no_job_and_no_answer(
    desk: Desks, pay: Run, receiver: Receiver, run_jobs: Run, engine: Engine, sign_in: Run
) -> None:
    endpoint = desk()
    secrets = [endpoint.secret, endpoint.rotate()]
    pay()
    run_jobs()
    admin = sign_in("admin").client
    paths = [ENDPOINTS, endpoint.path, f"{endpoint.path}/deliveries", "/api/v1/admin/audit-log"]
    told = [admin.get(path).text for path in paths] + [str(endpoint.detail(endpoint.deliveries()[0]))]
    with engine.connect() as connection:
        told += [str(connection.execute(text(f"TABLE {table}")).all()) for table in ("job", "idempotency_key")]
    assert not any(secret in each or secret[6:] in each for secret in secrets for each in told)


def test_whoever_leaves_is_not_found_by_a_parcels_number(
    desk: Desks, till: Till, receiver: Receiver, run_jobs: Run, make_variant: Run, engine: Engine, clock: StoppedClock
) -> None:
    endpoint = desk("order.fulfilled")
    orders = [till.buy({make_variant(): 1}) for _ in range(2)]
    for order, number in zip(orders, ("JD0001", "JD0002"), strict=True):
        till.fulfil(order, carrier="DHL", tracking_number=number)
    run_jobs()
    leaves, stays = endpoint.deliveries()
    assert "JD0001" in endpoint.detail(leaves)["body"]
    with transaction(engine) as session:
        owner = session.get_one(Order, UUID(orders[0]["id"])).owner
        forget_customer(session, owner, now=clock.now())
    forgotten, kept = endpoint.detail(leaves), endpoint.detail(stays)
    assert '"tracking_number":null' in forgotten["body"]
    assert forgotten["log"][0]["response"] is None
    assert "JD0002" in kept["body"]
    assert kept["log"][0]["response"] == "thanks"
