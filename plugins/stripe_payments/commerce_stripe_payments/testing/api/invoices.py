"""Invoices, and the payments that pay them."""

from __future__ import annotations

import copy

from stripe.params._invoice_create_preview_params import InvoiceCreatePreviewParams
from stripe.params._invoice_finalize_invoice_params import InvoiceFinalizeInvoiceParams
from stripe.params._invoice_list_params import InvoiceListParams
from stripe.params._invoice_mark_uncollectible_params import InvoiceMarkUncollectibleParams
from stripe.params._invoice_pay_params import InvoicePayParams
from stripe.params._invoice_payment_list_params import InvoicePaymentListParams
from stripe.params._invoice_payment_retrieve_params import InvoicePaymentRetrieveParams
from stripe.params._invoice_retrieve_params import InvoiceRetrieveParams
from stripe.params._invoice_void_invoice_params import InvoiceVoidInvoiceParams

from commerce_stripe_payments.testing.api.payment_methods import usable
from commerce_stripe_payments.testing.api.subscriptions import changed_items
from commerce_stripe_payments.testing.billing import invoices
from commerce_stripe_payments.testing.failures import Failure, Thing
from commerce_stripe_payments.testing.router import Call, page, route


@route("GET", "/v1/invoices/{id}", InvoiceRetrieveParams)
def retrieve_invoice(call: Call, id: str) -> Thing:
    return call.world.find("invoice", id)


@route("GET", "/v1/invoices", InvoiceListParams)
def list_invoices(call: Call) -> Thing:
    wanted = {name: call.params[name] for name in ("customer", "status") if name in call.params}
    subscription = call.params.get("subscription")

    def fits(invoice: Thing) -> bool:
        details = (invoice["parent"] or {}).get("subscription_details") or {}
        return all(invoice[name] == value for name, value in wanted.items()) and subscription in (
            None,
            details.get("subscription"),
        )

    return page(call, (invoice for invoice in call.world.every("invoice") if fits(invoice)))


@route("POST", "/v1/invoices/{id}/pay", InvoicePayParams)
def pay_invoice(call: Call, id: str) -> Thing:
    """Somebody tries again, now. Raises Failure (402) if the bank says no."""
    world, params = call.world, call.params
    invoice = world.find("invoice", id)
    with world.at_clock_of(invoice):
        if invoice["status"] == "draft":
            invoices.finalize(world, invoice)
        if invoice["status"] == "paid":
            raise Failure("Invoice is already paid", code="invoice_already_paid")
        if invoice["status"] not in ("open", "uncollectible"):
            raise Failure(f"This invoice is {invoice['status']} and cannot be paid.")
        if params.get("paid_out_of_band"):
            return invoices.mark_paid(world, invoice, is_out_of_band=True)
        invoice["status"] = "open"
        method = usable(world, params["payment_method"])["id"] if "payment_method" in params else None
        invoices.collect(world, invoice, method=method, is_by_itself=False)
    if invoice["status"] == "paid":
        return invoice
    intent = world.objects[invoice["_payment_intent"]]
    if intent["status"] == "requires_action":
        raise Failure(
            "This payment needs its customer to authenticate.",
            status=402,
            type="card_error",
            code="invoice_payment_intent_requires_action",
            payment_intent=intent,
        )
    error = intent["last_payment_error"]
    if error is None:
        raise Failure("There is no way to pay this invoice.", code="resource_missing", param="payment_method")
    raise Failure(
        error["message"],
        status=402,
        type="card_error",
        code=error["code"],
        decline_code=error.get("decline_code"),
        payment_intent=intent,
    )


@route("POST", "/v1/invoices/{id}/finalize", InvoiceFinalizeInvoiceParams)
def finalize_invoice(call: Call, id: str) -> Thing:
    invoice = call.world.find("invoice", id)
    with call.world.at_clock_of(invoice):
        return invoices.finalize(call.world, invoice)


@route("POST", "/v1/invoices/{id}/void", InvoiceVoidInvoiceParams)
def void_invoice(call: Call, id: str) -> Thing:
    invoice = call.world.find("invoice", id)
    with call.world.at_clock_of(invoice):
        return invoices.void(call.world, invoice)


@route("POST", "/v1/invoices/{id}/mark_uncollectible", InvoiceMarkUncollectibleParams)
def mark_invoice_uncollectible(call: Call, id: str) -> Thing:
    invoice = call.world.find("invoice", id)
    with call.world.at_clock_of(invoice):
        return invoices.mark_uncollectible(call.world, invoice)


@route("POST", "/v1/invoices/create_preview", InvoiceCreatePreviewParams)
def create_preview(call: Call) -> Thing:
    """What the next invoice of a subscription would be, also after a change. Changes nothing and tells nobody."""
    world, params = call.world, call.params
    real = world.find("subscription", params.get("subscription"), param="subscription")
    details = params.get("subscription_details", {})
    with world.trying(), world.at_clock_of(real):
        subscription = copy.deepcopy(real)
        customer = copy.deepcopy(world.objects[real["customer"]])
        lines = [*subscription["_pending"]]
        if "items" in details:
            behavior = details.get("proration_behavior", "create_prorations")
            lines += changed_items(world, subscription, details["items"], behavior)
        invoice = invoices.new_invoice(world, customer, lines, reason="upcoming", subscription=subscription)
    return {**invoice, "id": f"upcoming_{invoice['id']}"}


@route("GET", "/v1/invoice_payments/{id}", InvoicePaymentRetrieveParams)
def retrieve_invoice_payment(call: Call, id: str) -> Thing:
    return call.world.find("invoice_payment", id)


@route("GET", "/v1/invoice_payments", InvoicePaymentListParams)
def list_invoice_payments(call: Call) -> Thing:
    params = call.params
    wanted = {name: params[name] for name in ("invoice", "status") if name in params}
    intent = params.get("payment", {}).get("payment_intent")
    return page(
        call,
        (
            payment
            for payment in call.world.every("invoice_payment")
            if all(payment[name] == value for name, value in wanted.items())
            and intent in (None, payment["payment"]["payment_intent"])
        ),
    )
