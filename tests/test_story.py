"""The whole story over HTTP: from a guest's first line in a cart to a refund with restock."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine
from webtest import TestApp

from commerce_core.testing import WEBHOOK_SECRET, SignedIn, assert_stock_adds_up

API = "/api/v1"
PASSWORD = "a fine long password"
SHOP = {
    "shipping.flat": "USD 500",
    "shipping.free_from": "USD 10000",
    "tax.rates": "US-CA 7.25\nGB 20",
    "tax.default_country": "US",
}
CALIFORNIA = {
    "name": "Ada Lovelace",
    "line1": "1 Analytical Way",
    "city": "Oakland",
    "region": "CA",
    "postal_code": "94601",
    "country": "US",
}


@pytest.mark.commerce(settings=SHOP)
def test_a_guest_becomes_a_customer_whose_order_is_paid_half_shipped_and_half_refunded(
    application: Any,
    client: TestApp,
    sign_in: Callable[..., SignedIn],
    make_variant: Callable[..., UUID],
    mails: Callable[..., Any],
    engine: Engine,
) -> None:
    tea, pot = make_variant(stock=10, price_amount=1_299), make_variant(stock=5, price_amount=4_950)

    # A customer who has been here before has tea in the cart at home.
    ada = customer(client, mails)
    ada.post_json(f"{API}/cart/lines", {"variant_id": str(tea), "quantity": 1})

    # On another device, as a guest, the cart is filled again.
    guest = TestApp(application)
    cart = guest.post_json(f"{API}/cart/lines", {"variant_id": str(tea), "quantity": 1}).json
    token = {"X-Cart-Token": cart["token"]}
    guest.post_json(f"{API}/cart/lines", {"variant_id": str(pot), "quantity": 2}, headers=token)

    # Signing in there merges the carts.
    signed_in = guest.post_json(
        f"{API}/auth/login",
        {"email": "ada@example.com", "password": PASSWORD, "device_name": "phone"},
        headers=token,
    ).json
    assert signed_in["cart_merge"]["capped"] == []
    phone = TestApp(application)
    phone.authorization = ("Bearer", signed_in["token"])
    cart = phone.get(f"{API}/cart").json
    assert {line["variant_id"]: line["quantity"] for line in cart["lines"]} == {str(tea): 2, str(pot): 2}

    # A coupon that nobody knows is a clear problem, and changes nothing.
    unknown = phone.post_json(f"{API}/cart/coupons", {"code": "HALF-OFF"}, status=422).json
    assert unknown["type"] == "/problems/unknown-coupon"

    # The quote for the address: 2 x 12.99 + 2 x 49.50 = 124.98, shipped free, with 7.25 % tax.
    quote = phone.get(f"{API}/cart/quote", {"country": "US", "region": "CA"}).json
    assert money(quote, "subtotal", "shipping_total", "tax_total", "total") == [12_498, 0, 906, 13_404]
    assert quote["trace"]

    # The order is what was quoted.
    order = phone.post_json(
        f"{API}/orders",
        {
            "cart": True,
            "shipping_address": CALIFORNIA,
            "expected_total": quote["total"]["amount"],
            "payment": {"provider": "manual"},
        },
    ).json
    assert order["total"] == quote["total"]
    assert order["customer"]["email"] == "ada@example.com"
    assert phone.get(f"{API}/cart").json["lines"] == []
    books_are_right(order, engine)

    # It is paid by the provider's webhook.
    pay(client, order)
    order = phone.get(f"{API}/orders/{order['id']}").json
    assert (order["status"], order["payment_status"]) == ("processing", "paid")
    books_are_right(order, engine)

    # The staff ship the tea ...
    staff = sign_in("staff").client
    lines = {line["variant_id"]: line["id"] for line in order["lines"]}
    staff.post_json(
        f"{API}/admin/orders/{order['id']}/fulfillments",
        {"lines": [{"line_id": lines[str(tea)], "quantity": 2}], "carrier": "DHL", "tracking_number": "0034"},
        status=201,
    )
    order = phone.get(f"{API}/orders/{order['id']}").json
    assert (order["status"], order["fulfillment_status"]) == ("processing", "partial")
    assert order["fulfillments"][0]["tracking_number"] == "0034"
    books_are_right(order, engine)

    # ... and give back the money for the pots, which go on sale again.
    refund = staff.post_json(
        f"{API}/admin/orders/{order['id']}/refunds",
        {"lines": [{"line_id": lines[str(pot)], "quantity": 2, "restock": True}], "reason": "arrived too late"},
        status=201,
    ).json
    assert refund["status"] == "succeeded"
    assert refund["amount"]["amount"] == 9_900 + 718
    order = phone.get(f"{API}/orders/{order['id']}").json
    assert [order[state] for state in ("status", "payment_status", "fulfillment_status")] == [
        "completed",
        "partially_refunded",
        "fulfilled",
    ]
    assert on_hand(staff, tea) == 8
    assert on_hand(staff, pot) == 5
    books_are_right(order, engine)

    # The audit log knows who did it.
    audit = sign_in("admin").client.get(f"{API}/admin/audit-log", {"subject": f"order:{order['id']}"}).json["data"]
    assert [entry["action"] for entry in audit] == ["order.refund", "order.fulfill"]


def customer(client: TestApp, mails: Callable[..., Any]) -> TestApp:
    """Ada registers, and confirms with the code in the mail."""
    who = {"email": "ada@example.com", "password": PASSWORD, "name": "Ada Lovelace"}
    client.post_json(f"{API}/auth/register", who, status=202)
    (mail,) = mails(to="ada@example.com")
    confirmed = client.post_json(
        f"{API}/auth/register/confirm",
        {"token": mail.context["token"], "password": PASSWORD, "device_name": "laptop"},
        status=201,
    ).json
    signed_in = TestApp(client.app)
    signed_in.authorization = ("Bearer", confirmed["token"])
    return signed_in


def pay(client: TestApp, order: dict[str, Any]) -> None:
    body = json.dumps({"event_id": f"evt-{order['number']}", "order_id": order["id"], "status": "paid"}).encode()
    signature = hmac.new(WEBHOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
    client.post(
        f"{API}/payments/webhook",
        body,
        {"Content-Type": "application/json", "X-Webhook-Signature": f"sha256={signature}"},
    )


def books_are_right(order: dict[str, Any], engine: Engine) -> None:
    """The stock is proved, and the money columns add up to the minor unit."""
    assert_stock_adds_up(engine)
    subtotal, discount, shipping, fee, tax, total = money(
        order, "subtotal", "discount_total", "shipping_total", "fee_total", "tax_total", "total"
    )
    assert total == subtotal - discount + shipping + fee + (0 if order["prices_include_tax"] else tax)
    assert total == subtotal + sum(a["amount"]["amount"] for a in order["adjustments"] if not a["included"])
    assert subtotal == sum(line["total"]["amount"] for line in order["lines"])
    assert discount == sum(line["discount_total"]["amount"] for line in order["lines"])


def money(parts: dict[str, Any], *names: str) -> list[int]:
    return [parts[name]["amount"] for name in names]


def on_hand(staff: TestApp, variant_id: UUID) -> int:
    level: dict[str, int] = staff.get(f"{API}/admin/stock/{variant_id}").json
    return level["on_hand"]
