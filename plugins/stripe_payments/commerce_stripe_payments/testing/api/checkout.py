"""Checkout sessions: the page at Stripe where a customer pays, subscribes, or leaves a card."""

from __future__ import annotations

from typing import Any

from stripe.params.checkout._session_create_params import SessionCreateParams
from stripe.params.checkout._session_expire_params import SessionExpireParams
from stripe.params.checkout._session_list_line_items_params import SessionListLineItemsParams
from stripe.params.checkout._session_list_params import SessionListParams
from stripe.params.checkout._session_retrieve_params import SessionRetrieveParams

from commerce_stripe_payments.testing import checkouts
from commerce_stripe_payments.testing.amounts import check_amount
from commerce_stripe_payments.testing.api.customers import find_customer
from commerce_stripe_payments.testing.api.products import new_price
from commerce_stripe_payments.testing.failures import Thing, wrong
from commerce_stripe_payments.testing.forms import integer, merged_metadata
from commerce_stripe_payments.testing.router import Call, page, route
from commerce_stripe_payments.testing.world import World

_KIND = "checkout.session"
_DAY = 86_400


@route("POST", "/v1/checkout/sessions", SessionCreateParams)
def create_session(call: Call) -> Thing:
    world, params = call.world, call.params
    mode = params.get("mode")
    if mode not in ("payment", "setup", "subscription"):
        raise wrong("mode", f"Invalid mode: {mode}", "parameter_missing")
    if params.get("customer"):
        find_customer(world, params["customer"])
    ui_mode = params.get("ui_mode", "hosted_page")
    if ui_mode == "hosted_page" and "success_url" not in params:
        raise wrong("success_url", "Missing required param: success_url.", "parameter_missing")
    expires_at = integer(params.get("expires_at", world.now + _DAY), "expires_at")
    if not world.now + 1_740 <= expires_at <= world.now + _DAY + 60:
        raise wrong("expires_at", "The `expires_at` timestamp must be between 30 minutes and 24 hours away.", None)
    rows = [_row(world, item) for item in params.get("line_items", [])]
    if not rows and mode != "setup":
        raise wrong("line_items", "Missing required param: line_items.", "parameter_missing")
    total = sum(row["amount_total"] for row in rows)
    currency = rows[0]["currency"] if rows else params.get("currency", "eur")
    if mode == "payment":
        check_amount(total, currency)
    session = world.add(
        "cs_test" if not world.livemode else "cs_live",
        _KIND,
        **_MOSTLY_NOTHING,
        amount_subtotal=total,
        amount_total=total,
        cancel_url=params.get("cancel_url"),
        client_reference_id=params.get("client_reference_id"),
        currency=currency,
        customer=params.get("customer"),
        customer_email=params.get("customer_email"),
        expires_at=expires_at,
        mode=mode,
        payment_method_types=params.get("allowed_payment_method_types") or ["card"],
        payment_status="no_payment_required" if mode == "setup" else "unpaid",
        return_url=params.get("return_url"),
        success_url=params.get("success_url"),
        ui_mode=ui_mode,
        _rows=rows,
        _intent_data=params.get("payment_intent_data") or params.get("setup_intent_data") or {},
        _subscription_data=params.get("subscription_data", {}),
    )
    session["metadata"] = merged_metadata({}, params.get("metadata"))
    session["url"] = f"{world.url}/pay/{session['id']}" if ui_mode == "hosted_page" else None
    return session


@route("GET", "/v1/checkout/sessions/{id}", SessionRetrieveParams)
def retrieve_session(call: Call, id: str) -> Thing:
    return call.world.find(_KIND, id)


@route("GET", "/v1/checkout/sessions/{id}/line_items", SessionListLineItemsParams)
def list_line_items(call: Call, id: str) -> Thing:
    return {"object": "list", "data": call.world.find(_KIND, id)["_rows"], "has_more": False, "url": call.path}


@route("POST", "/v1/checkout/sessions/{id}/expire", SessionExpireParams)
def expire_session(call: Call, id: str) -> Thing:
    return checkouts.expire(call.world, call.world.find(_KIND, id))


@route("GET", "/v1/checkout/sessions", SessionListParams)
def list_sessions(call: Call) -> Thing:
    wanted = {
        name: call.params[name]
        for name in ("customer", "payment_intent", "status", "subscription")
        if name in call.params
    }
    return page(
        call,
        (one for one in call.world.every(_KIND) if all(one[name] == value for name, value in wanted.items())),
    )


def _row(world: World, item: Thing) -> Thing:
    data = item.get("price_data")
    price = new_price(world, data) if data else world.find("price", item.get("price"), param="line_items[0][price]")
    quantity = integer(item.get("quantity", 1), "quantity")
    amount = price["unit_amount"] * quantity
    return {
        "id": world.new_id("li"),
        "object": "item",
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": price["currency"],
        "description": world.objects[price["product"]]["name"],
        "price": price,
        "quantity": quantity,
    }


_MOSTLY_NOTHING: dict[str, Any] = {
    "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
    "billing_address_collection": None,
    "consent": None,
    "consent_collection": None,
    "custom_fields": [],
    "custom_text": {},
    "customer_creation": "if_required",
    "customer_details": None,
    "invoice": None,
    "locale": None,
    "origin_context": None,
    "payment_intent": None,
    "payment_link": None,
    "payment_method_collection": "if_required",
    "payment_method_options": {},
    "redirect_on_completion": "always",
    "setup_intent": None,
    "shipping_address_collection": None,
    "shipping_cost": None,
    "shipping_options": [],
    "status": "open",
    "submit_type": None,
    "subscription": None,
    "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
    "url": None,
}
