"""Customers are written to about their orders: once for each thing that happens, and only those whom the shop knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from support.till import ADDRESS, CUSTOMER, Till

from commerce_core.database import transaction
from commerce_core.events import OrderCancelled, OrderPaid, emit
from commerce_core.orders.privacy import forget_customer
from commerce_core.settings import CoreSettings, SettingsError
from commerce_core.testing import ReceivedMail, SignedIn, StoppedClock, make_settings

MakeVariant = Callable[..., UUID]
Read = Callable[[], list[ReceivedMail]]
SHOP = {
    "orders.url": "https://shop.example/orders/{number}",
    "shipping.flat": "USD 500",
    "tax.rates": "GB 20",
}


@pytest.fixture
def read(run_jobs: Callable[[], int], mails: Callable[..., list[ReceivedMail]]) -> Read:
    """The mails that have come since the last time."""
    seen = 0

    def read() -> list[ReceivedMail]:
        nonlocal seen
        run_jobs()
        found = mails()
        new, seen = found[seen:], len(found)
        return new

    return read


def templates(found: list[ReceivedMail]) -> list[str]:
    return sorted(mail.template for mail in found)


@pytest.mark.commerce(settings=SHOP)
def test_an_order_is_written_about_from_its_placing_to_its_refund(
    till: Till, make_variant: MakeVariant, read: Read
) -> None:
    order = till.order({make_variant(stock=5, price_amount=9_999): 2})
    (placed,) = read()
    assert (placed.to, placed.template) == (CUSTOMER["email"], "order-placed")
    assert placed.letter.subject == f"Your order {order['number']} at Shop"
    for said in (
        "Ada Lovelace",
        "2 x Product 1",
        "SKU-1",
        "$99.99 each",
        "$199.98",
        "Shipping: $5.00",
        order["total"]["formatted"],
        "London",
    ):
        assert said in placed.letter.text
    for said in (
        "Ada Lovelace",
        "Product 1",
        "SKU-1",
        "$99.99 each",
        "$199.98",
        "$5.00",
        order["total"]["formatted"],
        "London",
    ):
        assert said in (placed.letter.html or "")
    assert f"https://shop.example/orders/{order['number']}" in placed.letter.text

    till.pay(order)
    (paid,) = read()
    assert paid.template == "order-paid"
    assert f"We have received {order['total']['formatted']}" in paid.letter.text

    till.fulfil(order, 1, carrier="DHL", tracking_number="0034", tracking_url="https://example.com/0034")
    (sent,) = read()
    assert sent.letter.subject == f"A part of your order {order['number']} is on its way"
    for said in ("1 x Product 1", "DHL 0034", "https://example.com/0034"):
        assert said in sent.letter.text
    till.fulfil(order, 1, notify=False)
    assert read() == []

    refund = till.refund(order, 1)
    (refunded,) = read()
    assert refunded.letter.subject.startswith(f"{refund['amount']['formatted']} of your order")


def test_a_payment_that_failed_and_an_order_that_lapsed(
    till: Till, make_variant: MakeVariant, clock: StoppedClock, read: Read
) -> None:
    order = till.order({make_variant(): 1})
    till.pay(order, status="failed")
    assert templates(read()) == ["order-payment-failed", "order-placed"]
    clock.tick(hours=1)
    (lapsed,) = read()
    assert lapsed.template == "order-cancelled"
    assert "not paid in time" in lapsed.letter.text


def test_what_is_not_true_any_more_is_not_written(
    till: Till, make_variant: MakeVariant, engine: Engine, clock: StoppedClock, read: Read
) -> None:
    order = till.order({make_variant(): 1})
    till.pay(order, status="failed")
    till.pay(order)
    assert templates(read()) == ["order-paid", "order-placed"]
    lapsed = till.order({make_variant(): 1})
    read()
    with transaction(engine) as session:
        emit(session, OrderCancelled(order_id=UUID(lapsed["id"]), number=lapsed["number"], reason="expired"))
    assert read() == []


def test_an_order_that_costs_nothing_is_written_about_once(till: Till, make_variant: MakeVariant, read: Read) -> None:
    till.order({make_variant(price_amount=0): 1})
    (confirmed,) = read()
    assert confirmed.template == "order-paid"
    assert "There is nothing to pay." in confirmed.letter.text


def test_who_leaves_is_written_to_no_more(
    sign_in: Callable[..., SignedIn], make_variant: MakeVariant, clock: StoppedClock, read: Read
) -> None:
    user = sign_in()
    body = {"variant_id": str(make_variant()), "quantity": 1}
    user.client.post_json("/api/v1/cart/lines", body)
    placed = user.client.post_json("/api/v1/orders", {"cart": True, "customer": CUSTOMER, "shipping_address": ADDRESS})
    user.client.post_json(f"/api/v1/orders/{placed.json['id']}/cancel")
    assert templates(read()) == ["order-cancelled", "order-placed"]
    with transaction(user.client.app.registry.engine) as session:
        forget_customer(session, f"user:{user.user_id}", now=clock.now())
        assert session.scalar(text("SELECT count(*) FROM mail")) == 0


def test_each_customer_reads_money_as_they_are_used_to(till: Till, make_variant: MakeVariant, read: Read) -> None:
    variant_id = make_variant(price_amount=123_456)
    german = {"HTTP_ACCEPT_LANGUAGE": "de-DE"}
    till.order({variant_id: 1}, extra_environ=german)
    (placed,) = read()
    assert "1.234,56\xa0$" in placed.letter.text


def test_what_a_customer_writes_is_only_text(till: Till, make_variant: MakeVariant, read: Read) -> None:
    till.order({make_variant(): 1}, customer=CUSTOMER | {"name": "<b>Ada</b> ${1/0}"})
    (placed,) = read()
    assert "&lt;b&gt;Ada&lt;/b&gt; ${1/0}" in (placed.letter.html or "")
    assert "<b>Ada</b> ${1/0}" in placed.letter.text


@pytest.mark.parametrize(
    "customer", [None, {"email": "deleted@deleted.invalid", "name": "Deleted", "phone": None}], ids=["none", "gone"]
)
def test_nobody_is_written_to_whom_the_shop_does_not_know(
    till: Till, make_variant: MakeVariant, engine: Engine, read: Read, customer: Any
) -> None:
    order = till.order({make_variant(): 1})
    with transaction(engine) as session:
        session.execute(text("UPDATE orders SET customer = NULL" if customer is None else "SELECT 1"))
        if customer is not None:
            session.execute(text('UPDATE orders SET customer = customer || \'{"email": "deleted@deleted.invalid"}\''))
    till.pay(order)
    assert read() == []
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM job WHERE state = 'dead'")) == 0


def test_an_event_that_is_told_of_an_order_that_is_not_there_hurts_nobody(
    application: Any, engine: Engine, sign_in: Callable[..., SignedIn], read: Read
) -> None:
    with transaction(engine) as session:
        emit(session, OrderPaid(order_id=sign_in().user_id, number="X"))
    assert read() == []


@pytest.mark.commerce(settings={"orders.mails": "false"})
def test_a_shop_may_write_its_own(till: Till, make_variant: MakeVariant, engine: Engine, read: Read) -> None:
    till.buy({make_variant(): 1})
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM job WHERE name LIKE 'orders.mail%'")) == 0
    assert read() == []


def test_a_merchants_words_come_before_ours(
    till: Till, make_variant: MakeVariant, read: Read, settings: CoreSettings, tmp_path: Path
) -> None:
    (tmp_path / "order-placed.txt").write_text('Hello ${order["name"]}\n\n<%include file="order-summary.txt"/>')
    from commerce_core.mail.templates import Templates

    till.order({make_variant(): 1})
    (placed,) = read()
    own = Templates(settings.mail.model_copy(update={"templates": str(tmp_path)}))
    letter = own.write(placed.template, placed.context, "en_US")
    assert letter.subject == "Hello Ada Lovelace"
    assert "Total: $99.99" in letter.text


def test_a_link_says_where_the_number_goes(database_url: str) -> None:
    with pytest.raises(SettingsError, match=r"orders\.url: must say where the order's number goes"):
        make_settings(database_url, {"orders.url": "https://shop.example/"})
