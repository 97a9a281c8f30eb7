"""What happens to a payment, whoever has caused it: the shop, the customer in a browser, or a bank."""

from __future__ import annotations

import secrets
from typing import Any

from commerce_stripe_payments.testing import checkouts
from commerce_stripe_payments.testing.api.charges import book, charge
from commerce_stripe_payments.testing.api.disputes import dispute, warn
from commerce_stripe_payments.testing.api.payment_methods import attach, declined
from commerce_stripe_payments.testing.billing import invoices
from commerce_stripe_payments.testing.cards import MESSAGES, Instrument
from commerce_stripe_payments.testing.failures import Failure, Thing
from commerce_stripe_payments.testing.world import World

_CANCELLABLE = ("requires_payment_method", "requires_confirmation", "requires_action", "requires_capture")


def new_intent(world: World, **fields: Any) -> Thing:
    """An intent that waits for a way to pay."""
    defaults: Thing = {
        "amount_capturable": 0,
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "confirmation_method": "automatic",
        "customer": None,
        "description": None,
        "last_payment_error": None,
        "latest_charge": None,
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "payment_record": None,
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
        "_invoice": None,
    }
    intent = world.add("pi", "payment_intent", **{**defaults, **fields})
    intent["client_secret"] = f"{intent['id']}_secret_{secrets.token_hex(12)}"
    world.emit("payment_intent.created", intent)
    return intent


def unexpected_state(intent: Thing, what: str) -> Failure:
    """The answer to what cannot be done with an intent as it is."""
    return Failure(
        f"This PaymentIntent could not be {what} because it has a status of {intent['status']}.",
        code="payment_intent_unexpected_state",
        payment_intent=intent,
    )


def choose(world: World, intent: Thing, method: Thing) -> None:
    """Let an intent be paid with something, once it is confirmed."""
    if method["_detached"]:
        raise Failure("The provided PaymentMethod was previously used or detached, and may not be used again.")
    if method["customer"] is not None and method["customer"] != intent["customer"]:
        raise Failure("The payment method belongs to another customer.", param="payment_method")
    intent.update(payment_method=method["id"], status="requires_confirmation", next_action=None)


def confirm(
    world: World,
    intent: Thing,
    *,
    is_off_session: bool = False,
    return_url: str | None = None,
    fails_on_action: bool = False,
) -> Thing:
    """Try to take the money. Raises Failure (402) if the bank says no; the intent can be tried again then."""
    if intent["payment_method"] is None:
        raise Failure(
            "You cannot confirm this PaymentIntent because it's missing a payment method.",
            code="payment_intent_unexpected_state",
            payment_intent=intent,
        )
    method = world.objects[intent["payment_method"]]
    instrument: Instrument = method["_instrument"]
    must_authenticate = instrument.authenticates == "always" or (
        instrument.authenticates == "on_setup" and not (method["_set_up"] and is_off_session)
    )
    if must_authenticate and (is_off_session or fails_on_action):
        raise _refused(world, intent, method, "authentication_required", "authentication_required")
    if must_authenticate:
        intent.update(status="requires_action", last_payment_error=None)
        intent["next_action"] = _step(world, intent, return_url)
        world.emit("payment_intent.requires_action", intent)
        return intent
    return carry_out(world, intent, method)


def carry_out(world: World, intent: Thing, method: Thing) -> Thing:
    """Charge, with nothing left to ask. Raises Failure (402) if the bank says no."""
    instrument: Instrument = method["_instrument"]
    intent.update(next_action=None, last_payment_error=None)
    if instrument.is_slow:
        made = charge(world, intent, method, "pending")
        intent.update(status="processing", latest_charge=made["id"])
        world.emit("charge.pending", made)
        world.emit("payment_intent.processing", intent)
        return intent
    if instrument.decline is not None:
        raise _refused(world, intent, method, instrument.decline, instrument.decline_code)
    _save(world, intent, method)
    if intent["capture_method"] == "manual":
        made = charge(world, intent, method, "succeeded")
        intent.update(status="requires_capture", latest_charge=made["id"], amount_capturable=intent["amount"])
        world.emit("charge.succeeded", made)
        world.emit("payment_intent.amount_capturable_updated", intent)
        return intent
    made = charge(world, intent, method, "succeeded", captured=True)
    intent.update(status="succeeded", latest_charge=made["id"], amount_received=intent["amount"])
    world.emit("charge.succeeded", made)
    world.emit("payment_intent.succeeded", intent)
    _follow(world, made)
    _tell_owner(world, intent)
    return intent


def authenticate(world: World, intent: Thing, *, succeeds: bool) -> Thing:
    """The customer has done, or failed, what the bank wanted of him (3-D Secure)."""
    if intent["status"] != "requires_action":
        raise unexpected_state(intent, "authenticated")
    method = world.objects[intent["payment_method"]]
    try:
        if not succeeds:
            raise _refused(world, intent, method, "payment_intent_authentication_failure", None)
        return carry_out(world, intent, method)
    except Failure:
        # In a browser: the intent says what went wrong.
        return intent


def settle(world: World, intent: Thing) -> Thing:
    """A slow payment has come in, or bounced: as its account does."""
    if intent["status"] != "processing":
        raise unexpected_state(intent, "settled")
    method = world.objects[intent["payment_method"]]
    instrument: Instrument = method["_instrument"]
    made = world.objects[intent["latest_charge"]]
    if instrument.decline is not None:
        made.update(status="failed", failure_code=instrument.decline, failure_message=MESSAGES.get(instrument.decline))
        _forget(intent, declined(instrument, payment_method=method).error)
        world.emit("charge.failed", made)
        world.emit("payment_intent.payment_failed", intent)
        _tell_owner(world, intent)
        return intent
    _save(world, intent, method)
    made.update(status="succeeded", paid=True, captured=True, amount_captured=intent["amount"])
    made["balance_transaction"] = book(world, made, "charge", intent["amount"])["id"]
    intent.update(status="succeeded", amount_received=intent["amount"])
    world.emit("charge.succeeded", made)
    world.emit("payment_intent.succeeded", intent)
    _tell_owner(world, intent)
    return intent


def capture(world: World, intent: Thing, amount: int) -> Thing:
    """Take what was set aside; what is not taken goes back."""
    made = world.objects[intent["latest_charge"]]
    left = intent["amount_capturable"] - amount
    made.update(captured=True, amount_captured=amount, amount_refunded=left)
    made["balance_transaction"] = book(world, made, "charge", amount)["id"]
    intent.update(status="succeeded", amount_received=amount, amount_capturable=0)
    world.emit("charge.captured", made)
    world.emit("payment_intent.succeeded", intent)
    _follow(world, made)
    _tell_owner(world, intent)
    return intent


def cancel(world: World, intent: Thing, reason: str | None) -> Thing:
    """Raises Failure if the intent is paid, or under way, or belongs to a checkout session."""
    if intent["status"] not in _CANCELLABLE:
        raise unexpected_state(intent, "canceled")
    session = next((one for one in world.every("checkout.session") if one["payment_intent"] == intent["id"]), None)
    if session is not None and session["status"] == "open":
        raise Failure(
            "You cannot cancel this PaymentIntent because it belongs to a Checkout Session. Expire that instead.",
            code="payment_intent_unexpected_state",
            payment_intent=intent,
        )
    if intent["status"] == "requires_capture":
        made = world.objects[intent["latest_charge"]]
        made.update(refunded=True, amount_refunded=made["amount"])
        world.emit("charge.refunded", made)
    intent.update(
        status="canceled", canceled_at=world.now, cancellation_reason=reason, next_action=None, amount_capturable=0
    )
    world.emit("payment_intent.canceled", intent)
    return intent


def _refused(world: World, intent: Thing, method: Thing, code: str, decline_code: str | None) -> Failure:
    """Note that the bank has said no, and return what the shop is told."""
    made = charge(world, intent, method, "failed")
    made.update(failure_code=code, failure_message=MESSAGES.get(code))
    intent["latest_charge"] = made["id"]
    is_card_error = code != "payment_intent_authentication_failure"
    failure = Failure(
        MESSAGES.get(decline_code or "", MESSAGES.get(code, "The payment was not authenticated.")),
        status=402,
        type="card_error" if is_card_error else "invalid_request_error",
        code=code,
        decline_code=decline_code,
        charge=made["id"],
        payment_method=method,
    )
    _forget(intent, failure.error)
    world.emit("charge.failed", made)
    world.emit("payment_intent.payment_failed", intent)
    _tell_owner(world, intent)
    failure.error = {**failure.error, "payment_intent": intent}
    return failure


def _forget(intent: Thing, error: Thing) -> None:
    intent.update(
        status="requires_payment_method", payment_method=None, next_action=None, last_payment_error=dict(error)
    )


def _step(world: World, intent: Thing, return_url: str | None) -> Thing:
    if return_url is None:
        return {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
    return {
        "type": "redirect_to_url",
        "redirect_to_url": {"return_url": return_url, "url": f"{world.url}/authenticate/{intent['id']}"},
    }


def _save(world: World, intent: Thing, method: Thing) -> None:
    """Keep the way to pay for later, where that was wanted."""
    if intent["setup_future_usage"] and intent["customer"] and method["customer"] is None:
        attach(world, method, intent["customer"])
    if intent["setup_future_usage"] == "off_session":
        method["_set_up"] = True


def _follow(world: World, made: Thing) -> None:
    """What a card brings with it after a payment."""
    instrument: Instrument = made["_instrument"]
    if instrument.trouble == "early_fraud_warning":
        warn(world, made)
    elif instrument.trouble is not None:
        reason = "product_not_received" if instrument.trouble == "product_not_received" else "fraudulent"
        dispute(world, made, reason=reason, is_inquiry=instrument.trouble == "inquiry")


def _tell_owner(world: World, intent: Thing) -> None:
    """Let the checkout session or the invoice that the intent is for know how it went."""
    invoices.intent_ended(world, intent)
    checkouts.intent_ended(world, intent)
