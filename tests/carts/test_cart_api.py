"""A cart over HTTP: what goes in, what does not, and what is said about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session
from webtest import TestApp

from commerce_core.carts.models import Cart
from commerce_core.catalog.models import Product, Variant
from commerce_core.catalog.service import refresh_summaries
from commerce_core.database import transaction
from commerce_core.testing import SignedIn, StoppedClock, concurrently, count_sql

MakeVariant = Callable[..., UUID]
CART = "/api/v1/cart"
TOKEN = "a-guest-of-these-tests"  # conftest's guest


def add(client: TestApp, variant_id: UUID, quantity: int = 1, **options: Any) -> Any:
    return client.post_json(f"{CART}/lines", {"variant_id": str(variant_id), "quantity": quantity}, **options)


def test_reading_a_cart_makes_none(guest: TestApp, client: TestApp, engine: Engine) -> None:
    empty = guest.get(CART).json
    assert (empty["id"], empty["lines"], empty["totals"], empty["currency"]) == (None, [], None, None)
    assert client.get(CART).json == guest.delete(CART).json == empty
    guest.get(f"{CART}/quote", status=404)
    with Session(engine) as session:
        assert session.query(Cart).count() == 0


def test_a_guest_gets_a_token_with_the_first_line_and_never_again(
    client: TestApp, make_variant: MakeVariant, engine: Engine
) -> None:
    variant_id = make_variant()
    token = add(client, variant_id, status=201).json["token"]
    assert len(token) == 43
    headers = {"X-Cart-Token": token}
    cart = client.get(CART, headers=headers).json
    assert (cart["token"], cart["lines"][0]["quantity"]) == (None, 1)
    assert add(client, variant_id, headers=headers).json["token"] is None
    assert client.get(CART).json["lines"] == []
    with Session(engine) as session:
        assert token not in session.query(Cart).one().owner


def test_a_line_says_what_is_bought_and_what_it_costs(guest: TestApp, make_variant: MakeVariant) -> None:
    variant_id = make_variant(stock=10, price_amount=2_999, attributes={"color": "red"})
    cart = add(guest, variant_id, 3, status=201).json
    [line] = cart["lines"]
    assert (line["variant_id"], line["sku"], line["product_slug"]) == (str(variant_id), "SKU-1", "product-1")
    assert (line["product_name"], line["attributes"], line["image"]) == ("Product 1", {"color": "red"}, None)
    assert (line["quantity"], line["available"], line["problems"], line["hold"]) == (3, 10, [], None)
    assert (
        line["unit_price"]
        == line["current_unit_price"]
        == {
            "amount": 2_999,
            "currency": "USD",
            "formatted": "$29.99",
        }
    )
    assert line["total"]["amount"] == cart["totals"]["subtotal"]["amount"] == 8_997
    assert (cart["currency"], cart["warnings"]) == ("USD", [])
    assert guest.get(CART).json == cart


def test_more_of_the_same_goes_into_the_same_line(guest: TestApp, make_variant: MakeVariant) -> None:
    variant_id = make_variant()
    add(guest, variant_id, 2)
    [line] = add(guest, variant_id, 3).json["lines"]
    assert line["quantity"] == 5


def test_eight_at_once_make_one_line_with_all_of_it(
    application: Any, make_variant: MakeVariant, guest: TestApp
) -> None:
    variant_id = make_variant(stock=100)

    def put() -> int:
        client = TestApp(application, extra_environ={"HTTP_X_CART_TOKEN": TOKEN})
        return int(add(client, variant_id, status="*").status_int)

    assert concurrently([put] * 8) == [201] * 8
    [line] = guest.get(CART).json["lines"]
    assert line["quantity"] == 8


def test_a_line_is_changed_and_removed(guest: TestApp, make_variant: MakeVariant) -> None:
    first, second = make_variant(), make_variant()
    line_id = add(guest, first).json["lines"][0]["id"]
    add(guest, second)
    cart = guest.patch_json(f"{CART}/lines/{line_id}", {"quantity": 4}).json
    assert [line["quantity"] for line in cart["lines"]] == [4, 1]
    cart = guest.delete(f"{CART}/lines/{line_id}").json
    assert [line["variant_id"] for line in cart["lines"]] == [str(second)]
    guest.delete(f"{CART}/lines/{line_id}", status=404)
    guest.patch_json(f"{CART}/lines/{line_id}", {"quantity": 1}, status=404)
    guest.patch_json(f"{CART}/lines/no-id", {"quantity": 1}, status=404)


def test_clearing_leaves_an_empty_cart_that_takes_any_currency(guest: TestApp, make_variant: MakeVariant) -> None:
    cart_id = add(guest, make_variant()).json["id"]
    cart = guest.delete(CART).json
    assert (cart["id"], cart["lines"], cart["currency"], cart["totals"]) == (cart_id, [], None, None)
    assert add(guest, make_variant(currency="EUR")).json["currency"] == "EUR"


def test_an_empty_cart_has_no_price(guest: TestApp, make_variant: MakeVariant) -> None:
    add(guest, make_variant())
    guest.delete(CART)
    assert guest.get(f"{CART}/quote", status=409).json["type"] == "/problems/empty-cart"


@pytest.mark.parametrize("query", ["country=de", "country=Germany", "region=CA", "postal_code=1", "planet=Earth"])
def test_a_quote_is_for_a_place(guest: TestApp, make_variant: MakeVariant, query: str) -> None:
    add(guest, make_variant())
    guest.get(f"{CART}/quote?{query}", status=422)


@pytest.mark.parametrize("quantity", [0, -1, 1.5, "1", None, 2**31, True])
def test_a_quantity_is_a_whole_number_above_nothing(guest: TestApp, make_variant: MakeVariant, quantity: Any) -> None:
    body = {"variant_id": str(make_variant()), "quantity": quantity}
    guest.post_json(f"{CART}/lines", body, status=422)


def test_a_cart_belongs_to_its_owner(
    guest: TestApp, make_variant: MakeVariant, sign_in: Callable[..., SignedIn], application: Any
) -> None:
    line_id = add(guest, make_variant()).json["lines"][0]["id"]
    stranger = TestApp(application, extra_environ={"HTTP_X_CART_TOKEN": "another-guest-of-these-tests"})
    for other in (stranger, sign_in().client, sign_in("admin").client):
        assert other.get(CART).json["lines"] == []
        other.patch_json(f"{CART}/lines/{line_id}", {"quantity": 2}, status=404)
        add(other, make_variant())
        other.patch_json(f"{CART}/lines/{line_id}", {"quantity": 2}, status=404)
        other.delete(f"{CART}/lines/{line_id}", status=404)
    assert guest.get(CART).json["lines"][0]["quantity"] == 1


def test_what_others_hold_cannot_be_put_into_a_cart(
    guest: TestApp, make_variant: MakeVariant, clock: StoppedClock
) -> None:
    variant_id = make_variant(stock=5)
    guest.post_json("/api/v1/holds", {"variant_id": str(variant_id), "quantity": 4})
    problem = add(guest, variant_id, 2, status=409).json
    assert (problem["type"], problem["available"]) == ("/problems/out-of-stock", 1)
    line_id = add(guest, variant_id, 1).json["lines"][0]["id"]
    assert guest.patch_json(f"{CART}/lines/{line_id}", {"quantity": 2}, status=409).json["available"] == 1
    # Nobody has swept the hold, but it has lapsed.
    clock.tick(seconds=120)
    assert guest.patch_json(f"{CART}/lines/{line_id}", {"quantity": 5}).json["lines"][0]["available"] == 5


def test_what_is_not_tracked_or_may_be_backordered_has_no_limit(guest: TestApp, make_variant: MakeVariant) -> None:
    add(guest, make_variant(stock=0, track_stock=False), 7)
    cart = add(guest, make_variant(stock=0, allow_backorder=True), 7).json
    assert [(line["quantity"], line["available"]) for line in cart["lines"]] == [(7, None), (7, None)]


def test_what_is_not_for_sale_cannot_be_put_into_a_cart(
    guest: TestApp, make_variant: MakeVariant, engine: Engine
) -> None:
    deleted = make_variant()
    with transaction(engine) as session:
        session.execute(text("UPDATE variant SET deleted_at = now()"))
    for variant_id in (deleted, make_variant(status="draft"), make_variant(status="archived"), uuid4()):
        assert add(guest, variant_id, status=404).json["variant_id"] == str(variant_id)
    assert guest.get(CART).json["lines"] == []


def test_a_cart_is_in_one_currency(guest: TestApp, make_variant: MakeVariant) -> None:
    add(guest, make_variant())
    problem = add(guest, make_variant(currency="EUR"), status=409).json
    assert (problem["type"], problem["currency"]) == ("/problems/currency-mismatch", "USD")


def test_a_line_whose_currency_has_changed_can_only_be_removed(
    guest: TestApp, make_variant: MakeVariant, engine: Engine
) -> None:
    variants = [make_variant(), make_variant()]
    line = add(guest, variants[0]).json["lines"][0]
    add(guest, variants[1])
    with transaction(engine) as session:
        session.get_one(Variant, variants[0]).currency = "EUR"
    path = f"{CART}/lines/{line['id']}"
    assert guest.patch_json(path, {"quantity": 2}, status=409).json["type"] == "/problems/currency-mismatch"
    assert [left["variant_id"] for left in guest.delete(path).json["lines"]] == [str(variants[1])]


@pytest.mark.commerce(settings={"carts.max_lines": "2", "carts.max_quantity_per_line": "5"})
def test_a_cart_has_limits(guest: TestApp, make_variant: MakeVariant) -> None:
    first = make_variant()
    add(guest, first, 5)
    assert add(guest, first, 1, status=422).json["errors"][0]["field"] == "quantity"
    add(guest, make_variant(), 6, status=422)
    add(guest, make_variant(), 1)
    assert add(guest, make_variant(), 1, status=409).json["type"] == "/problems/cart-full"
    assert [line["quantity"] for line in guest.get(CART).json["lines"]] == [5, 1]


def test_what_has_changed_since_is_said(guest: TestApp, make_variant: MakeVariant, engine: Engine) -> None:
    dearer, scarcer, gone = make_variant(price_amount=1_000), make_variant(stock=5), make_variant()
    for variant_id in (dearer, scarcer, gone):
        cart = add(guest, variant_id, 2).json
    with transaction(engine) as session:
        session.get_one(Variant, dearer).price_amount = 1_200
        product_id = session.get_one(Variant, gone).product_id
        session.get_one(Product, product_id).status = "archived"
        refresh_summaries(session, [product_id])
    guest.post_json("/api/v1/holds", {"variant_id": str(scarcer), "quantity": 4})
    cart = guest.get(CART).json
    first, second, third = cart["lines"]
    assert (first["problems"], first["price_changed"]) == (["price_changed"], True)
    assert (first["unit_price"]["amount"], first["current_unit_price"]["amount"]) == (1_000, 1_200)
    assert (second["problems"], second["available"]) == (["out_of_stock"], 1)
    assert (third["problems"], third["available"], third["total"]) == (["not_for_sale"], 0, None)
    assert cart["totals"]["subtotal"]["amount"] == 2 * 1_200 + 2 * 9_999
    assert [warning["message"] for warning in cart["warnings"]] == [
        "Product 1 costs $12.00 now, not $10.00.",
        "Only 1 of Product 2 available.",
        "Product 3 is not for sale any more.",
    ]
    changed = guest.patch_json(f"{CART}/lines/{first['id']}", {"quantity": 2}).json["lines"][0]
    assert (changed["unit_price"]["amount"], changed["problems"]) == (1_200, [])


def test_a_cart_lasts_from_the_last_thing_done_with_it(
    guest: TestApp, make_variant: MakeVariant, clock: StoppedClock, engine: Engine
) -> None:
    variant_id = make_variant()
    first = add(guest, variant_id).json
    clock.tick(days=29)
    assert guest.get(CART).json["expires_at"] == first["expires_at"]
    again = add(guest, variant_id).json
    assert again["expires_at"] > first["expires_at"]
    clock.tick(days=29)
    assert guest.get(CART).json["id"] == first["id"]
    clock.tick(days=1)
    assert guest.get(CART).json["id"] is None
    new = add(guest, variant_id).json
    assert (new["id"] != first["id"], new["lines"][0]["quantity"]) == (True, 1)
    with Session(engine) as session:
        assert sorted(cart.state for cart in session.query(Cart)) == ["active", "expired"]


def test_a_cart_is_read_and_priced_with_the_same_number_of_statements_however_full(
    application: Any, guest: TestApp, make_variant: MakeVariant
) -> None:
    def count(path: str) -> int:
        with count_sql(application.registry.engine) as statements:
            guest.get(path)
        return len(statements)

    paths = (CART, f"{CART}/quote?country=DE")
    add(guest, make_variant())
    with_one = [count(path) for path in paths]
    for _ in range(9):
        add(guest, make_variant())
    assert [count(path) for path in paths] == with_one
    assert max(with_one) <= 6


def test_adding_is_idempotent_by_key(client: TestApp, make_variant: MakeVariant) -> None:
    headers = {"Idempotency-Key": "the-first-line-of-this-guest"}
    variant_id = make_variant()
    first = add(client, variant_id, headers=headers)
    again = add(client, variant_id, headers=headers)
    assert first.body == again.body
    assert client.get(CART, headers={"X-Cart-Token": first.json["token"]}).json["lines"][0]["quantity"] == 1
