"""Telling plugins of an order, in the transaction that makes or changes it: nothing at all where none minds."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.orm import Session

from commerce_core.orders.models import Order, OrderLine
from commerce_core.plugins.calls import hooks_of
from commerce_core.plugins.facts import OrderFacts, OrderLineFacts


def tell_of_placing(session: Session, order: Order) -> None:
    """The order is written, and its stock locked. Raises what a plugin refuses it for, or PluginFailed."""
    hooks = hooks_of(session)
    if hooks.order_placing:
        lines = tuple(
            OrderLineFacts(
                id=line.id,
                variant_id=line.variant_id,
                sku=line.sku,
                quantity=line.quantity,
                unit_price=line.unit_price,
                total=line.total,
                discount_total=line.discount_total,
                tax_total=line.tax_total,
            )
            for line in order.lines
        )
        ctx = hooks.context(session, currency=order.currency)
        hooks.order_placing.notify(ctx, order=_facts(order), lines=lines)


def tell_of_transition(session: Session, order: Order, machine: str, old: str, new: str) -> None:
    """One of the order's states has changed. Raises what a plugin refuses it for, or PluginFailed."""
    hooks = hooks_of(session)
    if hooks.order_transition:
        ctx = hooks.context(session, currency=order.currency)
        hooks.order_transition.notify(ctx, order=_facts(order), machine=machine, old=old, new=new)


def ask_before_fulfilling(session: Session, order: Order, units: Mapping[OrderLine, int]) -> None:
    """Units of the order are about to be shipped. Raises what a plugin refuses it for, or PluginFailed."""
    hooks = hooks_of(session)
    if hooks.order_fulfilling:
        ctx = hooks.context(session, currency=order.currency)
        hooks.order_fulfilling.notify(
            ctx, order=_facts(order), units={line.id: quantity for line, quantity in units.items()}
        )


def _facts(order: Order) -> OrderFacts:
    return OrderFacts(
        id=order.id,
        number=order.number,
        owner=order.owner,
        status=order.status,
        payment_status=order.payment_status,
        fulfillment_status=order.fulfillment_status,
        currency=order.currency,
        subtotal=order.subtotal,
        discount_total=order.discount_total,
        shipping_total=order.shipping_total,
        fee_total=order.fee_total,
        tax_total=order.tax_total,
        total=order.total,
        coupons=tuple(order.coupons),
        customer=order.customer,
        shipping_address=order.shipping_address,
        billing_address=order.billing_address,
    )
