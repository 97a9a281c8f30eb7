"""Leaving: nothing that says who you are stays, and nothing that the books need goes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text, update
from support.people import EMAIL, PASSWORD, Person, log_in, post
from support.problems import assert_problem
from support.processes import wait_until, waiting_for_a_lock
from support.till import ADMIN, Till, states
from webtest import TestApp

from commerce_core.orders.models import Order
from commerce_core.payments.sweep import carry_out_refunds, expire_orders
from commerce_core.testing import ReceivedMail, StoppedClock, assert_stock_adds_up, concurrently

Make = Callable[..., Person]
ADDRESS = {
    "name": "Ada Lovelace",
    "line1": "27 Long Acre",
    "city": "Londinium",
    "region": "Greater London",
    "postal_code": "WC2E 9LA",
    "country": "GB",
    "phone": "+44 20 7946 0958",
}
TRACES = ("Lovelace", "Long Acre", "Londinium", "WC2E", "7946", EMAIL, "ring twice")


def order(client: TestApp, variant_id: UUID) -> Any:
    hold = client.post_json("/api/v1/holds", {"variant_id": str(variant_id), "quantity": 1}).json
    body = {
        "hold_id": hold["id"],
        "customer": {"email": EMAIL, "name": "Ada Lovelace", "phone": "+44 20 7946 0958"},
        "shipping_address": ADDRESS,
        "billing_address": ADDRESS,
        "note": "ring twice",
    }
    return client.post_json("/api/v1/orders", body, headers={"Idempotency-Key": hold["id"]}, status=201).json


def set_states(engine: Engine, **states: str) -> None:
    if states:
        with engine.begin() as connection:
            connection.execute(update(Order).values(**states))


def everything(engine: Engine) -> str:
    """All that the database holds, as text."""
    with engine.connect() as connection:
        tables = connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
        rows = [connection.scalars(text(f"SELECT t::text FROM {table} t")).all() for table in tables]  # noqa: S608 (names of tables)
    return "\n".join(row for found in rows for row in found)


def test_nothing_that_says_who_it_was_stays(
    client: TestApp, make_person: Make, make_variant: Callable[..., UUID], engine: Engine, staff: TestApp
) -> None:
    person = make_person()
    placed = order(person.client, make_variant())
    post(client, "password-reset", 202, email=EMAIL)
    post(client, "register", 202, email=EMAIL.upper(), password=PASSWORD, name="Lovelace")
    set_states(engine, status="completed", payment_status="paid", fulfillment_status="fulfilled")
    assert all(trace in everything(engine) for trace in TRACES)
    post(person.client, "me/delete", 204, current_password=PASSWORD)
    left = everything(engine)
    assert [trace for trace in (*TRACES, EMAIL.upper()) if trace in left] == []
    kept = staff.get(f"/api/v1/orders/{placed['id']}").json
    assert (kept["shipping_address"]["country"], kept["billing_address"]["region"]) == ("GB", "Greater London")
    assert (kept["total"], kept["lines"]) == (placed["total"], placed["lines"])
    assert kept["customer"]["name"] == "Deleted"


def test_orders_and_parcels_say_nothing_of_it_either(
    make_person: Make, make_variant: Callable[..., UUID], engine: Engine, till: Till
) -> None:
    person = make_person()
    placed = order(person.client, make_variant())
    till.pay(placed)
    till.fulfil(placed, carrier="DHL", tracking_number="JJD-4711", tracking_url="https://dhl.example/JJD-4711")
    till.staff.patch_json(f"{ADMIN}/{placed['id']}", {"staff_note": "his neighbour takes parcels"})
    post(person.client, "me/delete", 204, current_password=PASSWORD)
    kept = till.show(placed)
    assert kept["staff_note"] is None
    (parcel,) = kept["fulfillments"]
    assert (parcel["carrier"], parcel["tracking_number"], parcel["tracking_url"]) == ("DHL", None, None)


def test_an_order_that_had_lapsed_is_not_sent_to_nobody_but_refunded(
    application: Any,
    make_person: Make,
    make_variant: Callable[..., UUID],
    engine: Engine,
    till: Till,
    clock: StoppedClock,
) -> None:
    person = make_person()
    placed = order(person.client, make_variant())
    clock.tick(hours=1)
    expire_orders(engine, now=clock.now())
    post(person.client, "me/delete", 204, current_password=PASSWORD)
    till.pay(placed)
    carry_out_refunds(engine, application.registry)
    assert states(till.show(placed)) == ("cancelled", "refunded", "unfulfilled")
    assert_stock_adds_up(engine)


@pytest.mark.parametrize("what", ["orders from a hold", "takes a guest's orders"])
def test_who_is_leaving_at_this_moment_gets_no_order_any_more(
    application: Any, client: TestApp, make_person: Make, make_variant: Callable[..., UUID], engine: Engine, what: str
) -> None:
    """The request was let in before the account was deleted, and would be overlooked."""
    person = make_person()
    buyer = TestApp(application, extra_environ={"HTTP_X_CART_TOKEN": "a-guest-of-these-tests"})
    order(buyer, make_variant())
    buyer.authorization = person.client.authorization
    hold = person.client.post_json("/api/v1/holds", {"variant_id": str(make_variant()), "quantity": 1}).json
    body = {"hold_id": hold["id"], "customer": {"email": EMAIL, "name": "Ada Lovelace"}}
    path = "/api/v1/orders" if what == "orders from a hold" else "/api/v1/cart/merge"
    with engine.connect() as blocker:
        transaction = blocker.begin()
        blocker.execute(text("UPDATE users SET is_active = false, deleted_at = now(), password_hash = NULL"))
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(buyer.post_json, path, body if path.endswith("orders") else {}, status="*")
            wait_until(lambda: waiting_for_a_lock(engine) or asked.done())
            transaction.commit()
        assert asked.result().status_code == 401
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM orders WHERE owner LIKE 'user:%'")) == 0


def test_every_way_in_is_closed_and_the_address_is_free_again(
    client: TestApp, make_person: Make, code_for: Callable[[str], str], mails: Callable[..., list[ReceivedMail]]
) -> None:
    person = make_person()
    post(client, "password-reset", 202, email=EMAIL)
    code = code_for(EMAIL)
    post(person.client, "me/delete", 204, current_password=PASSWORD)
    person.client.get("/api/v1/auth/me", status=401)
    log_in(client, status=401)
    post(client, "password-reset/confirm", 400, token=code, password="a brand new password")
    post(client, "register", 202, email=EMAIL, password=PASSWORD, name="Ada")
    assert mails(EMAIL)[-1].template == "registration"


@pytest.mark.parametrize(
    "states",
    [
        {},
        {"status": "processing", "payment_status": "paid", "fulfillment_status": "unfulfilled"},
        {"status": "processing", "payment_status": "partially_refunded", "fulfillment_status": "partial"},
    ],
    ids=["unpaid", "paid", "half delivered"],
)
def test_an_order_under_way_keeps_its_customer(
    make_person: Make, make_variant: Callable[..., UUID], engine: Engine, states: dict[str, str]
) -> None:
    person = make_person()
    placed = order(person.client, make_variant())
    set_states(engine, **states)
    problem = assert_problem(post(person.client, "me/delete", 409, current_password=PASSWORD), 409, "orders-under-way")
    assert problem["order_numbers"] == [placed["number"]]
    assert person.client.get(f"/api/v1/orders/{placed['id']}").json["customer"]["email"] == EMAIL


def test_the_cart_goes(make_person: Make, make_variant: Callable[..., UUID], engine: Engine) -> None:
    person = make_person()
    person.client.post_json("/api/v1/cart/lines", {"variant_id": str(make_variant()), "quantity": 1})
    post(person.client, "me/delete", 204, current_password=PASSWORD)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM cart WHERE state = 'active'")) == 0
    assert_stock_adds_up(engine)


def test_a_stolen_token_is_not_enough_to_delete(make_person: Make) -> None:
    person = make_person()
    post(person.client, "me/delete", 422, current_password="not the password")
    person.client.get("/api/v1/auth/me")


def test_the_last_administrator_cannot_leave(make_person: Make, engine: Engine) -> None:
    boss = make_person("boss@example.com", role="admin")
    assert_problem(post(boss.client, "me/delete", 409, current_password=PASSWORD), 409, "last-admin")
    other = make_person("other@example.com", role="admin")

    def leave(person: Person) -> Callable[[], Any]:
        return lambda: post(person.client, "me/delete", "*", current_password=PASSWORD).status_code

    assert sorted(concurrently([leave(boss), leave(other)])) == [204, 409]
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM users WHERE role = 'admin' AND is_active")) == 1
