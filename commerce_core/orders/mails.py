"""What customers are written about their orders: one mail for one event, put into the outbox by a job.

The job reads the order as it is then, and the mail is written with the mark that the job is done: once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from babel.dates import format_datetime
from pyramid.config import Configurator

from commerce_core.events import (
    OrderCancelled,
    OrderFulfilled,
    OrderPaid,
    OrderPaymentFailed,
    OrderPlaced,
    RefundSucceeded,
)
from commerce_core.jobs.kinds import JobContext, job
from commerce_core.mail.service import queue_mail
from commerce_core.money import formatted
from commerce_core.orders.models import Order, OrderLine
from commerce_core.orders.privacy import NOBODY


@job("orders.mail_placed")
def mail_placed(context: JobContext, event: OrderPlaced) -> None:
    # One that costs nothing is paid with its placing, and written about as that.
    if event.total:
        _write(context, event.order_id, "order-placed")


@job("orders.mail_paid")
def mail_paid(context: JobContext, event: OrderPaid) -> None:
    _write(context, event.order_id, "order-paid")


@job("orders.mail_payment_failed")
def mail_payment_failed(context: JobContext, event: OrderPaymentFailed) -> None:
    _write(context, event.order_id, "order-payment-failed", unless=lambda order: order.payment_status != "failed")


@job("orders.mail_cancelled")
def mail_cancelled(context: JobContext, event: OrderCancelled) -> None:
    # A late payment may have revived it.
    _write(
        context,
        event.order_id,
        "order-cancelled",
        unless=lambda order: order.status != "cancelled",
        reason=event.reason,
    )


@job("orders.mail_fulfilled")
def mail_fulfilled(context: JobContext, event: OrderFulfilled) -> None:
    order = context.session.get(Order, event.order_id)
    if order is None or not event.notify:
        return
    sent = next(found for found in order.fulfillments if found.id == event.fulfillment_id)
    if sent.status == "cancelled":
        return
    quantities = {part.line_id: part.quantity for part in sent.lines}
    _write(
        context,
        order.id,
        "order-fulfilled",
        shipped=[
            {**_line(order, line), "quantity": quantities[line.id]} for line in order.lines if line.id in quantities
        ],
        carrier=sent.carrier,
        tracking_number=sent.tracking_number,
        tracking_url=sent.tracking_url,
        is_last=order.fulfillment_status == "fulfilled",
    )


@job("orders.mail_refunded")
def mail_refunded(context: JobContext, event: RefundSucceeded) -> None:
    order = context.session.get(Order, event.order_id)
    if order is not None:
        _write(context, order.id, "order-refunded", refunded=formatted(event.amount, event.currency, order.locale))


SUBSCRIPTIONS = (
    (OrderPlaced, mail_placed),
    (OrderPaid, mail_paid),
    (OrderPaymentFailed, mail_payment_failed),
    (OrderCancelled, mail_cancelled),
    (OrderFulfilled, mail_fulfilled),
    (RefundSucceeded, mail_refunded),
)


def includeme(config: Configurator) -> None:
    for event, kind in SUBSCRIPTIONS:
        # What was to be written before mails were turned off is written yet.
        config.add_job(kind)
        if config.registry.settings_object.orders.mails:
            config.add_durable_subscriber(event, kind)


def _write(
    context: JobContext,
    order_id: UUID,
    template: str,
    *,
    unless: Callable[[Order], bool] = lambda order: False,
    **more: Any,
) -> None:
    """Have the order's customer written to, if the shop knows an address, and it is still true."""
    # Locked, against whoever is leaving: what they had in the outbox is forgotten with them.
    order = context.session.get(Order, order_id, with_for_update={"read": True, "of": Order}, populate_existing=True)
    if order is None or order.customer is None or order.customer["email"] == NOBODY["email"] or unless(order):
        return
    queue_mail(
        context.session,
        template=template,
        to=order.customer["email"],
        context={"order": _order(order, context.settings.orders.url), **more},
        locale=order.locale,
        now=context.now,
    )


def _order(order: Order, url: str | None) -> dict[str, Any]:
    """The order as templates show it: money and times as the customer reads them."""

    def money(amount: int) -> str | None:
        return formatted(amount, order.currency, order.locale) if amount else None

    return {
        "number": order.number,
        "url": None if url is None else url.replace("{number}", order.number),
        "name": (order.customer or {}).get("name"),
        "lines": [_line(order, line) for line in order.lines],
        "subtotal": formatted(order.subtotal, order.currency, order.locale),
        "discount": money(-order.discount_total),
        "shipping": money(order.shipping_total),
        "fee": money(order.fee_total),
        "tax": money(order.tax_total),
        "includes_tax": order.prices_include_tax,
        "total": formatted(order.total, order.currency, order.locale),
        "is_free": order.total == 0,
        "shipping_address": _address(order.shipping_address),
        "billing_address": _address(order.billing_address) if order.billing_address != order.shipping_address else [],
        "pay_by": None if order.expires_at is None else format_datetime(order.expires_at, "long", locale=order.locale),
    }


def _line(order: Order, line: OrderLine) -> dict[str, Any]:
    return {
        "name": line.product_name,
        "variant": line.variant_name,
        "sku": line.sku,
        "quantity": line.quantity,
        "unit_price": formatted(line.unit_price, order.currency, order.locale),
        "total": formatted(line.total, order.currency, order.locale),
    }


def _address(address: Mapping[str, Any] | None) -> list[str]:
    """An address as it stands on a parcel, line by line."""
    if address is None:
        return []
    place = " ".join(_given(address, ("postal_code", "city", "region")))
    return [*_given(address, ("name", "company", "line1", "line2")), place, address["country"]]


def _given(address: Mapping[str, Any], fields: Iterable[str]) -> list[str]:
    return [address[field] for field in fields if address.get(field)]
