"""Ways to pay, kept for a customer or used once."""

from __future__ import annotations

import copy
from typing import Any

from stripe.params._customer_list_payment_methods_params import CustomerListPaymentMethodsParams
from stripe.params._payment_method_attach_params import PaymentMethodAttachParams
from stripe.params._payment_method_create_params import PaymentMethodCreateParams
from stripe.params._payment_method_detach_params import PaymentMethodDetachParams
from stripe.params._payment_method_list_params import PaymentMethodListParams
from stripe.params._payment_method_retrieve_params import PaymentMethodRetrieveParams
from stripe.params._payment_method_update_params import PaymentMethodUpdateParams

from commerce_stripe_payments.testing.cards import BY_NAME, BY_NUMBER, MESSAGES, Instrument
from commerce_stripe_payments.testing.failures import Failure, Thing, wrong
from commerce_stripe_payments.testing.forms import integer, merged_metadata
from commerce_stripe_payments.testing.router import Call, page, route
from commerce_stripe_payments.testing.world import World

_NOBODY = {"address": None, "email": None, "name": None, "phone": None, "tax_id": None}


@route("POST", "/v1/payment_methods", PaymentMethodCreateParams, is_public=False)
def create_payment_method(call: Call) -> Thing:
    return made_of(call.world, call.params)


@route("GET", "/v1/payment_methods/{id}", PaymentMethodRetrieveParams)
def retrieve_payment_method(call: Call, id: str) -> Thing:
    return call.world.find("payment_method", id)


@route("POST", "/v1/payment_methods/{id}", PaymentMethodUpdateParams)
def update_payment_method(call: Call, id: str) -> Thing:
    method = call.world.find("payment_method", id)
    changes: Thing = {"metadata": merged_metadata(method["metadata"], call.params.get("metadata"))}
    if "billing_details" in call.params:
        changes["billing_details"] = {**method["billing_details"], **call.params["billing_details"]}
    if "card" in call.params:
        dates = {name: integer(value, f"card[{name}]") for name, value in call.params["card"].items()}
        changes["card"] = {**method["card"], **dates}
    return call.world.change(method, "payment_method.updated", **changes)


@route("GET", "/v1/payment_methods", PaymentMethodListParams)
def list_payment_methods(call: Call) -> Thing:
    return _of_customer(call, call.params.get("customer"))


@route("GET", "/v1/customers/{id}/payment_methods", CustomerListPaymentMethodsParams)
def list_payment_methods_of_customer(call: Call, id: str) -> Thing:
    return _of_customer(call, id)


@route("POST", "/v1/payment_methods/{id}/attach", PaymentMethodAttachParams)
def attach_payment_method(call: Call, id: str) -> Thing:
    return attach(call.world, usable(call.world, id), call.params.get("customer"))


@route("POST", "/v1/payment_methods/{id}/detach", PaymentMethodDetachParams)
def detach_payment_method(call: Call, id: str) -> Thing:
    return detach(call.world, call.world.find("payment_method", id))


def usable(world: World, id: Any, *, param: str = "payment_method") -> Thing:
    """The payment method; for the name of one of Stripe's test cards, a new one of that kind."""
    if id in BY_NAME:
        return _new(world, BY_NAME[id])
    return world.find("payment_method", id, param=param)


def made_of(world: World, data: Thing) -> Thing:
    """A payment method of what a form says: a number, a token or an account."""
    type = data.get("type", "card")
    details = data.get(type) or {}
    token = details.get("token")
    number = details.get("number") or details.get("iban") or details.get("account_number") or ""
    if token is not None:
        instrument = BY_NAME.get(str(token).replace("tok_", "pm_card_", 1))
    else:
        instrument = BY_NUMBER.get(str(number).replace(" ", ""))
    if instrument is None or instrument.type != type:
        raise Failure("Your card number is incorrect.", status=402, type="card_error", code="incorrect_number")
    method = _new(world, instrument)
    method["billing_details"] = {**_NOBODY, **data.get("billing_details", {})}
    method["metadata"] = merged_metadata({}, data.get("metadata"))
    for name in ("exp_month", "exp_year"):
        if name in details:
            method["card"][name] = integer(details[name], f"card[{name}]")
    return method


def attach(world: World, method: Thing, customer_id: Any) -> Thing:
    """Save a way to pay for a customer. Raises Failure where the bank says no."""
    customer = world.find("customer", customer_id, param="customer")
    if method["customer"] not in (None, customer["id"]):
        raise Failure("The payment method you provided has already been attached to a customer.")
    instrument: Instrument = method["_instrument"]
    if instrument.decline is not None and instrument.declines_attaching:
        raise declined(instrument)
    if method["_detached"]:
        raise Failure(
            "This PaymentMethod was previously used without being attached to a Customer or was detached from a"
            " Customer, and may not be used again."
        )
    if method["customer"] is None:
        method["customer"] = customer["id"]
        world.emit("payment_method.attached", method)
    return method


def detach(world: World, method: Thing) -> Thing:
    """Forget a way to pay, for good. It is nobody's default then."""
    if method["customer"] is None:
        raise Failure("The payment method you provided is not attached to a customer so detachment is impossible.")
    customer = world.objects[method["customer"]]
    if customer.get("invoice_settings", {}).get("default_payment_method") == method["id"]:
        settings = {**customer["invoice_settings"], "default_payment_method": None}
        world.change(customer, "customer.updated", invoice_settings=settings)
    return world.change(method, "payment_method.detached", customer=None, _detached=True)


def declined(instrument: Instrument, **extra: Any) -> Failure:
    """What a bank's refusal looks like."""
    code = instrument.decline or "card_declined"
    return Failure(
        MESSAGES.get(instrument.decline_code or "", MESSAGES[code]),
        status=402,
        type="card_error",
        code=code,
        decline_code=instrument.decline_code,
        **extra,
    )


def details_of(method: Thing) -> Thing:
    """What a charge says of how it was paid."""
    return {"type": method["type"], method["type"]: copy.deepcopy(method[method["type"]])}


def _new(world: World, instrument: Instrument) -> Thing:
    year = 1970 + world.now // 31_556_952
    details: Thing = {"last4": instrument.last4, "fingerprint": f"fp{instrument.number[-8:]}", "country": "US"}
    if instrument.type == "card":
        details |= {
            "brand": instrument.brand,
            "display_brand": instrument.brand,
            "exp_month": 12,
            "exp_year": year + 3,
            "funding": "debit" if "debit" in instrument.name else "credit",
            "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
            "networks": {"available": [instrument.brand], "preferred": None},
            "three_d_secure_usage": {"supported": True},
            "wallet": None,
        }
    return world.add(
        "pm",
        "payment_method",
        type=instrument.type,
        allow_redisplay="unspecified",
        billing_details=dict(_NOBODY),
        customer=None,
        _instrument=instrument,
        _detached=False,
        _set_up=False,
        **{instrument.type: details},
    )


def _of_customer(call: Call, customer_id: Any) -> Thing:
    if customer_id is None:
        raise wrong("customer", "Missing required param: customer.", "parameter_missing")
    customer = call.world.find("customer", customer_id, param="customer")
    type = call.params.get("type")
    return page(
        call,
        (
            method
            for method in call.world.every("payment_method")
            if method["customer"] == customer["id"] and type in (None, method["type"])
        ),
    )
