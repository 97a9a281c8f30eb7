"""What becomes of a subscription: trial, renewal, failure, change, end."""

from __future__ import annotations

import copy
from typing import Any

from commerce_stripe_payments.testing.billing import invoices
from commerce_stripe_payments.testing.billing.periods import end_of_period
from commerce_stripe_payments.testing.failures import Failure, Thing
from commerce_stripe_payments.testing.world import World

_DAY = 86_400
_ENDED = ("canceled", "incomplete_expired")


def new_subscription(
    world: World,
    customer: Thing,
    items: list[tuple[Thing, int]],
    *,
    trial_end: int | None,
    payment_behavior: str,
    **fields: Any,
) -> Thing:
    """Begin, with a trial or with an invoice. Raises Failure (402) for `error_if_incomplete`, and nothing remains."""
    now = world.now
    start_of_billing = trial_end or now
    made = world.add(
        "sub",
        "subscription",
        **_MOSTLY_NOTHING,
        billing_cycle_anchor=start_of_billing,
        currency=items[0][0]["currency"],
        customer=customer["id"],
        start_date=now,
        status="trialing" if trial_end else "incomplete",
        test_clock=customer["test_clock"],
        trial_end=trial_end,
        trial_start=now if trial_end else None,
    )
    made.update(fields)
    made["items"] = {"object": "list", "has_more": False, "url": f"/v1/subscription_items?subscription={made['id']}"}
    made["items"]["data"] = [new_item(world, made, price, quantity) for price, quantity in items]
    customer["currency"] = made["currency"]
    for item in made["items"]["data"]:
        item["current_period_start"] = now
        item["current_period_end"] = trial_end or end_of_period(now, now, item["price"]["recurring"])
    lines = [line(world, made, item, is_trial=bool(trial_end)) for item in made["items"]["data"]]
    world.emit("customer.subscription.created", made)
    invoice = invoices.new_invoice(world, customer, lines, reason="subscription_create", subscription=made)
    invoices.finalize(world, invoice)
    if payment_behavior != "default_incomplete" or invoice["amount_due"] == 0:
        invoices.collect(world, invoice)
    if payment_behavior == "error_if_incomplete" and made["status"] == "incomplete":
        intent = world.objects[invoice["_payment_intent"]]
        error = intent["last_payment_error"] or {"message": "This customer has no way to pay."}
        cancel(world, made, status="incomplete_expired")
        raise Failure(error["message"], status=402, type="card_error", code=error.get("code"))
    return made


def new_item(world: World, subscription: Thing, price: Thing, quantity: int) -> Thing:
    item = world.add(
        "si",
        "subscription_item",
        billing_thresholds=None,
        current_period_end=world.now,
        current_period_start=world.now,
        discounts=[],
        plan=plan_of(price),
        price=copy.deepcopy(price),
        quantity=quantity,
        subscription=subscription["id"],
        tax_rates=[],
    )
    del item["livemode"]
    return item


def line(
    world: World,
    subscription: Thing,
    item: Thing,
    *,
    is_trial: bool = False,
    proration: tuple[int, str] | None = None,
) -> Thing:
    """A line of an invoice: a period of an item, or (amount and text) what a change in one comes to."""
    price = item["price"]
    amount = 0 if is_trial else price["unit_amount"] * item["quantity"]
    text = f"{item['quantity']} x {price['nickname'] or price['product']}"
    if proration is not None:
        amount, text = proration
    made = world.add(
        "il",
        "line_item",
        amount=amount,
        currency=price["currency"],
        description=text,
        discount_amounts=[],
        discountable=proration is None,
        discounts=[],
        invoice=None,
        parent={
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": proration is not None,
                "proration_details": None,
                "subscription": subscription["id"],
                "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        period={
            "start": world.now if proration else item["current_period_start"],
            "end": item["current_period_end"],
        },
        pretax_credit_amounts=[],
        pricing={
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": str(price["unit_amount"]),
        },
        quantity=item["quantity"],
        subscription=subscription["id"],
        subtotal=amount,
        taxes=[],
    )
    del made["created"]
    return made


def period_end(subscription: Thing) -> int:
    return max(int(item["current_period_end"]) for item in subscription["items"]["data"])


def renew(world: World, subscription: Thing) -> None:
    """The period, or the trial, is over."""
    if subscription["cancel_at_period_end"]:
        cancel(world, subscription)
        return
    customer = world.objects[subscription["customer"]]
    previous = {"items": copy.deepcopy(subscription["items"]), "status": subscription["status"]}
    start = period_end(subscription)
    if subscription["status"] == "trialing":
        if not _can_pay(subscription, customer) and _without_method(world, subscription):
            return
        subscription["status"] = "active"
    for item in subscription["items"]["data"]:
        item["current_period_start"] = start
        item["current_period_end"] = end_of_period(
            subscription["billing_cycle_anchor"], start, item["price"]["recurring"]
        )
    lines = [line(world, subscription, item) for item in subscription["items"]["data"]]
    pending, subscription["_pending"] = subscription["_pending"], []
    invoice = invoices.new_invoice(
        world, customer, [*pending, *lines], reason="subscription_cycle", subscription=subscription
    )
    world.emit("customer.subscription.updated", subscription, previous=previous)
    collection = subscription["pause_collection"]
    if collection is None:
        # Nobody is there to pay an unpaid one; its invoices stay drafts.
        if subscription["status"] != "unpaid":
            invoices.wait_an_hour(world, invoice)
    elif collection["behavior"] == "void":
        invoices.finalize(world, invoice)
        invoices.void(world, invoice)
    elif collection["behavior"] == "mark_uncollectible":
        invoices.finalize(world, invoice)
        invoices.mark_uncollectible(world, invoice)


def invoice_paid(world: World, subscription: Thing, invoice: Thing) -> None:
    """The latest invoice counts: an older one that is paid late does not mend what came after it."""
    if subscription["latest_invoice"] != invoice["id"] or subscription["status"] in (*_ENDED, "trialing", "paused"):
        return
    intent = world.objects.get(invoice["_payment_intent"] or "")
    if intent is not None and subscription["default_payment_method"] is None and subscription["_saves_method"]:
        subscription["default_payment_method"] = intent["payment_method"]
    world.change(subscription, "customer.subscription.updated", status="active")


def invoice_failed(world: World, subscription: Thing, invoice: Thing) -> None:
    """Past due; after the last try what the account's settings say."""
    if subscription["status"] in (*_ENDED, "incomplete"):
        return
    if invoice["next_payment_attempt"] is None and invoice["_is_by_itself"]:
        if world.after_dunning == "canceled":
            cancel(world, subscription, reason="payment_failed")
            return
        world.change(subscription, "customer.subscription.updated", status=world.after_dunning)
        return
    if subscription["status"] != "unpaid":
        world.change(subscription, "customer.subscription.updated", status="past_due")


def cancel(world: World, subscription: Thing, *, status: str = "canceled", reason: str | None = None) -> Thing:
    """The end, now."""
    if subscription["status"] in _ENDED:
        raise Failure(f"No such subscription: '{subscription['id']}'", status=404, code="resource_missing", param="id")
    subscription.update(
        status=status,
        ended_at=world.now,
        canceled_at=subscription["canceled_at"] or world.now,
        pause_collection=None,
    )
    subscription["cancellation_details"] = {
        **subscription["cancellation_details"],
        "reason": reason or subscription["cancellation_details"]["reason"] or "cancellation_requested",
    }
    for invoice in world.every("invoice"):
        if invoices.subscription_of(world, invoice) is subscription and invoice["status"] in ("draft", "open"):
            invoice.update(auto_advance=False, next_payment_attempt=None, automatically_finalizes_at=None)
    type = "customer.subscription.deleted" if status == "canceled" else "customer.subscription.updated"
    world.emit(type, subscription)
    return subscription


def pause(world: World, subscription: Thing) -> Thing:
    """No invoices and no periods, until it is resumed."""
    previous = {"status": subscription["status"]}
    subscription["status"] = "paused"
    subscription["status_details"] = {
        "paused": {"subscription": {"type": "pause_requested"}, "transitioned_at": world.now, "type": "subscription"}
    }
    world.emit("customer.subscription.paused", subscription, previous=previous)
    world.emit("customer.subscription.updated", subscription, previous=previous)
    return subscription


def resume(world: World, subscription: Thing) -> Thing:
    """Go on with a new period, which is billed now."""
    if subscription["status"] != "paused":
        raise Failure(f"A subscription that is {subscription['status']} cannot be resumed.")
    subscription["billing_cycle_anchor"] = world.now
    subscription.update(status="active", status_details=None)
    for item in subscription["items"]["data"]:
        item["current_period_start"] = world.now
        item["current_period_end"] = end_of_period(world.now, world.now, item["price"]["recurring"])
    world.emit("customer.subscription.resumed", subscription)
    world.emit("customer.subscription.updated", subscription, previous={"status": "paused"})
    bill_now(world, subscription, [line(world, subscription, item) for item in subscription["items"]["data"]])
    return subscription


def bill_now(world: World, subscription: Thing, lines: list[Thing]) -> Thing:
    """An invoice between the periods, with what is pending; it is collected at once."""
    customer = world.objects[subscription["customer"]]
    pending, subscription["_pending"] = subscription["_pending"], []
    invoice = invoices.new_invoice(
        world, customer, [*pending, *lines], reason="subscription_update", subscription=subscription
    )
    invoices.finalize(world, invoice)
    return invoices.collect(world, invoice)


def prorate(world: World, subscription: Thing, old: Thing, new: Thing) -> list[Thing]:
    """What a change of an item in the middle of its period comes to: the old one's rest back, the new one's to pay."""
    end: int = old["current_period_end"]
    seconds: int = end - old["current_period_start"]
    left = max(end - world.now, 0)

    def share(item: Thing) -> int:
        whole: int = item["price"]["unit_amount"] * item["quantity"]
        return whole * left // max(seconds, 1)

    return [
        line(world, subscription, old, proration=(-share(old), "Unused time")),
        line(world, subscription, new, proration=(share(new), "Remaining time")),
    ]


def _can_pay(subscription: Thing, customer: Thing) -> bool:
    return bool(subscription["default_payment_method"] or customer["invoice_settings"]["default_payment_method"])


def _without_method(world: World, subscription: Thing) -> bool:
    """Whether the end of a trial that nobody can pay ends the matter, as the trial's settings say."""
    behavior = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    if behavior == "cancel":
        cancel(world, subscription)
    elif behavior == "pause":
        pause(world, subscription)
    return bool(behavior != "create_invoice")


def plan_of(price: Thing) -> Thing:
    """The price, as it was called before."""
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "currency": price["currency"],
        "interval": price["recurring"]["interval"],
        "interval_count": price["recurring"]["interval_count"],
        "product": price["product"],
    }


_MOSTLY_NOTHING: Thing = {
    "application": None,
    "application_fee_percent": None,
    "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
    "billing_mode": {"flexible": None, "type": "flexible"},
    "billing_schedules": [],
    "billing_thresholds": None,
    "cancel_at": None,
    "cancel_at_period_end": False,
    "canceled_at": None,
    "cancellation_details": {"comment": None, "feedback": None, "reason": None},
    "collection_method": "charge_automatically",
    "days_until_due": None,
    "default_payment_method": None,
    "default_source": None,
    "default_tax_rates": [],
    "description": None,
    "discounts": [],
    "ended_at": None,
    "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
    "latest_invoice": None,
    "next_pending_invoice_item_invoice": None,
    "on_behalf_of": None,
    "pause_collection": None,
    "payment_settings": {"payment_method_options": None, "payment_method_types": None},
    "pending_invoice_item_interval": None,
    "pending_setup_intent": None,
    "pending_update": None,
    "schedule": None,
    "status_details": None,
    "transfer_data": None,
    "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
    # Lines for the next invoice; whether three days' notice of the trial's end has been given; whether what the first
    # invoice is paid with is kept as the default.
    "_pending": [],
    "_told_of_trial_end": False,
    "_saves_method": False,
}
