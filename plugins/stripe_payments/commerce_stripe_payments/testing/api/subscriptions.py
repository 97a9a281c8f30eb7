"""Subscriptions."""

from __future__ import annotations

import copy
from typing import Any

from stripe.params._subscription_cancel_params import SubscriptionCancelParams
from stripe.params._subscription_create_params import SubscriptionCreateParams
from stripe.params._subscription_list_params import SubscriptionListParams
from stripe.params._subscription_pause_params import SubscriptionPauseParams
from stripe.params._subscription_resume_params import SubscriptionResumeParams
from stripe.params._subscription_retrieve_params import SubscriptionRetrieveParams
from stripe.params._subscription_update_params import SubscriptionUpdateParams

from commerce_stripe_payments.testing.api.customers import find_customer
from commerce_stripe_payments.testing.api.payment_methods import attach, usable
from commerce_stripe_payments.testing.billing import invoices, subscriptions
from commerce_stripe_payments.testing.billing.periods import end_of_period
from commerce_stripe_payments.testing.billing.time import tell_of_trial_end
from commerce_stripe_payments.testing.failures import Failure, Thing, missing, wrong
from commerce_stripe_payments.testing.forms import integer, merged_metadata, truth
from commerce_stripe_payments.testing.router import Call, page, route
from commerce_stripe_payments.testing.world import World

_DAY = 86_400
_PRORATIONS = ("create_prorations", "none", "always_invoice")


@route("POST", "/v1/subscriptions", SubscriptionCreateParams)
def create_subscription(call: Call) -> Thing:
    world, params = call.world, call.params
    customer = find_customer(world, params.get("customer"))
    if not params.get("items"):
        raise wrong("items", "Missing required param: items.", "parameter_missing")
    with world.at_clock_of(customer):
        items = [(_price(world, item), integer(item.get("quantity", 1), "quantity")) for item in params["items"]]
        made = subscriptions.new_subscription(
            world,
            customer,
            items,
            trial_end=_trial_end(world, params),
            payment_behavior=params.get("payment_behavior", "allow_incomplete"),
            metadata=merged_metadata({}, params.get("metadata")),
            default_payment_method=_method(world, customer, params),
            description=params.get("description"),
            trial_settings=_trial_settings(params),
            _saves_method=params.get("payment_settings", {}).get("save_default_payment_method") == "on_subscription",
        )
        if truth(params.get("cancel_at_period_end", False), "cancel_at_period_end"):
            _cancel_at_period_end(world, made, True)
        if made["status"] == "trialing" and made["trial_end"] - world.now <= 3 * _DAY:
            tell_of_trial_end(world, made)
    return made


@route("GET", "/v1/subscriptions/{id}", SubscriptionRetrieveParams)
def retrieve_subscription(call: Call, id: str) -> Thing:
    return call.world.find("subscription", id)


@route("POST", "/v1/subscriptions/{id}", SubscriptionUpdateParams)
def update_subscription(call: Call, id: str) -> Thing:
    world, params = call.world, call.params
    found = world.find("subscription", id)
    if found["status"] in ("canceled", "incomplete_expired") and {*params} - {"metadata", "cancellation_details"}:
        raise Failure("A canceled subscription can only update its cancellation_details and metadata.")
    customer = world.objects[found["customer"]]
    previous = copy.deepcopy(found)
    lines: list[Thing] = []
    with world.at_clock_of(found):
        found["metadata"] = merged_metadata(found["metadata"], params.get("metadata"))
        if "default_payment_method" in params:
            found["default_payment_method"] = _method(world, customer, params)
        if "pause_collection" in params:
            found["pause_collection"] = _pause_collection(params["pause_collection"])
        if "cancel_at_period_end" in params:
            _cancel_at_period_end(world, found, params["cancel_at_period_end"])
        if "cancel_at" in params:
            found["cancel_at"] = integer(params["cancel_at"], "cancel_at") if params["cancel_at"] else None
        if "trial_settings" in params:
            found["trial_settings"] = _trial_settings(params)
        is_billed = False
        behavior = params.get("proration_behavior", "create_prorations")
        if "items" in params:
            intervals = _intervals(found)
            lines = changed_items(world, found, params["items"], behavior)
            is_billed = behavior == "always_invoice" or _intervals(found) != intervals
        if "trial_end" in params:
            _end_trial(world, found, params["trial_end"])
        changed = {name: value for name, value in previous.items() if name[0] != "_" and found[name] != value}
        if changed:
            world.emit("customer.subscription.updated", found, previous=changed)
        if is_billed and found["status"] != "trialing":
            invoice = subscriptions.bill_now(world, found, lines)
            if params.get("payment_behavior") == "error_if_incomplete" and invoice["status"] != "paid":
                raise _undone(world, found, previous, invoice)
        else:
            found["_pending"] = [*found["_pending"], *lines]
    return found


@route("DELETE", "/v1/subscriptions/{id}", SubscriptionCancelParams)
def cancel_subscription(call: Call, id: str) -> Thing:
    world = call.world
    found = world.find("subscription", id)
    with world.at_clock_of(found):
        details = call.params.get("cancellation_details", {})
        found["cancellation_details"] = {**found["cancellation_details"], **details}
        return subscriptions.cancel(world, found)


@route("POST", "/v1/subscriptions/{id}/pause", SubscriptionPauseParams)
def pause_subscription(call: Call, id: str) -> Thing:
    found = call.world.find("subscription", id)
    if found["status"] not in ("active", "trialing", "past_due"):
        raise Failure(f"A subscription that is {found['status']} cannot be paused.")
    with call.world.at_clock_of(found):
        return subscriptions.pause(call.world, found)


@route("POST", "/v1/subscriptions/{id}/resume", SubscriptionResumeParams)
def resume_subscription(call: Call, id: str) -> Thing:
    found = call.world.find("subscription", id)
    with call.world.at_clock_of(found):
        return subscriptions.resume(call.world, found)


@route("GET", "/v1/subscriptions", SubscriptionListParams)
def list_subscriptions(call: Call) -> Thing:
    params = call.params
    status = params.get("status")

    def fits(found: Thing) -> bool:
        if params.get("customer") not in (None, found["customer"]):
            return False
        if status is None:
            return bool(found["status"] != "canceled")
        return status == "all" or bool(found["status"] == status)

    return page(call, (found for found in call.world.every("subscription") if fits(found)))


def changed_items(world: World, subscription: Thing, given: list[Thing], behavior: str) -> list[Thing]:
    """Change items as a form says, and return the lines of what that comes to. A new interval begins a new period."""
    if behavior not in _PRORATIONS:
        raise wrong("proration_behavior", f"Invalid proration_behavior: {behavior}", None)
    lines: list[Thing] = []
    rows: list[Thing] = subscription["items"]["data"]
    for change in given:
        if "id" not in change:
            item = subscriptions.new_item(world, subscription, _price(world, change), int(change.get("quantity", 1)))
            item.update({name: rows[0][name] for name in ("current_period_start", "current_period_end")})
            rows.append(item)
            continue
        found = next((row for row in rows if row["id"] == change["id"]), None)
        if found is None:
            raise missing("subscription_item", change["id"], param="items")
        item = found
        old = copy.deepcopy(item)
        if change.get("deleted") == "true":
            rows.remove(item)
            continue
        if "price" in change:
            price = _price(world, change)
            item.update(price=copy.deepcopy(price), plan=subscriptions.plan_of(price))
        if "quantity" in change:
            item["quantity"] = integer(change["quantity"], "items[quantity]")
        if subscription["status"] == "trialing":
            continue
        has_new_interval = old["price"]["recurring"] != item["price"]["recurring"]
        if behavior != "none":
            lines += subscriptions.prorate(world, subscription, old, item)
        if has_new_interval:
            subscription["billing_cycle_anchor"] = world.now
            item["current_period_start"] = world.now
            item["current_period_end"] = end_of_period(world.now, world.now, item["price"]["recurring"])
            # The whole new period instead of a part of the old one.
            lines = [line for line in lines if line["amount"] < 0]
            lines.append(subscriptions.line(world, subscription, item))
    return lines


def _undone(world: World, subscription: Thing, previous: Thing, invoice: Thing) -> Failure:
    """The change that could not be paid has never been; its invoice is void."""
    error = world.objects[invoice["_payment_intent"]]["last_payment_error"] or {}
    invoices.void(world, invoice)
    subscription.clear()
    subscription.update(previous)
    world.emit("customer.subscription.updated", subscription, previous={})
    return Failure(
        error.get("message", "There is no way to pay this."),
        status=402,
        type="card_error",
        code=error.get("code", "card_declined"),
        decline_code=error.get("decline_code"),
    )


def _intervals(subscription: Thing) -> list[Any]:
    return [item["price"]["recurring"] for item in subscription["items"]["data"]]


def _price(world: World, item: Thing) -> Thing:
    price = world.find("price", item.get("price"), param="items[0][price]")
    if price["recurring"] is None:
        raise wrong("items[0][price]", "The price specified is not recurring.", None)
    if not price["active"]:
        raise wrong("items[0][price]", "The price specified is inactive.", None)
    return price


def _method(world: World, customer: Thing, params: Thing) -> str | None:
    given = params.get("default_payment_method")
    if not given:
        return None
    method = usable(world, given, param="default_payment_method")
    if method["customer"] != customer["id"]:
        if method["id"] == given:
            raise Failure("The customer does not have a payment method with that ID.", code="resource_missing")
        attach(world, method, customer["id"])
    return str(method["id"])


def _trial_end(world: World, params: Thing) -> int | None:
    if "trial_period_days" in params:
        return world.now + params["trial_period_days"] * _DAY if params["trial_period_days"] else None
    if params.get("trial_end") in (None, "now"):
        return None
    return integer(params["trial_end"], "trial_end")


def _end_trial(world: World, subscription: Thing, given: Any) -> None:
    """Move the end of a trial; `now` begins the first paid period."""
    end = world.now if given == "now" else integer(given, "trial_end")
    subscription["trial_end"] = subscription["billing_cycle_anchor"] = end
    for item in subscription["items"]["data"]:
        item["current_period_end"] = end
    if given == "now":
        tell_of_trial_end(world, subscription)
        subscriptions.renew(world, subscription)
    else:
        subscription.update(status="trialing", trial_start=subscription["trial_start"] or world.now)
        subscription["_told_of_trial_end"] = False


def _trial_settings(params: Thing) -> Thing:
    given = params.get("trial_settings", {}).get("end_behavior", {})
    return {"end_behavior": {"missing_payment_method": given.get("missing_payment_method", "create_invoice")}}


def _pause_collection(given: Any) -> Thing | None:
    if not given:
        return None
    if given.get("behavior") not in ("keep_as_draft", "mark_uncollectible", "void"):
        raise wrong("pause_collection[behavior]", "Invalid behavior", None)
    resumes_at = given.get("resumes_at")
    return {
        "behavior": given["behavior"],
        "resumes_at": integer(resumes_at, "pause_collection[resumes_at]") if resumes_at else None,
    }


def _cancel_at_period_end(world: World, subscription: Thing, wanted: bool) -> None:
    subscription.update(
        cancel_at_period_end=wanted,
        cancel_at=subscriptions.period_end(subscription) if wanted else None,
        canceled_at=world.now if wanted else None,
    )
    reason = "cancellation_requested" if wanted else None
    subscription["cancellation_details"] = {**subscription["cancellation_details"], "reason": reason}
