"""Customers at Stripe: one for each user, made when first needed. What they have saved to pay with is methods.py's."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from commerce_core.accounts.models import User
from commerce_core.api.problems import InvalidInput, Unauthorized
from commerce_core.database import uuid7
from commerce_stripe_payments.connection import Connection
from commerce_stripe_payments.models import StripeCustomer, StripePaymentMethod

SITE, USER = "commerce_site", "commerce_user"


def find_customer(session: Session, stripe: Connection, user_id: UUID) -> StripeCustomer | None:
    """The user's customer in this account and mode, if there is one. Takes no lock."""
    return session.scalar(
        select(StripeCustomer).where(
            StripeCustomer.user_id == user_id,
            StripeCustomer.account == (stripe.settings.account or ""),
            StripeCustomer.livemode == stripe.settings.livemode,
        )
    )


def ensure_customer(stripe: Connection, user_id: UUID, *, now: Any) -> str:
    """The id of the user's customer at Stripe, made there if need be. Outside of any transaction; commits.

    The row comes first, and its id is the idempotency key: two at once make one. Raises what the SDK raises.
    """
    with stripe.writing() as session:
        session.execute(
            insert(StripeCustomer)
            .values(
                id=uuid7(),
                user_id=user_id,
                account=stripe.settings.account or "",
                livemode=stripe.settings.livemode,
                created_at=now,
            )
            .on_conflict_do_nothing()
        )
        row = find_customer(session, stripe, user_id)
        assert row is not None
        if row.customer_id is not None:
            return row.customer_id
        row_id = row.id
        user = session.get_one(User, user_id)
        parameters: Any = {"email": user.email, "metadata": {SITE: str(stripe.site), USER: str(user_id)}}
        if user.name:
            parameters["name"] = user.name
    made = stripe.client.v1.customers.create(parameters, {"idempotency_key": f"{stripe.key_prefix}:customer:{row_id}"})
    with stripe.writing() as session:
        row = session.get_one(StripeCustomer, row_id, with_for_update=True)
        if row.customer_id is None:
            row.customer_id = made.id
            row.told_email, row.told_name = parameters["email"], parameters.get("name", "")
        return row.customer_id


def customer_of(request: Any) -> str:
    """The requester's customer at Stripe. Raises Unauthorized for guests."""
    if request.actor is None:
        raise Unauthorized("Sign in to save what you pay with.")
    return ensure_customer(request.registry.stripe, request.actor.user_id, now=request.now)


def usable_method(request: Any, method: str) -> str:
    """A way to pay that the requester has saved. Raises InvalidInput for any other."""
    with Session(request.registry.stripe.engine) as session:
        row = find_customer(session, request.registry.stripe, request.actor.user_id)
        saved = session.get(StripePaymentMethod, method)
    if row is None or saved is None or saved.customer_row != row.id or saved.detached_at is not None:
        raise InvalidInput.field("payment_method", "unknown_payment_method", "is none that you have saved")
    return method


def saved_default(session: Session, stripe: Connection, owner: str | None) -> tuple[str, str] | None:
    """The customer and the default way to pay of an order's owner, if it is a user who has both."""
    kind, _, user_id = (owner or "").partition(":")
    row = find_customer(session, stripe, UUID(user_id)) if kind == "user" else None
    if row is None or row.customer_id is None or row.default_payment_method is None:
        return None
    return row.customer_id, row.default_payment_method
