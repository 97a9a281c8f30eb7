"""Many at once, over HTTP, in threads of their own: every cart is ordered once, and nobody meets a deadlock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, event, func, select
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.orm import Session
from webtest import TestApp

from commerce_core.catalog.models import Product
from commerce_core.catalog.service import add_variant, create_product
from commerce_core.database import transaction
from commerce_core.orders.models import Order, OrderLine
from commerce_core.stock.models import StockLevel
from commerce_core.stock.service import receive_stock
from commerce_core.testing import StoppedClock, assert_stock_adds_up, concurrently

MakeVariant = Callable[..., UUID]
CHECKOUT = {"cart": True, "customer": {"email": "ada@example.com", "name": "Ada"}}
ROUNDS = 100 if os.environ.get("COMMERCE_SOAK") else 50
# Of what is not about two checkouts.
SOME_ROUNDS = 100 if os.environ.get("COMMERCE_SOAK") else 10


@pytest.fixture
def no_deadlocks(application: Any) -> Iterator[None]:
    """Fails the test if the application has met a deadlock, though the request was tried again and nobody noticed."""
    met: list[str] = []

    def note(context: ExceptionContext) -> None:
        if getattr(context.original_exception, "sqlstate", None) == "40P01":
            met.append(str(context.original_exception))

    event.listen(application.registry.engine, "handle_error", note)
    yield
    assert met == []


pytestmark = pytest.mark.usefixtures("no_deadlocks")


class Guest:
    """A guest with a cart token, for one thread."""

    def __init__(self, application: Any, name: str) -> None:
        self.client = TestApp(application, extra_environ={"HTTP_X_CART_TOKEN": f"guest-{name:0>16}"})

    def add(self, variant_id: UUID, quantity: int = 1) -> Any:
        body = {"variant_id": str(variant_id), "quantity": quantity}
        return self.client.post_json("/api/v1/cart/lines", body, status="*")

    def order(self) -> Any:
        return self.client.post_json("/api/v1/orders", CHECKOUT, status="*")


def receive(engine: Engine, clock: StoppedClock, *variants: UUID) -> None:
    """One more unit of each."""
    with transaction(engine) as session:
        for variant_id in sorted(variants):
            receive_stock(session, variant_id, 1, now=clock.now())


def at_once(*functions: Callable[[], Any]) -> list[Any]:
    """What each has answered; none may have raised."""
    answers = concurrently(list(functions))
    assert not [answer for answer in answers if isinstance(answer, BaseException)]
    return answers


def test_two_checkouts_of_one_cart_make_one_order(application: Any, make_variant: MakeVariant, engine: Engine) -> None:
    variants = [make_variant(stock=ROUNDS) for _ in range(2)]
    guest, twin = Guest(application, "one"), Guest(application, "one")
    for _ in range(ROUNDS):
        for variant_id in variants:
            assert guest.add(variant_id).status_int == 201
        placed, refused = sorted(at_once(guest.order, twin.order), key=lambda answer: answer.status_int)
        assert (placed.status_int, refused.status_int) == (201, 409)
        assert refused.json["type"] == "/problems/cart-already-ordered"
        assert refused.json["order_id"] == placed.json["id"]
    with Session(engine) as session:
        assert session.query(Order).count() == ROUNDS
        assert session.scalars(select(StockLevel.reserved)).all() == [ROUNDS] * 2
    assert_stock_adds_up(engine)


def test_of_two_crossed_carts_that_want_the_last_units_one_is_ordered(
    application: Any, make_variant: MakeVariant, engine: Engine, clock: StoppedClock
) -> None:
    first, second = make_variant(stock=0), make_variant(stock=0)
    for number in range(ROUNDS):
        receive(engine, clock, first, second)
        there, back = Guest(application, f"there-{number}"), Guest(application, f"back-{number}")
        there.add(first), there.add(second), back.add(second), back.add(first)
        placed, refused = sorted(at_once(there.order, back.order), key=lambda answer: answer.status_int)
        assert (placed.status_int, refused.status_int) == (201, 409)
        assert [line["available"] for line in refused.json["lines"]] == [0, 0]
    with Session(engine) as session:
        assert session.scalars(select(StockLevel.reserved)).all() == [ROUNDS] * 2
    assert_stock_adds_up(engine)


def test_crossed_carts_that_sell_out_two_products_are_both_ordered(
    application: Any, engine: Engine, clock: StoppedClock
) -> None:
    """Each takes a variant of each of two products, in opposite order: the products are counted at commit."""
    with transaction(engine) as session:
        ids = [create_product(session, slug=slug, name=slug, now=clock.now()).id for slug in ("a", "b")]
        variants = [
            add_variant(session, session.get_one(Product, ids[place]), sku=f"SKU-{number}", price_amount=1).id
            for number, place in enumerate((0, 1, 0, 1))
        ]
    for number in range(SOME_ROUNDS):
        receive(engine, clock, *variants)
        guests = [Guest(application, f"{side}-{number}") for side in range(2)]
        for guest, chosen in zip(guests, ((0, 3), (1, 2)), strict=True):
            for place in chosen:
                assert guest.add(variants[place]).status_int == 201
        answers = at_once(*(guest.order for guest in guests))
        assert [answer.status_int for answer in answers] == [201, 201]
    assert_stock_adds_up(engine)


@pytest.mark.commerce(settings={"carts.reserve_on_add": "true"})
def test_crossed_carts_that_reserve_wait_for_each_other(
    application: Any, make_variant: MakeVariant, engine: Engine, clock: StoppedClock
) -> None:
    """Their holds have lapsed, so whatever is done with one of them takes both variants again."""
    variants = [make_variant(stock=1), make_variant(stock=1)]
    other = make_variant(stock=10 * SOME_ROUNDS)
    there, back = Guest(application, "there"), Guest(application, "back")
    for guest, chosen in ((there, variants), (back, variants[::-1])):
        for variant_id in chosen:
            assert guest.add(variant_id).status_int == 201
            clock.tick(seconds=900)
    for _ in range(SOME_ROUNDS):
        clock.tick(seconds=900)
        answers = at_once(lambda: there.add(other), lambda: back.add(other))
        assert [answer.status_int for answer in answers] == [201, 201]
        held = [
            line["variant_id"]
            for answer in answers
            for line in answer.json["lines"]
            if line["hold"] is not None and line["variant_id"] != str(other)
        ]
        assert sorted(held) == sorted(map(str, variants))
    with Session(engine) as session:
        assert [session.get_one(StockLevel, variant_id).reserved for variant_id in variants] == [1, 1]
    assert_stock_adds_up(engine)


@pytest.mark.parametrize(
    "reserves",
    [False, pytest.param(True, marks=pytest.mark.commerce(settings={"carts.reserve_on_add": "true"}))],
)
def test_what_is_added_during_a_checkout_is_ordered_or_stays_in_a_cart(
    application: Any, make_variant: MakeVariant, engine: Engine, reserves: bool
) -> None:
    variants = [make_variant(stock=2 * SOME_ROUNDS) for _ in range(2)]
    buyer, adder = Guest(application, "one"), Guest(application, "one")
    for _ in range(SOME_ROUNDS):
        buyer.add(variants[0])
        placed, added = at_once(buyer.order, lambda: adder.add(variants[1]))
        assert (placed.status_int, added.status_int) == (201, 201)
    left = sum(line["quantity"] for line in buyer.client.get("/api/v1/cart").json["lines"])
    with Session(engine) as session:
        ordered = session.scalar(select(func.sum(OrderLine.quantity)))
        reserved = session.scalar(select(func.sum(StockLevel.reserved)))
        assert session.query(Order).count() == SOME_ROUNDS
    assert (ordered or 0) + left == 2 * SOME_ROUNDS
    assert reserved == ordered + (left if reserves else 0)
    assert_stock_adds_up(engine)
