"""Payment intents: https://docs.stripe.com/payments/paymentintents/lifecycle."""

from __future__ import annotations

from typing import Any

from stripe.params._payment_intent_cancel_params import PaymentIntentCancelParams
from stripe.params._payment_intent_capture_params import PaymentIntentCaptureParams
from stripe.params._payment_intent_confirm_params import PaymentIntentConfirmParams
from stripe.params._payment_intent_create_params import PaymentIntentCreateParams
from stripe.params._payment_intent_list_params import PaymentIntentListParams
from stripe.params._payment_intent_retrieve_params import PaymentIntentRetrieveParams
from stripe.params._payment_intent_search_params import PaymentIntentSearchParams
from stripe.params._payment_intent_update_params import PaymentIntentUpdateParams

from commerce_stripe_payments.testing import payments
from commerce_stripe_payments.testing.amounts import check_amount
from commerce_stripe_payments.testing.api.customers import find_customer
from commerce_stripe_payments.testing.api.payment_methods import made_of, usable
from commerce_stripe_payments.testing.failures import Failure, Thing, wrong
from commerce_stripe_payments.testing.forms import merged_metadata, truth
from commerce_stripe_payments.testing.router import Call, page, route
from commerce_stripe_payments.testing.searching import matching

_PLAIN = (
    "description",
    "receipt_email",
    "setup_future_usage",
    "shipping",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
)
_BEFORE_CONFIRMATION = ("requires_payment_method", "requires_confirmation", "requires_action")


@route("POST", "/v1/payment_intents", PaymentIntentCreateParams)
def create_payment_intent(call: Call) -> Thing:
    world, params = call.world, call.params
    check_amount(params["amount"], params["currency"])
    capture_method = params.get("capture_method", "automatic_async")
    if capture_method not in ("automatic", "automatic_async", "manual"):
        raise wrong("capture_method", f"Invalid capture_method: {capture_method}", None)
    if params.get("customer"):
        find_customer(world, params["customer"])
    if "confirm" not in params and ("off_session" in params or "return_url" in params):
        raise wrong("confirm", "This needs confirm to be true.", "parameter_missing")
    intent = payments.new_intent(
        world,
        amount=params["amount"],
        currency=params["currency"].lower(),
        capture_method=capture_method,
        customer=params.get("customer"),
        metadata=merged_metadata({}, params.get("metadata")),
        automatic_payment_methods=_automatic(params),
        payment_method_types=params.get("allowed_payment_method_types") or ["card", "link"],
        **{name: params.get(name) for name in _PLAIN},
    )
    method = _method_of(call)
    if method is not None:
        payments.choose(world, intent, method)
    if params.get("confirm"):
        return _confirm(call, intent)
    return intent


@route("GET", "/v1/payment_intents/search", PaymentIntentSearchParams)
def search_payment_intents(call: Call) -> Thing:
    found = [intent for intent in call.world.every("payment_intent") if matching(call.params["query"], intent)]
    limit = call.params.get("limit", 10)
    shown = list(reversed(found))[:limit]
    return {
        "object": "search_result",
        "data": shown,
        "has_more": len(found) > limit,
        "next_page": None,
        "url": call.path,
    }


@route("GET", "/v1/payment_intents/{id}", PaymentIntentRetrieveParams, is_public=True)
def retrieve_payment_intent(call: Call, id: str) -> Thing:
    return call.world.find("payment_intent", id)


@route("POST", "/v1/payment_intents/{id}", PaymentIntentUpdateParams)
def update_payment_intent(call: Call, id: str) -> Thing:
    world, params = call.world, call.params
    intent = world.find("payment_intent", id)
    if {*params} - {"metadata", "description"} and intent["status"] not in _BEFORE_CONFIRMATION:
        raise payments.unexpected_state(intent, "updated")
    amount: int = params["amount"] if "amount" in params else intent["amount"]
    currency = str(params.get("currency", intent["currency"])).lower()
    check_amount(amount, currency)
    if params.get("customer"):
        find_customer(world, params["customer"])
    intent.update(amount=amount, currency=currency)
    intent.update({name: params[name] for name in (*_PLAIN, "customer", "capture_method") if name in params})
    intent["metadata"] = merged_metadata(intent["metadata"], params.get("metadata"))
    method = _method_of(call)
    if method is not None:
        payments.choose(world, intent, method)
    return intent


@route("POST", "/v1/payment_intents/{id}/confirm", PaymentIntentConfirmParams, is_public=True)
def confirm_payment_intent(call: Call, id: str) -> Thing:
    intent = call.world.find("payment_intent", id)
    method = _method_of(call)
    if intent["status"] not in _BEFORE_CONFIRMATION:
        raise payments.unexpected_state(intent, "confirmed")
    if method is not None:
        payments.choose(call.world, intent, method)
    return _confirm(call, intent)


@route("POST", "/v1/payment_intents/{id}/capture", PaymentIntentCaptureParams)
def capture_payment_intent(call: Call, id: str) -> Thing:
    intent = call.world.find("payment_intent", id)
    if intent["status"] != "requires_capture":
        raise payments.unexpected_state(intent, "captured")
    most: int = intent["amount_capturable"]
    amount: int = call.params.get("amount_to_capture", most) or 0
    if not 0 < amount <= most:
        raise Failure(
            "You cannot capture a charge with a greater amount than the amount that was authorized.",
            code="amount_too_large",
            param="amount_to_capture",
        )
    intent["metadata"] = merged_metadata(intent["metadata"], call.params.get("metadata"))
    return payments.capture(call.world, intent, amount)


@route("POST", "/v1/payment_intents/{id}/cancel", PaymentIntentCancelParams)
def cancel_payment_intent(call: Call, id: str) -> Thing:
    intent = call.world.find("payment_intent", id)
    return payments.cancel(call.world, intent, call.params.get("cancellation_reason"))


@route("GET", "/v1/payment_intents", PaymentIntentListParams)
def list_payment_intents(call: Call) -> Thing:
    customer = call.params.get("customer")
    return page(
        call,
        (intent for intent in call.world.every("payment_intent") if customer in (None, intent["customer"])),
    )


def _confirm(call: Call, intent: Thing) -> Thing:
    off_session = call.params.get("off_session")
    return payments.confirm(
        call.world,
        intent,
        is_off_session=off_session not in (None, False, "false"),
        return_url=call.params.get("return_url"),
        fails_on_action=bool(call.params.get("error_on_requires_action")),
    )


def _method_of(call: Call) -> Thing | None:
    """The way to pay that the call names or describes."""
    params = call.params
    if params.get("payment_method_data"):
        return made_of(call.world, params["payment_method_data"])
    token = params.get("confirmation_token")
    if token:
        return usable(call.world, str(token).replace("ctoken_", "pm_", 1), param="confirmation_token")
    if params.get("payment_method"):
        return usable(call.world, params["payment_method"])
    return None


def _automatic(params: Thing) -> Thing | None:
    """Automatic ways to pay are the default, unless the ways are named."""
    given: Any = params.get("automatic_payment_methods")
    if given is None:
        return None if "allowed_payment_method_types" in params else {"allow_redirects": "always", "enabled": True}
    if not truth(given.get("enabled"), "automatic_payment_methods[enabled]"):
        return None
    if "allowed_payment_method_types" in params:
        raise wrong("allowed_payment_method_types", "Name the ways to pay, or have them automatic: not both.", None)
    return {"allow_redirects": given.get("allow_redirects", "always"), "enabled": True}
