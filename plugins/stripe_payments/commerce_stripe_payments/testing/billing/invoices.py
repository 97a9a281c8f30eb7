"""What becomes of an invoice: draft, open, paid; tried again after some days; in the end given up."""

from __future__ import annotations

from typing import Any

from commerce_stripe_payments.testing import payments
from commerce_stripe_payments.testing.billing import subscriptions
from commerce_stripe_payments.testing.failures import Failure, Thing
from commerce_stripe_payments.testing.world import World

_HOUR = 3_600
_DAY = 86_400


def new_invoice(world: World, customer: Thing, lines: list[Thing], *, reason: str, subscription: Thing | None) -> Thing:
    """A draft with these lines."""
    total = sum(line["amount"] for line in lines)
    balance = customer["balance"]
    due = max(total + balance, 0)
    invoice = world.add(
        "in",
        "invoice",
        **_MOSTLY_NOTHING,
        account_country="DE",
        account_name="A shop",
        amount_due=due,
        amount_remaining=due,
        billing_reason=reason,
        currency=lines[0]["currency"] if lines else customer["currency"],
        customer=customer["id"],
        customer_email=customer["email"],
        customer_name=customer["name"],
        default_payment_method=None,
        parent=None,
        period_end=world.now,
        period_start=world.now,
        starting_balance=balance,
        subtotal=total,
        subtotal_excluding_tax=total,
        test_clock=customer["test_clock"],
        total=total,
        total_excluding_tax=total,
    )
    if subscription is not None:
        invoice["parent"] = {
            "quote_details": None,
            "subscription_details": {
                "metadata": dict(subscription["metadata"]),
                "subscription": subscription["id"],
            },
            "type": "subscription_details",
        }
        subscription["latest_invoice"] = invoice["id"]
    for line in lines:
        line["invoice"] = invoice["id"]
    invoice["lines"] = _list(lines, f"/v1/invoices/{invoice['id']}/lines")
    invoice["payments"] = _list([], "/v1/invoice_payments")
    invoice["payment_settings"] = {
        "default_mandate": None,
        "payment_method_options": None,
        "payment_method_types": None,
    }
    invoice["status_transitions"] = dict.fromkeys(("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at"))
    world.emit("invoice.created", invoice)
    return invoice


def wait_an_hour(world: World, invoice: Thing) -> None:
    """Renewals can be looked at for an hour before they are final."""
    invoice["automatically_finalizes_at"] = world.now + _HOUR


def finalize(world: World, invoice: Thing) -> Thing:
    """A draft becomes final, with a payment intent for what is due."""
    if invoice["status"] != "draft":
        raise Failure(f"This invoice is {invoice['status']} and can no longer be finalized.")
    customer = world.objects[invoice["customer"]]
    number = customer["next_invoice_sequence"]
    customer["next_invoice_sequence"] = number + 1
    # What the balance has paid, or is owed.
    customer["balance"] = min(customer["balance"] + invoice["total"], 0)
    invoice.update(
        status="open",
        number=f"{customer['invoice_prefix']}-{number:04d}",
        automatically_finalizes_at=None,
        ending_balance=customer["balance"],
        effective_at=world.now,
        hosted_invoice_url=f"{world.url}/invoice/{invoice['id']}",
    )
    invoice["status_transitions"]["finalized_at"] = world.now
    if invoice["amount_due"] > 0:
        intent = payments.new_intent(
            world,
            amount=invoice["amount_due"],
            currency=invoice["currency"],
            customer=invoice["customer"],
            description="Subscription",
            setup_future_usage="off_session",
            _invoice=invoice["id"],
        )
        invoice["_payment_intent"] = intent["id"]
        invoice["confirmation_secret"] = {"client_secret": intent["client_secret"], "type": "payment_intent"}
        payment = world.add(
            "inpay",
            "invoice_payment",
            amount_paid=None,
            amount_requested=invoice["amount_due"],
            currency=invoice["currency"],
            invoice=invoice["id"],
            is_default=True,
            payment={"type": "payment_intent", "payment_intent": intent["id"]},
            status="open",
            status_transitions={"canceled_at": None, "paid_at": None},
        )
        del payment["metadata"]
        invoice["payments"] = _list([payment], "/v1/invoice_payments")
    world.emit("invoice.finalized", invoice)
    return invoice


def collect(world: World, invoice: Thing, *, method: str | None = None, is_by_itself: bool = True) -> Thing:
    """Try to get an open invoice paid. Does not raise: the invoice says how it went.

    `is_by_itself`: no person is there, and there are tries to come if this one fails.
    """
    if invoice["amount_due"] == 0:
        return mark_paid(world, invoice)
    intent = world.objects[invoice["_payment_intent"]]
    chosen = method or _default_method(world, invoice)
    if intent["status"] == "processing":
        return invoice
    invoice["_is_by_itself"] = is_by_itself
    try:
        if chosen is None:
            _note_failure(world, invoice)
            return invoice
        payments.choose(world, intent, world.objects[chosen])
        payments.confirm(world, intent)
        if intent["status"] == "requires_action":
            _note_failure(world, invoice)
            world.emit("invoice.payment_action_required", invoice)
    except Failure:
        pass  # intent_ended has noted it.
    finally:
        invoice["_is_by_itself"] = False
    return invoice


def intent_ended(world: World, intent: Thing) -> None:
    """Hear how a try to pay an invoice went, whoever has made it."""
    if intent["_invoice"] is None:
        return
    invoice = world.objects[intent["_invoice"]]
    if invoice["status"] != "open":
        return
    if intent["status"] == "succeeded":
        mark_paid(world, invoice)
    else:
        _note_failure(world, invoice)


def mark_paid(world: World, invoice: Thing, *, is_out_of_band: bool = False) -> Thing:
    previous = {name: invoice[name] for name in ("status", "amount_paid", "amount_remaining", "attempted")}
    paid = invoice["amount_due"]
    invoice.update(
        amount_paid=paid,
        amount_remaining=0,
        attempted=True,
        next_payment_attempt=None,
        status="paid",
    )
    if paid:
        invoice["attempt_count"] += 1
    invoice["status_transitions"]["paid_at"] = world.now
    subscription = subscription_of(world, invoice)
    world.emit("invoice.updated", invoice, previous=previous)
    for payment in invoice["payments"]["data"]:
        if not is_out_of_band:
            payment.update(status="paid", amount_paid=paid)
            payment["status_transitions"]["paid_at"] = world.now
            world.emit("invoice_payment.paid", payment)
    world.emit("invoice.paid", invoice)
    if not is_out_of_band:
        world.emit("invoice.payment_succeeded", invoice)
    if subscription is not None:
        subscriptions.invoice_paid(world, subscription, invoice)
    return invoice


def void(world: World, invoice: Thing) -> Thing:
    return _close(world, invoice, "void", "voided_at", "invoice.voided")


def mark_uncollectible(world: World, invoice: Thing) -> Thing:
    invoice["status_details"] = {"uncollectible": {"reason": "marked_uncollectible"}}
    return _close(world, invoice, "uncollectible", "marked_uncollectible_at", "invoice.marked_uncollectible")


def subscription_of(world: World, invoice: Thing) -> Thing | None:
    details = (invoice["parent"] or {}).get("subscription_details")
    return world.objects[details["subscription"]] if details else None


def _note_failure(world: World, invoice: Thing) -> None:
    """Count the try, and say when the next one is: null after the last."""
    invoice["attempt_count"] += 1
    invoice["attempted"] = True
    subscription = subscription_of(world, invoice)
    is_renewal = invoice["billing_reason"] != "subscription_create"
    if invoice["_is_by_itself"] and is_renewal:
        done = invoice["_retries"]
        if done < len(world.dunning_days):
            invoice["next_payment_attempt"] = world.now + world.dunning_days[done] * _DAY
            invoice["_retries"] += 1
        else:
            invoice["next_payment_attempt"] = None
    world.emit("invoice.payment_failed", invoice)
    world.emit("invoice.updated", invoice, previous={"attempt_count": invoice["attempt_count"] - 1})
    if subscription is not None and is_renewal:
        subscriptions.invoice_failed(world, subscription, invoice)


def _close(world: World, invoice: Thing, status: str, moment: str, type: str) -> Thing:
    if invoice["status"] not in ("draft", "open", "uncollectible"):
        raise Failure(f"This invoice is {invoice['status']} and cannot become {status}.")
    invoice.update(
        status=status,
        next_payment_attempt=None,
        auto_advance=False,
        automatically_finalizes_at=None,
    )
    invoice["status_transitions"][moment] = world.now
    intent = world.objects.get(invoice["_payment_intent"] or "")
    if status == "void" and intent is not None and intent["status"] != "canceled":
        intent.update(status="canceled", canceled_at=world.now, cancellation_reason="void_invoice")
        world.emit("payment_intent.canceled", intent)
    world.emit(type, invoice)
    return invoice


def _default_method(world: World, invoice: Thing) -> str | None:
    subscription = subscription_of(world, invoice)
    customer = world.objects[invoice["customer"]]
    for owner in (invoice, subscription or {}, customer["invoice_settings"]):
        method: Any = owner.get("default_payment_method")
        if method and world.objects[method]["customer"] == customer["id"]:
            return str(method)
    return None


def _list(rows: list[Thing], url: str) -> Thing:
    return {"object": "list", "data": rows, "has_more": False, "total_count": len(rows), "url": url}


_MOSTLY_NOTHING: Thing = {
    "account_tax_ids": None,
    "amount_overpaid": 0,
    "amount_paid": 0,
    "amount_shipping": 0,
    "application": None,
    "attempt_count": 0,
    "attempted": False,
    "auto_advance": True,
    "automatic_tax": {"enabled": False, "liability": None, "status": None},
    "automatically_finalizes_at": None,
    "collection_method": "charge_automatically",
    "confirmation_secret": None,
    "customer_address": None,
    "customer_phone": None,
    "customer_shipping": None,
    "customer_tax_exempt": "none",
    "default_source": None,
    "default_tax_rates": [],
    "description": None,
    "discounts": [],
    "due_date": None,
    "effective_at": None,
    "ending_balance": None,
    "from_invoice": None,
    "hosted_invoice_url": None,
    "invoice_pdf": None,
    "issuer": {"type": "self"},
    "last_finalization_error": None,
    "latest_revision": None,
    "next_payment_attempt": None,
    "number": None,
    "on_behalf_of": None,
    "post_payment_credit_notes_amount": 0,
    "pre_payment_credit_notes_amount": 0,
    "receipt_number": None,
    "statement_descriptor": None,
    "status": "draft",
    "status_details": None,
    "total_discount_amounts": [],
    "total_taxes": [],
    "webhooks_delivered_at": None,
    # The intent; how often it was tried by itself; whether that is so just now.
    "_payment_intent": None,
    "_retries": 0,
    "_is_by_itself": False,
}
