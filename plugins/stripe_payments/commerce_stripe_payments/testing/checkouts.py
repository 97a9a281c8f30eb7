"""What becomes of a checkout session: finished by its customer, or expired."""

from __future__ import annotations

from commerce_stripe_payments.testing import payments
from commerce_stripe_payments.testing.api import setup_intents
from commerce_stripe_payments.testing.api.payment_methods import attach, usable
from commerce_stripe_payments.testing.billing import subscriptions
from commerce_stripe_payments.testing.failures import Failure, Thing
from commerce_stripe_payments.testing.forms import integer, merged_metadata
from commerce_stripe_payments.testing.world import World

_DAY = 86_400


def finish(world: World, session: Thing, card: str, email: str) -> Thing:
    """A customer goes through the page with a card. Declined, the session stays open; it may be tried again.

    Where a bank wants to see its customer, the session waits for that.
    """
    if session["status"] != "open":
        raise Failure(f"This checkout session is {session['status']}.", code="checkout_session_unexpected_state")
    session["customer_details"] = {"email": session["customer_email"] or email, "name": None, "address": None}
    match session["mode"]:
        case "payment":
            _pay(world, session, card)
        case "setup":
            _leave_card(world, session, card)
        case _:
            _subscribe(world, session, card)
    return session


def expire(world: World, session: Thing) -> Thing:
    """Raises Failure if it is finished."""
    if session["status"] != "open":
        raise Failure(
            f'Only Checkout Sessions with a status in ["open"] can be expired. This one is {session["status"]}.',
            code="checkout_session_unexpected_state",
        )
    session.update(status="expired", url=None)
    intent = world.objects.get(session["payment_intent"] or "")
    if intent is not None:
        payments.cancel(world, intent, "abandoned")
    world.emit("checkout.session.expired", session)
    return session


def intent_ended(world: World, intent: Thing) -> None:
    """Hear how a try to pay a session went."""
    for session in world.every("checkout.session"):
        if session["payment_intent"] != intent["id"]:
            continue
        has_succeeded = intent["status"] == "succeeded"
        if session["status"] == "complete" and session["payment_status"] == "unpaid":
            outcome = "succeeded" if has_succeeded else "failed"
            session["payment_status"] = "paid" if has_succeeded else "unpaid"
            world.emit(f"checkout.session.async_payment_{outcome}", session)
        elif session["status"] == "open" and has_succeeded:
            _complete(world, session, "paid")


def _pay(world: World, session: Thing, card: str) -> None:
    data = session["_intent_data"]
    intent = world.objects.get(session["payment_intent"] or "")
    if intent is None:
        intent = payments.new_intent(
            world,
            amount=session["amount_total"],
            currency=session["currency"],
            customer=session["customer"],
            capture_method=data.get("capture_method", "automatic_async"),
            description=data.get("description"),
            metadata=merged_metadata({}, data.get("metadata")),
            setup_future_usage=data.get("setup_future_usage"),
            statement_descriptor_suffix=data.get("statement_descriptor_suffix"),
        )
        session["payment_intent"] = intent["id"]
    try:
        payments.choose(world, intent, usable(world, card))
        payments.confirm(world, intent, return_url=session["success_url"])
    except Failure:
        return
    if intent["status"] in ("processing", "requires_capture"):
        _complete(world, session, "unpaid")


def _leave_card(world: World, session: Thing, card: str) -> None:
    if session["setup_intent"] is None:
        intent = setup_intents.new_setup_intent(world, customer=session["customer"])
        intent["metadata"] = merged_metadata({}, session["_intent_data"].get("metadata"))
        session["setup_intent"] = intent["id"]
    intent = world.objects[session["setup_intent"]]
    intent.update(payment_method=usable(world, card)["id"], status="requires_confirmation")
    try:
        setup_intents.finish(world, intent)
    except Failure:
        return
    _complete(world, session, "no_payment_required")


def _subscribe(world: World, session: Thing, card: str) -> None:
    data = session["_subscription_data"]
    customer = world.find("customer", session["customer"], param="customer")
    with world.at_clock_of(customer):
        try:
            method = attach(world, usable(world, card), customer["id"])
            days = integer(data.get("trial_period_days", 0), "subscription_data[trial_period_days]")
            made = subscriptions.new_subscription(
                world,
                customer,
                [(row["price"], row["quantity"]) for row in session["_rows"]],
                trial_end=world.now + days * _DAY if days else None,
                payment_behavior="error_if_incomplete",
                metadata=merged_metadata({}, data.get("metadata")),
                default_payment_method=method["id"],
            )
        except Failure:
            return
        session.update(subscription=made["id"], invoice=made["latest_invoice"])
        _complete(world, session, "paid")


def _complete(world: World, session: Thing, payment_status: str) -> None:
    session.update(status="complete", payment_status=payment_status, url=None)
    world.emit("checkout.session.completed", session)
