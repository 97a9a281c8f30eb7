"""Asking Stripe for what is wanted of a subscription: outside of any transaction, after the wish has been committed."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import stripe
import structlog
from sqlalchemy.orm import Session

from commerce_core.database import transaction
from commerce_stripe_payments.connection import Connection, say
from commerce_stripe_payments.models import StripeSubscription
from commerce_stripe_payments.payments.calls import is_uncertain
from commerce_stripe_payments.payments.declines import decline_code, text_of
from commerce_stripe_payments.subscriptions.effects import (
    SUBSCRIPTION,
    Changed,
    apply_invoice,
    apply_subscription,
    fetch_invoice,
    fetch_subscription,
)
from commerce_stripe_payments.subscriptions.wishes import DELAYS, fulfilled, lease, lock_subscription
from commerce_stripe_payments.webhooks.plain import plain

_log = structlog.get_logger("commerce.stripe")
_ROUNDS = 5
NOT_POSSIBLE = "This cannot be done. Please ask the shop."


def carry_out(connection: Connection, row_id: UUID, *, now: datetime) -> None:
    """Do what is wanted of a subscription, and write down what came of it. Never called in a transaction.

    Killed on the way, it is done again with the same key. Where Stripe does not answer, a worker tries again.
    """
    with transaction(connection.engine) as session:
        row = lease(session, row_id, now=now)
        if row is None or row.wish is None:
            return
        wish, subscription_id = row.wish, row.subscription_id
        if wish["action"] == "create" and row.tries > 1:
            wish = {**wish, "is_retry": True}
    try:
        subscription_id, refusal = _ask_politely(connection, wish, subscription_id)
        settle(connection, subscription_id, now=now)
    except stripe.StripeError as error:
        _later(connection, row_id, say(error), now=now)
        return
    with connection.writing() as session:
        row = lock_subscription(session, row_id)
        if row is None:
            return
        fulfilled(row, wish["id"], error=refusal)
        row.subscription_id = row.subscription_id or subscription_id
        if row.subscription_id is None:
            # It was never made, and never will be: the next one has a key of its own.
            row.status = "refused"
            row.ended_at = row.created_at


def settle(connection: Connection, subscription_id: str | None, *, now: datetime) -> None:
    """Read a subscription, and its latest invoice, from Stripe and write them down. Outside of any transaction."""
    if subscription_id is None:
        return
    for _ in range(_ROUNDS):
        with Session(connection.engine) as session:
            row = session.query(StripeSubscription).filter_by(subscription_id=subscription_id).one_or_none()
            seen = 0 if row is None else row.version
        found = fetch_subscription(connection.client, subscription_id)
        if found is None:
            return
        latest = found.get("latest_invoice")
        truth = None if latest is None else fetch_invoice(connection.client, latest)
        try:
            with connection.writing() as session:
                if truth is not None and truth["subscription"] is not None:
                    apply_invoice(session, connection, truth, seen=seen, now=now)
                else:
                    apply_subscription(session, connection, found, seen=seen, now=now)
            return
        except Changed:
            continue
    _log.warning("subscription changes all the time", subscription=subscription_id)


def preview_switch(connection: Connection, subscription_id: str, price_id: str, behavior: str) -> dict[str, Any]:
    """What a switch would cost now: the invoice that it would bring. Outside of any transaction."""
    parameters: Any = {
        "subscription": subscription_id,
        "subscription_details": {
            "items": [{"id": _item_of(connection.client, subscription_id), "price": price_id}],
            "proration_behavior": behavior,
        },
    }
    return plain(connection.client.v1.invoices.create_preview(parameters))


def client_secret_of(connection: Connection, subscription_id: str) -> str | None:
    """With which the customer pays the first invoice in the browser; None if Stripe does not say. Outside of any
    transaction."""
    parameters: Any = {"expand": ["latest_invoice.confirmation_secret"]}
    try:
        found = plain(connection.client.v1.subscriptions.retrieve(subscription_id, parameters))
    except stripe.StripeError as error:
        _log.warning("stripe does not answer", subscription=subscription_id, error=say(error))
        return None
    invoice = found.get("latest_invoice") or {}
    secret = invoice.get("confirmation_secret") if isinstance(invoice, dict) else None
    return None if secret is None else secret.get("client_secret")


def _ask_politely(
    connection: Connection, wish: dict[str, Any], subscription_id: str | None
) -> tuple[str | None, str | None]:
    """Have the wish done: the subscription's id, and why it is refused for good, for the customer to read.

    Raises what the SDK raises where it is not known what came of it.
    """
    try:
        return _ask(connection, wish, subscription_id), None
    except stripe.CardError as error:
        code = error.error.decline_code if error.error is not None else None
        return subscription_id, text_of(decline_code({"code": error.code, "decline_code": code}))
    except stripe.StripeError as error:
        if is_uncertain(error):
            raise
        _log.error("stripe refuses a change", subscription=subscription_id, action=wish["action"], error=say(error))
        return subscription_id, NOT_POSSIBLE


def _ask(connection: Connection, wish: dict[str, Any], subscription_id: str | None) -> str:
    """Have the wish done; the subscription's id. Raises what the SDK raises."""
    v1, given = connection.client.v1, wish["parameters"]
    key: Any = {"idempotency_key": f"{connection.key_prefix}:subscription:{wish['id']}"}
    if wish["action"] == "create":
        # Stripe forgets a key after a day, and the webhook may have come before the answer.
        made = subscription_id or (_made_before(connection.client, given) if wish.get("is_retry") else None)
        return made or v1.subscriptions.create(given, key).id
    assert subscription_id is not None
    match wish["action"]:
        case "switch":
            parameters: Any = {
                "items": [{"id": _item_of(connection.client, subscription_id), "price": given["price"]}],
                "proration_behavior": given["proration_behavior"],
                # Who cannot pay for the dearer plan keeps the other.
                "payment_behavior": "error_if_incomplete",
                "cancel_at_period_end": False,
            }
            v1.subscriptions.update(subscription_id, parameters, key)
        case "cancel" if given["at_once"]:
            try:
                v1.subscriptions.cancel(subscription_id)
            except stripe.InvalidRequestError as error:
                # An answer that was lost: it is canceled.
                if error.code != "resource_missing":
                    raise
        case "cancel":
            v1.subscriptions.update(subscription_id, {"cancel_at_period_end": True}, key)
        case "keep":
            v1.subscriptions.update(subscription_id, {"cancel_at_period_end": False}, key)
        case "pause":
            v1.subscriptions.pause(subscription_id, {}, key)
        case "resume":
            v1.subscriptions.resume(subscription_id, {}, key)
        case _:
            method: Any = {name: given[name] for name in ("payment_method",) if name in given}
            try:
                v1.invoices.pay(given["invoice"], method, key)
            except stripe.InvalidRequestError as error:
                # Somebody was faster.
                if error.code != "invoice_already_paid":
                    raise
    return subscription_id


def _made_before(client: stripe.StripeClient, given: dict[str, Any]) -> str | None:
    found = client.v1.subscriptions.list({"customer": given["customer"], "status": "all", "limit": 100})
    for made in found.auto_paging_iter():
        if plain(made)["metadata"].get(SUBSCRIPTION) == given["metadata"][SUBSCRIPTION]:
            return made.id
    return None


def _item_of(client: stripe.StripeClient, subscription_id: str) -> str:
    found = plain(client.v1.subscriptions.retrieve(subscription_id))
    return str(found["items"]["data"][0]["id"])


def _later(connection: Connection, row_id: UUID, error: str, *, now: datetime) -> None:
    _log.warning("stripe does not answer", subscription=str(row_id), error=error)
    with connection.writing() as session:
        row = lock_subscription(session, row_id)
        if row is not None and row.wish is not None:
            row.next_attempt_at = now + DELAYS[min(row.tries, len(DELAYS)) - 1]
