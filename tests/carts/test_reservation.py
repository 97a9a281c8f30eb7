"""With `carts.reserve_on_add`, what is in a cart is off sale for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from webtest import TestApp

from commerce_core.carts.models import Cart
from commerce_core.carts.service import discard_cart
from commerce_core.carts.sweep import expire_carts, forget_closed_carts
from commerce_core.database import transaction
from commerce_core.stock.models import Hold, StockLevel
from commerce_core.stock.sweep import sweep_holds
from commerce_core.testing import StoppedClock, assert_stock_adds_up

MakeVariant = Callable[..., UUID]
Add = Callable[..., Any]
CART, ORDERS = "/api/v1/cart", "/api/v1/orders"
CHECKOUT = {"cart": True, "customer": {"email": "ada@example.com", "name": "Ada"}}

pytestmark = pytest.mark.commerce(settings={"carts.reserve_on_add": "true"})


@pytest.fixture
def other(guest_of: Callable[[str], TestApp]) -> TestApp:
    return guest_of("another-guest-of-these-tests")


def reserved(engine: Engine, variant_id: UUID) -> int:
    with Session(engine) as session:
        return session.get_one(StockLevel, variant_id).reserved


def test_what_is_in_a_cart_is_off_sale_until_it_is_taken_out(
    guest: TestApp, other: TestApp, make_variant: MakeVariant, add: Add, engine: Engine
) -> None:
    variant_id = make_variant(stock=5)
    [line] = add(guest, variant_id, 4).json["lines"]
    assert (reserved(engine, variant_id), line["available"], line["problems"]) == (4, 5, [])
    assert add(other, variant_id, 2, status=409).json["available"] == 1
    guest.delete(f"{CART}/lines/{line['id']}")
    assert reserved(engine, variant_id) == 0
    add(other, variant_id, 5)
    other.delete(CART)
    assert reserved(engine, variant_id) == 0
    assert_stock_adds_up(engine)


def test_a_changed_quantity_never_loses_what_was_held(
    guest: TestApp, other: TestApp, make_variant: MakeVariant, add: Add, engine: Engine
) -> None:
    variant_id = make_variant(stock=5)
    [line] = add(guest, variant_id, 3).json["lines"]
    path = f"{CART}/lines/{line['id']}"
    add(other, variant_id, 1)
    assert guest.patch_json(path, {"quantity": 5}, status=409).json["available"] == 4
    assert guest.get(CART).json["lines"][0]["hold"] == line["hold"]
    assert reserved(engine, variant_id) == 4
    # More than is free, but not more than is free and its own.
    more = guest.patch_json(path, {"quantity": 4}).json["lines"][0]
    assert (more["quantity"], more["hold"]["id"] != line["hold"]["id"]) == (4, True)
    assert reserved(engine, variant_id) == 5
    guest.patch_json(path, {"quantity": 1})
    assert reserved(engine, variant_id) == 2
    assert_stock_adds_up(engine)


def test_everything_done_with_a_cart_extends_its_holds_and_counts_for_nothing(
    guest: TestApp, make_variant: MakeVariant, add: Add, clock: StoppedClock, engine: Engine
) -> None:
    first, second = make_variant(), make_variant()
    hold = add(guest, first).json["lines"][0]["hold"]
    for _ in range(5):
        clock.tick(seconds=899)
        assert guest.get(CART).json["lines"][0]["hold"]["id"] == hold["id"]
        cart = add(guest, second).json
        assert cart["lines"][0]["hold"]["id"] == hold["id"]
    assert cart["lines"][0]["hold"]["expires_at"] > hold["expires_at"]
    with Session(engine) as session:
        assert session.get_one(Hold, UUID(hold["id"])).extensions == 0
    clock.tick(seconds=900)
    assert [line["problems"] for line in guest.get(CART).json["lines"]] == [["hold_lapsed"]] * 2


def test_a_hold_that_has_lapsed_is_taken_again_if_there_is_enough(
    guest: TestApp, other: TestApp, make_variant: MakeVariant, add: Add, clock: StoppedClock, engine: Engine
) -> None:
    first, second = make_variant(stock=2), make_variant(stock=2)
    add(guest, first, 2), add(guest, second, 1)
    clock.tick(seconds=900)
    add(other, first, 1)
    cart = add(guest, second, 1).json
    assert [line["problems"] for line in cart["lines"]] == [["out_of_stock", "hold_lapsed"], []]
    assert [line["hold"] is None for line in cart["lines"]] == [True, False]
    assert [warning["message"] for warning in cart["warnings"]] == [
        "Only 1 of Product 1 available.",
        "Product 1 is not kept for you any more.",
    ]
    other.delete(CART)
    cart = add(guest, make_variant()).json
    assert [line["problems"] for line in cart["lines"]] == [[], [], []]
    assert (reserved(engine, first), reserved(engine, second)) == (2, 2)
    assert_stock_adds_up(engine)


def test_checkout_converts_what_is_held_and_takes_what_is_not(
    guest: TestApp, other: TestApp, make_variant: MakeVariant, add: Add, clock: StoppedClock, engine: Engine
) -> None:
    held, lapsed = make_variant(stock=2), make_variant(stock=2)
    add(guest, lapsed, 2)
    clock.tick(seconds=900)
    sweep_holds(engine, now=clock.now())
    add(other, lapsed, 2)
    hold_id = add(guest, held, 2).json["lines"][1]["hold"]["id"]
    problem = guest.post_json(ORDERS, CHECKOUT, status=409).json
    assert [(line["variant_id"], line["available"]) for line in problem["lines"]] == [(str(lapsed), 0)]
    other.delete(CART)
    order = guest.post_json(ORDERS, CHECKOUT, status=201).json
    hold = guest.get(f"/api/v1/holds/{hold_id}").json
    assert (hold["state"], hold["order_id"]) == ("converted", order["id"])
    assert (reserved(engine, held), reserved(engine, lapsed)) == (2, 2)
    assert_stock_adds_up(engine)


def test_a_hold_of_the_cart_may_be_released_or_ordered_by_itself(
    guest: TestApp, make_variant: MakeVariant, add: Add, engine: Engine
) -> None:
    released, ordered = make_variant(), make_variant()
    add(guest, released)
    cart = add(guest, ordered).json
    holds = [line["hold"]["id"] for line in cart["lines"]]
    guest.delete(f"/api/v1/holds/{holds[0]}")
    guest.post_json(ORDERS, {"hold_id": holds[1]}, status=201)
    assert [line["hold"] for line in guest.get(CART).json["lines"]] == [None, None]
    guest.post_json(ORDERS, CHECKOUT, status=201)
    assert (reserved(engine, released), reserved(engine, ordered)) == (1, 2)
    assert_stock_adds_up(engine)


@pytest.mark.commerce(settings={"carts.reserve_on_add": "true", "carts.days": "1", "carts.hold_seconds": "86400"})
def test_a_cart_that_expires_gives_its_stock_back(
    guest: TestApp, make_variant: MakeVariant, add: Add, clock: StoppedClock, engine: Engine
) -> None:
    variant_id = make_variant()
    add(guest, variant_id, 3)
    clock.tick(seconds=86_399)
    assert expire_carts(engine, now=clock.now()) == 0
    clock.tick(seconds=1)
    assert expire_carts(engine, now=clock.now()) == 1
    assert expire_carts(engine, now=clock.now()) == 0
    sweep_holds(engine, now=clock.now())
    assert reserved(engine, variant_id) == 0
    assert_stock_adds_up(engine)


def test_a_cart_that_is_discarded_gives_its_stock_back(
    guest: TestApp, make_variant: MakeVariant, add: Add, clock: StoppedClock, engine: Engine
) -> None:
    variant_id = make_variant()
    add(guest, variant_id, 3)
    with transaction(engine) as session:
        owner = session.query(Cart).one().owner
        for _ in range(2):
            discard_cart(session, owner, now=clock.now())
    assert reserved(engine, variant_id) == 0
    assert guest.get(CART).json["id"] is None
    assert_stock_adds_up(engine)


def test_closed_carts_are_forgotten_after_a_while_and_ordered_ones_kept(
    guest: TestApp, other: TestApp, make_variant: MakeVariant, add: Add, clock: StoppedClock, engine: Engine
) -> None:
    variant_id = make_variant()
    add(guest, variant_id), add(other, variant_id)
    other.post_json(ORDERS, CHECKOUT, status=201)
    clock.tick(days=30)
    assert expire_carts(engine, now=clock.now()) == 1
    clock.tick(days=90)
    assert forget_closed_carts(engine, now=clock.now(), days=90) == 0
    clock.tick(seconds=1)
    assert forget_closed_carts(engine, now=clock.now(), days=90) == 1
    with Session(engine) as session:
        assert [cart.state for cart in session.query(Cart)] == ["ordered"]


@pytest.mark.commerce(settings={"carts.reserve_on_add": "true", "limits.exempt": "", "limits.hold": "2/minute"})
def test_filling_a_cart_counts_as_holding(guest: TestApp, make_variant: MakeVariant, add: Add) -> None:
    variant_id = make_variant()
    add(guest, variant_id), add(guest, variant_id)
    assert add(guest, variant_id, status=429).json["type"] == "/problems/too-many-requests"
