"""A guest signs in: what is in both carts goes into one, and what does not fit is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from webtest import TestApp

from commerce_core.carts.models import Cart
from commerce_core.catalog.models import Product, Variant
from commerce_core.database import transaction
from commerce_core.orders.models import OrderEvent
from commerce_core.stock.models import StockLevel
from commerce_core.testing import SignedIn, assert_stock_adds_up, concurrently

MakeVariant = Callable[..., UUID]
Add = Callable[..., Any]
SignIn = Callable[..., SignedIn]
CART = "/api/v1/cart"
TOKEN = {"X-Cart-Token": "a-guest-of-these-tests"}


def merge(client: TestApp) -> Any:
    return client.post(f"{CART}/merge", headers=TOKEN).json


def quantities(cart: Any) -> dict[str, int]:
    return {line["sku"]: line["quantity"] for line in cart["lines"]}


def test_quantities_are_added_up_one_line_per_variant(
    guest: TestApp, sign_in: SignIn, make_variant: MakeVariant, add: Add
) -> None:
    user = sign_in().client
    both, of_guest, of_user = make_variant(), make_variant(), make_variant()
    add(guest, both, 2), add(guest, of_guest, 1)
    cart_id = add(user, both, 3).json["id"]
    add(user, of_user, 4)
    merged = merge(user)
    assert quantities(merged["cart"]) == {"SKU-1": 5, "SKU-2": 1, "SKU-3": 4}
    assert merged["cart_merge"] == {
        "cart_id": cart_id,
        "lines": 2,
        "capped": [],
        "dropped_coupons": [],
        "holds": 0,
        "orders": 0,
    }
    assert guest.get(CART).json["lines"] == []


def test_merging_again_changes_nothing(guest: TestApp, sign_in: SignIn, make_variant: MakeVariant, add: Add) -> None:
    user = sign_in().client
    add(guest, make_variant(), 2)
    cart = merge(user)["cart"]
    assert merge(user) == {"cart": cart, "cart_merge": None}


def test_a_user_without_a_cart_gets_the_guests(
    guest: TestApp, sign_in: SignIn, make_variant: MakeVariant, add: Add
) -> None:
    user = sign_in().client
    add(guest, make_variant(currency="EUR"), 2)
    merged = merge(user)
    assert (merged["cart"]["currency"], quantities(merged["cart"])) == ("EUR", {"SKU-1": 2})


@pytest.mark.commerce(settings={"carts.max_quantity_per_line": "5", "carts.max_lines": "3"})
def test_what_does_not_fit_is_named(
    guest: TestApp, sign_in: SignIn, make_variant: MakeVariant, add: Add, engine: Engine
) -> None:
    user = sign_in().client
    scarce, many, gone, foreign, one_more = (
        make_variant(stock=4),
        make_variant(),
        make_variant(),
        make_variant(currency="EUR"),
        make_variant(),
    )
    add(user, scarce, 3), add(user, many, 3)
    for variant_id in (scarce, many, gone):
        add(guest, variant_id, 3)
    report = merge(user)["cart_merge"]
    assert [(line["sku"], line["wanted"], line["got"], line["reason"]) for line in report["capped"]] == [
        ("SKU-1", 6, 4, "out_of_stock"),
        ("SKU-2", 6, 5, "max_quantity_per_line"),
    ]
    assert report["lines"] == 3
    add(guest, gone, 1), add(guest, one_more, 1)
    with transaction(engine) as session:
        session.get_one(Product, session.get_one(Variant, gone).product_id).status = "archived"
    assert [(line["got"], line["reason"]) for line in merge(user)["cart_merge"]["capped"]] == [
        (3, "not_for_sale"),
        (0, "max_lines"),
    ]
    add(guest, foreign, 2)
    assert merge(user)["cart_merge"]["capped"][0] == {
        "variant_id": str(foreign),
        "sku": "SKU-4",
        "name": "Product 4",
        "wanted": 2,
        "got": 0,
        "reason": "other_currency",
    }
    assert quantities(user.get(CART).json) == {"SKU-1": 4, "SKU-2": 5, "SKU-3": 3}


def test_the_user_keeps_what_was_there_before_though_it_has_become_scarce(
    guest: TestApp, sign_in: SignIn, make_variant: MakeVariant, add: Add
) -> None:
    user = sign_in().client
    variant_id = make_variant(stock=5)
    add(user, variant_id, 4), add(guest, variant_id, 1)
    guest.post_json("/api/v1/holds", {"variant_id": str(variant_id), "quantity": 3}, headers={"X-Cart-Token": "x" * 16})
    [capped] = merge(user)["cart_merge"]["capped"]
    assert (capped["wanted"], capped["got"], capped["reason"]) == (5, 4, "out_of_stock")


def test_holds_and_orders_become_the_users_too(
    guest: TestApp, sign_in: SignIn, make_variant: MakeVariant, add: Add, engine: Engine
) -> None:
    user = sign_in()
    hold = guest.post_json("/api/v1/holds", {"variant_id": str(make_variant()), "quantity": 1}).json
    add(guest, make_variant())
    order = guest.post_json("/api/v1/orders", {"cart": True, "customer": {"email": "a@example.com", "name": "A"}}).json
    report = merge(user.client)["cart_merge"]
    assert (report["cart_id"], report["holds"], report["orders"]) == (None, 1, 1)
    assert [found["id"] for found in user.client.get("/api/v1/orders").json["data"]] == [order["id"]]
    assert [found["id"] for found in user.client.get("/api/v1/holds?state=active").json["data"]] == [hold["id"]]
    guest.get(f"/api/v1/orders/{order['id']}", status=404)
    with Session(engine) as session:
        kinds = session.scalars(select(OrderEvent.kind).order_by(OrderEvent.id)).all()
    assert kinds == ["placed", "adopted"]
    assert merge(user.client)["cart_merge"] is None


def test_merging_wants_both_a_user_and_a_guest(guest: TestApp, sign_in: SignIn) -> None:
    guest.post(f"{CART}/merge", status=401)
    errors = sign_in().client.post(f"{CART}/merge", status=422).json["errors"]
    assert errors[0]["field"] == "X-Cart-Token"


@pytest.mark.parametrize(
    "reserves",
    [False, pytest.param(True, marks=pytest.mark.commerce(settings={"carts.reserve_on_add": "true"}))],
)
@pytest.mark.parametrize("same_user", [True, False])
def test_two_sign_ins_at_once_merge_once(
    application: Any,
    guest: TestApp,
    sign_in: SignIn,
    make_variant: MakeVariant,
    add: Add,
    engine: Engine,
    same_user: bool,
    reserves: bool,
) -> None:
    variants = [make_variant(stock=3), make_variant(stock=3)]
    for _ in range(5):
        first = sign_in().client
        second = first if same_user else sign_in().client
        for variant_id in variants:
            add(guest, variant_id, 2)
        answers: list[Any] = concurrently(
            [
                lambda client=client: self_made(application, client).post(f"{CART}/merge", headers=TOKEN, status="*")  # type: ignore[misc]
                for client in (first, second)
            ]
        )
        assert [answer.status_int for answer in answers] == [200, 200]
        reports = [answer.json["cart_merge"] for answer in answers]
        assert sorted(report is None for report in reports) == [False, True]
        lines = first.get(CART).json["lines"] + ([] if same_user else second.get(CART).json["lines"])
        assert [line["quantity"] for line in lines] == [2, 2]
        assert [line["hold"] is not None for line in lines] == [reserves] * 2
        for client in (first, second):
            client.delete(CART)
    assert_stock_adds_up(engine)


def self_made(application: Any, client: TestApp) -> TestApp:
    """Another client of the same user: one is not for two threads."""
    other = TestApp(application)
    other.authorization = client.authorization
    return other


@pytest.mark.commerce(settings={"carts.reserve_on_add": "true"})
def test_what_the_guest_held_is_held_for_the_user(
    guest: TestApp, sign_in: SignIn, make_variant: MakeVariant, add: Add, engine: Engine
) -> None:
    user = sign_in().client
    variant_id = make_variant(stock=5)
    add(guest, variant_id, 2)
    add(user, variant_id, 3)
    merged = merge(user)
    [line] = merged["cart"]["lines"]
    assert (line["quantity"], line["available"], merged["cart_merge"]["holds"]) == (5, 5, 0)
    assert line["hold"] is not None
    with Session(engine) as session:
        assert session.get_one(StockLevel, variant_id).reserved == 5
        assert sorted(cart.state for cart in session.query(Cart)) == ["active", "merged"]
    assert_stock_adds_up(engine)
