"""Setup intents: a way to pay is saved, and nothing paid."""

from __future__ import annotations

import secrets

from stripe.params._setup_intent_cancel_params import SetupIntentCancelParams
from stripe.params._setup_intent_confirm_params import SetupIntentConfirmParams
from stripe.params._setup_intent_create_params import SetupIntentCreateParams
from stripe.params._setup_intent_list_params import SetupIntentListParams
from stripe.params._setup_intent_retrieve_params import SetupIntentRetrieveParams
from stripe.params._setup_intent_update_params import SetupIntentUpdateParams

from commerce_stripe_payments.testing.api.customers import find_customer
from commerce_stripe_payments.testing.api.payment_methods import attach, declined, made_of, usable
from commerce_stripe_payments.testing.cards import Instrument
from commerce_stripe_payments.testing.failures import Failure, Thing
from commerce_stripe_payments.testing.forms import merged_metadata
from commerce_stripe_payments.testing.router import Call, page, route
from commerce_stripe_payments.testing.world import World

_OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")


@route("POST", "/v1/setup_intents", SetupIntentCreateParams)
def create_setup_intent(call: Call) -> Thing:
    world, params = call.world, call.params
    if params.get("customer"):
        find_customer(world, params["customer"])
    intent = new_setup_intent(
        world,
        customer=params.get("customer"),
        usage=params.get("usage", "off_session"),
        description=params.get("description"),
        metadata=merged_metadata({}, params.get("metadata")),
        payment_method_types=params.get("payment_method_types")
        or params.get("allowed_payment_method_types")
        or ["card", "link"],
    )
    _choose(call, intent)
    return confirm(world, intent, call.params.get("return_url")) if params.get("confirm") else intent


@route("GET", "/v1/setup_intents/{id}", SetupIntentRetrieveParams, is_public=True)
def retrieve_setup_intent(call: Call, id: str) -> Thing:
    return call.world.find("setup_intent", id)


@route("POST", "/v1/setup_intents/{id}", SetupIntentUpdateParams)
def update_setup_intent(call: Call, id: str) -> Thing:
    intent = call.world.find("setup_intent", id)
    intent.update({name: call.params[name] for name in ("customer", "description") if name in call.params})
    intent["metadata"] = merged_metadata(intent["metadata"], call.params.get("metadata"))
    _choose(call, intent)
    return intent


@route("POST", "/v1/setup_intents/{id}/confirm", SetupIntentConfirmParams, is_public=True)
def confirm_setup_intent(call: Call, id: str) -> Thing:
    intent = call.world.find("setup_intent", id)
    _choose(call, intent)
    return confirm(call.world, intent, call.params.get("return_url"))


@route("POST", "/v1/setup_intents/{id}/cancel", SetupIntentCancelParams)
def cancel_setup_intent(call: Call, id: str) -> Thing:
    intent = call.world.find("setup_intent", id)
    if intent["status"] not in _OPEN:
        raise _unexpected(intent)
    intent.update(status="canceled", cancellation_reason=call.params.get("cancellation_reason"), next_action=None)
    call.world.emit("setup_intent.canceled", intent)
    return intent


@route("GET", "/v1/setup_intents", SetupIntentListParams)
def list_setup_intents(call: Call) -> Thing:
    customer = call.params.get("customer")
    return page(call, (one for one in call.world.every("setup_intent") if customer in (None, one["customer"])))


def new_setup_intent(world: World, **fields: object) -> Thing:
    intent = world.add(
        "seti",
        "setup_intent",
        application=None,
        automatic_payment_methods=None,
        cancellation_reason=None,
        last_setup_error=None,
        latest_attempt=None,
        mandate=None,
        next_action=None,
        on_behalf_of=None,
        payment_method=None,
        payment_method_options={},
        single_use_mandate=None,
        status="requires_payment_method",
    )
    intent.update(fields)
    intent["client_secret"] = f"{intent['id']}_secret_{secrets.token_hex(12)}"
    world.emit("setup_intent.created", intent)
    return intent


def confirm(world: World, intent: Thing, return_url: str | None = None) -> Thing:
    """Raises Failure (402) if the bank says no."""
    if intent["status"] not in _OPEN or intent["payment_method"] is None:
        raise _unexpected(intent)
    instrument: Instrument = world.objects[intent["payment_method"]]["_instrument"]
    if instrument.authenticates != "never":
        intent.update(
            status="requires_action",
            next_action={
                "type": "redirect_to_url",
                "redirect_to_url": {"return_url": return_url, "url": f"{world.url}/authenticate/{intent['id']}"},
            },
        )
        world.emit("setup_intent.requires_action", intent)
        return intent
    return finish(world, intent)


def authenticate(world: World, intent: Thing, *, succeeds: bool) -> Thing:
    """The customer has done, or failed, what the bank wanted of him."""
    if intent["status"] != "requires_action":
        raise _unexpected(intent)
    if succeeds:
        return finish(world, intent)
    error = {"type": "invalid_request_error", "code": "setup_intent_authentication_failure"}
    intent.update(status="requires_payment_method", payment_method=None, next_action=None, last_setup_error=error)
    world.emit("setup_intent.setup_failed", intent)
    return intent


def finish(world: World, intent: Thing) -> Thing:
    method = world.objects[intent["payment_method"]]
    instrument: Instrument = method["_instrument"]
    if instrument.decline is not None and instrument.declines_attaching:
        failure = declined(instrument)
        intent.update(status="requires_payment_method", payment_method=None, last_setup_error=dict(failure.error))
        world.emit("setup_intent.setup_failed", intent)
        failure.error = {**failure.error, "setup_intent": intent}
        raise failure
    if intent["customer"] is not None:
        attach(world, method, intent["customer"])
    method["_set_up"] = True
    intent.update(status="succeeded", next_action=None, last_setup_error=None)
    world.emit("setup_intent.succeeded", intent)
    return intent


def _choose(call: Call, intent: Thing) -> None:
    if intent["status"] not in _OPEN:
        raise _unexpected(intent)
    if call.params.get("payment_method_data"):
        method = made_of(call.world, call.params["payment_method_data"])
    elif call.params.get("payment_method"):
        method = usable(call.world, call.params["payment_method"])
    else:
        return
    intent.update(payment_method=method["id"], status="requires_confirmation")


def _unexpected(intent: Thing) -> Failure:
    return Failure(
        f"This SetupIntent cannot be used because it has a status of {intent['status']}.",
        code="setup_intent_unexpected_state",
        setup_intent=intent,
    )
