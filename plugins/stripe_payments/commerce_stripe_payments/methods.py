"""What customers have saved to pay with, kept in step with Stripe, who tells of cards that are replaced or removed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import stripe
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from commerce_core.jobs.kinds import JobContext, Retry, job
from commerce_stripe_payments.connection import Connection, say
from commerce_stripe_payments.models import StripeCustomer, StripePaymentMethod
from commerce_stripe_payments.webhooks.handlers import EventHandler, Outcome
from commerce_stripe_payments.webhooks.plain import gone_as_none
from commerce_stripe_payments.webhooks.reading import Told, id_of


def save_method(session: Session, customer: StripeCustomer, method: dict[str, Any], *, now: datetime) -> None:
    """Write down a way to pay that Stripe has saved for a customer (locked); the first one becomes the default."""
    card = method.get("card") or {}
    shown = {
        "customer_row": customer.id,
        "type": str(method.get("type")),
        "brand": card.get("brand"),
        "last4": card.get("last4"),
        "exp_month": card.get("exp_month"),
        "exp_year": card.get("exp_year"),
        "detached_at": None,
    }
    session.execute(
        insert(StripePaymentMethod)
        .values(id=method["id"], created_at=now, **shown)
        .on_conflict_do_update(index_elements=["id"], set_=shown)
    )
    if customer.default_payment_method is None:
        customer.default_payment_method = method["id"]
    session.flush()


def drop_method(session: Session, method_id: str, *, now: datetime) -> bool:
    """A way to pay is no use any more; whether it was known. Another one that is left becomes the default."""
    method = session.get(StripePaymentMethod, method_id)
    if method is None:
        return False
    customer = session.get_one(StripeCustomer, method.customer_row, with_for_update=True, populate_existing=True)
    method.detached_at = method.detached_at or now
    if customer.default_payment_method == method_id:
        customer.default_payment_method = session.scalar(
            select(StripePaymentMethod.id)
            .where(StripePaymentMethod.customer_row == customer.id, StripePaymentMethod.detached_at.is_(None))
            .where(StripePaymentMethod.id != method_id)
            .order_by(StripePaymentMethod.created_at.desc())
            .limit(1)
        )
    session.flush()
    return True


def methods_of(session: Session, customer: StripeCustomer) -> list[StripePaymentMethod]:
    """What a customer can pay with, the newest first."""
    return list(
        session.scalars(
            select(StripePaymentMethod)
            .where(StripePaymentMethod.customer_row == customer.id, StripePaymentMethod.detached_at.is_(None))
            .order_by(StripePaymentMethod.created_at.desc(), StripePaymentMethod.id)
        )
    )


def lock_customer(session: Session, customer_id: str | None) -> StripeCustomer | None:
    """The customer with this id at Stripe, if it is one of this shop's."""
    return session.scalar(select(StripeCustomer).where(StripeCustomer.customer_id == customer_id).with_for_update())


# --- What is to be done at Stripe ---


@job("stripe.detach_method", retry=(10, 60, 300, 3_600))
def detach_method(context: JobContext, method: str) -> None:
    """The customer does not want to have it saved any more. Here it is gone already."""
    client = context.registry.stripe.client
    try:
        client.v1.payment_methods.detach(method)
    except stripe.InvalidRequestError:
        return  # it is not attached, or gone: that is what was wanted
    except stripe.StripeError as error:
        raise Retry(say(error)) from None


# --- What Stripe tells ---


def _fetch_method(client: stripe.StripeClient, told: Told) -> dict[str, Any] | None:
    return gone_as_none(lambda: client.v1.payment_methods.retrieve(told.object_id or ""))


def _apply_method(session: Session, connection: Connection, told: Told, method: Any, now: datetime) -> Outcome:
    customer = lock_customer(session, id_of(method.get("customer")))
    if customer is None:
        known = drop_method(session, method["id"], now=now)
        return Outcome("processed" if known else "ignored", None if known else "foreign: of no customer of this shop")
    save_method(session, customer, method, now=now)
    return Outcome("processed")


def _fetch_customer(client: stripe.StripeClient, told: Told) -> dict[str, Any] | None:
    return gone_as_none(lambda: client.v1.customers.retrieve(told.object_id or ""))


def _apply_customer(session: Session, connection: Connection, told: Told, found: Any, now: datetime) -> Outcome:
    customer = lock_customer(session, found["id"])
    if customer is None:
        return Outcome("ignored", "foreign: no customer of this shop")
    if found.get("deleted"):
        session.execute(
            update(StripePaymentMethod)
            .where(StripePaymentMethod.customer_row == customer.id, StripePaymentMethod.detached_at.is_(None))
            .values(detached_at=now)
        )
        # Another one is made when it is needed.
        session.delete(customer)
        session.flush()
        return Outcome("processed")
    default = id_of((found.get("invoice_settings") or {}).get("default_payment_method"))
    is_ours_told = customer.default_payment_method == customer.told_method
    if default is not None and is_ours_told and session.get(StripePaymentMethod, default) is not None:
        customer.default_payment_method = customer.told_method = default
    session.flush()
    return Outcome("processed")


_METHOD = EventHandler(_apply_method, _fetch_method)
_CUSTOMER = EventHandler(_apply_customer, _fetch_customer)
HANDLERS: dict[str, EventHandler] = {
    "payment_method.attached": _METHOD,
    "payment_method.detached": _METHOD,
    "payment_method.updated": _METHOD,
    "payment_method.automatically_updated": _METHOD,
    "customer.updated": _CUSTOMER,
    "customer.deleted": _CUSTOMER,
}
