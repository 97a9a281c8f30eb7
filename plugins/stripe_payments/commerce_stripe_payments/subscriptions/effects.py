"""What a subscription or an invoice, as Stripe has it now, does to our row of it, to its customer and to the mails.

Whoever learns of it calls these: the webhooks, the answers to our own calls, the hourly look at what is overdue. An
answer may be older than what is written already, and a status can go back and forth, so that ranks do not help. So an
answer comes with the version that the row had when Stripe was asked: if it has changed since, Stripe is asked again.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import stripe
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from commerce_core.database import uuid7
from commerce_core.events import emit
from commerce_stripe_payments.connection import Connection
from commerce_stripe_payments.customers import SITE
from commerce_stripe_payments.models import StripeCustomer, StripeInvoice, StripePlan, StripeSubscription
from commerce_stripe_payments.subscriptions import dunning, mails
from commerce_stripe_payments.subscriptions.entitlement import does_entitle
from commerce_stripe_payments.subscriptions.events import SubscriptionChanged
from commerce_stripe_payments.webhooks.handlers import EventHandler, Outcome
from commerce_stripe_payments.webhooks.plain import gone_as_none
from commerce_stripe_payments.webhooks.reading import (
    Told,
    id_of,
    period_end_of_subscription,
    subscription_of_invoice,
)

SUBSCRIPTION = "commerce_subscription"
"""Under which the id of our row is in the metadata of what is made at Stripe."""
DEFAULT_LOCALE = "en"


class Changed(Exception):
    """The row is another one than when Stripe was asked: the answer may be old. Ask again."""


def fetch_subscription(client: stripe.StripeClient, subscription_id: str | None) -> dict[str, Any] | None:
    """What Stripe has now; None if there is none."""
    return gone_as_none(lambda: client.v1.subscriptions.retrieve(subscription_id or ""))


def fetch_invoice(client: stripe.StripeClient, invoice_id: str | None) -> dict[str, Any] | None:
    """An invoice and its subscription, as Stripe has them now; None if there is no such invoice."""
    parameters: Any = {"expand": ["payments.data.payment.payment_intent"]}
    invoice = gone_as_none(lambda: client.v1.invoices.retrieve(invoice_id or "", parameters))
    if invoice is None:
        return None
    subscription_id = subscription_of_invoice(invoice)
    subscription = None if subscription_id is None else fetch_subscription(client, subscription_id)
    return {"invoice": invoice, "subscription": subscription}


def apply_subscription(
    session: Session, connection: Connection, found: dict[str, Any], *, seen: int | None, now: datetime
) -> StripeSubscription | Outcome:
    """Let a subscription, fresh from Stripe, take effect; its row, locked. Raises Changed.

    `seen` is the version that the row had before Stripe was asked; 0 if there was none, None if nobody looked.
    """
    taken = _take(session, connection, found, seen=seen, now=now)
    if isinstance(taken, Outcome):
        return taken
    row, before = taken
    _tell_if_changed(session, row, before, now=now)
    session.flush()
    return row


def apply_invoice(
    session: Session, connection: Connection, truth: dict[str, Any], *, seen: int | None, now: datetime
) -> Outcome:
    """Let an invoice and its subscription, fresh from Stripe, take effect. Raises Changed."""
    invoice, subscription = truth["invoice"], truth["subscription"]
    if subscription is None:
        return Outcome("ignored", "foreign: an invoice of no subscription")
    taken = _take(session, connection, subscription, seen=seen, now=now)
    if isinstance(taken, Outcome):
        return taken
    row, before = taken
    kept = dunning.keep_invoice(session, row, invoice, now=now)
    dunning.follow_invoice(session, connection, row, kept, invoice, now=now)
    _tell_if_changed(session, row, before, now=now)
    session.flush()
    return Outcome("processed")


_Facts = tuple[str, UUID | None, bool]


def _take(
    session: Session, connection: Connection, found: dict[str, Any], *, seen: int | None, now: datetime
) -> tuple[StripeSubscription, _Facts] | Outcome:
    """Write down what a subscription is now; its row, locked, and what it was before."""
    row = _row_of(session, connection, found, now=now)
    if isinstance(row, Outcome):
        return row
    if seen is not None and row.version != seen:
        raise Changed
    before = _facts(row, now=now)
    had_ended = row.ended_at is not None
    plan = _plan_of(session, found)
    values: dict[str, Any] = {
        "subscription_id": found["id"],
        "status": str(found["status"]),
        "plan_id": row.plan_id if plan is None else plan.id,
        "period_end": period_end_of_subscription(found),
        "trial_end": _moment(found.get("trial_end")),
        "cancel_at_period_end": bool(found.get("cancel_at_period_end")),
        "cancel_at": _moment(found.get("cancel_at")),
        "ended_at": _moment(found.get("ended_at")),
        "latest_invoice": id_of(found.get("latest_invoice")),
    }
    if any(getattr(row, name) != value for name, value in values.items()):
        for name, value in values.items():
            setattr(row, name, value)
        row.version += 1
    dunning.follow_status(row, now=now)
    if row.ended_at is not None and not had_ended and row.status == "canceled":
        mails.write(session, row, mails.ENDED, now=now, is_unpaid=_was_unpaid(found))
    return row, before


def _facts(row: StripeSubscription, *, now: datetime) -> _Facts:
    return row.status, row.plan_id, does_entitle(row, now=now)


def _tell_if_changed(session: Session, row: StripeSubscription, before: _Facts, *, now: datetime) -> None:
    after = _facts(row, now=now)
    if after != before:
        code = session.scalar(select(StripePlan.code).where(StripePlan.id == row.plan_id))
        emit(
            session,
            SubscriptionChanged(
                subscription_id=row.id, user_id=row.user_id, plan=code, status=row.status, is_entitled=after[2]
            ),
        )


def _row_of(
    session: Session, connection: Connection, found: dict[str, Any], *, now: datetime
) -> StripeSubscription | Outcome:
    """Our row of a subscription, locked; or why there is none. One that was made at Stripe for a customer of ours is
    taken in."""
    metadata = found.get("metadata") or {}
    known = _locked(session, StripeSubscription.subscription_id == found["id"])
    if known is not None:
        return known
    if metadata.get(SITE) == str(connection.site) and SUBSCRIPTION in metadata:
        try:
            row = _locked(session, StripeSubscription.id == UUID(str(metadata[SUBSCRIPTION])))
        except ValueError:
            row = None
        if row is None:
            return Outcome("unmatched", "no subscription of ours (yet)")
        if row.subscription_id not in (None, found["id"]):
            return Outcome("dead", f"{found['id']} says that it is one which {row.subscription_id} is already")
        return row
    customer = session.scalar(select(StripeCustomer).where(StripeCustomer.customer_id == id_of(found.get("customer"))))
    if customer is None:
        return Outcome("ignored", "foreign: of no customer of this shop")
    session.execute(
        insert(StripeSubscription)
        .values(
            id=uuid7(),
            user_id=customer.user_id,
            customer_id=customer.customer_id,
            subscription_id=found["id"],
            status="creating",
            livemode=bool(found.get("livemode")),
            locale=DEFAULT_LOCALE,
            created_at=now,
        )
        .on_conflict_do_nothing()
    )
    return _locked(session, StripeSubscription.subscription_id == found["id"]) or Outcome("unmatched", "just made")


def _locked(session: Session, condition: Any) -> StripeSubscription | None:
    return session.scalar(
        select(StripeSubscription).where(condition).with_for_update().execution_options(populate_existing=True)
    )


def _plan_of(session: Session, found: dict[str, Any]) -> StripePlan | None:
    """The plan of the first item whose price is one of ours."""
    items = (found.get("items") or {}).get("data") or []
    named = [id_of(item.get("price")) or id_of(item.get("plan")) for item in items]
    prices = [price for price in named if price is not None]
    plans = session.scalars(select(StripePlan).where(StripePlan.price_id.in_(prices))).all()
    return min(plans, key=lambda plan: prices.index(str(plan.price_id)), default=None)


def _was_unpaid(found: dict[str, Any]) -> bool:
    return (found.get("cancellation_details") or {}).get("reason") == "payment_failed"


# --- What Stripe tells ---


def _look_at_subscription(session: Session, told: Told) -> int:
    return _version(session, told.object_id) or 0


def _look_at_invoice(session: Session, told: Told) -> int | None:
    named = subscription_of_invoice(told.object)
    if named is None:
        # A thin event, or one about an invoice's payment.
        invoice = session.get(StripeInvoice, _invoice_id(told) or "")
        row = None if invoice is None else session.get(StripeSubscription, invoice.subscription)
        return None if row is None else row.version
    return _version(session, named) or 0


def _version(session: Session, subscription_id: str | None) -> int | None:
    return session.scalar(
        select(StripeSubscription.version).where(StripeSubscription.subscription_id == subscription_id)
    )


def _invoice_id(told: Told) -> str | None:
    return id_of(told.object.get("invoice")) or told.object_id


def _apply_subscription(
    session: Session, connection: Connection, told: Told, truth: tuple[int | None, Any], now: datetime
) -> Outcome:
    seen, found = truth
    row = apply_subscription(session, connection, found, seen=seen, now=now)
    if isinstance(row, Outcome):
        return row
    if told.type == "customer.subscription.trial_will_end":
        _tell_of_trial_end(session, row, now=now)
    return Outcome("processed")


def _tell_of_trial_end(session: Session, row: StripeSubscription, *, now: datetime) -> None:
    """Once for each end. A trial that is over already needs no notice."""
    if row.status == "trialing" and row.trial_end is not None and row.trial_end_told != row.trial_end:
        row.trial_end_told = row.trial_end
        mails.write(session, row, mails.TRIAL_ENDS, now=now, ends=mails.day(row.trial_end, row.locale))


def _apply_invoice(
    session: Session, connection: Connection, told: Told, truth: tuple[int | None, Any], now: datetime
) -> Outcome:
    return apply_invoice(session, connection, truth[1], seen=truth[0], now=now)


def _moment(seconds: Any) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int) and seconds > 0 else None


_SUBSCRIPTION = EventHandler(
    _apply_subscription,
    lambda client, told: fetch_subscription(client, told.object_id),
    look=_look_at_subscription,
)
_INVOICE = EventHandler(
    _apply_invoice, lambda client, told: fetch_invoice(client, _invoice_id(told)), look=_look_at_invoice
)
HANDLERS: dict[str, EventHandler] = {
    **{
        f"customer.subscription.{what}": _SUBSCRIPTION
        for what in (
            "created",
            "updated",
            "deleted",
            "paused",
            "resumed",
            "trial_will_end",
            "pending_update_applied",
            "pending_update_expired",
        )
    },
    **{
        f"invoice.{what}": _INVOICE
        for what in (
            "created",
            "finalized",
            "finalization_failed",
            "updated",
            "paid",
            "payment_succeeded",
            "payment_failed",
            "payment_action_required",
            "overdue",
            "voided",
            "marked_uncollectible",
        )
    },
    "invoice_payment.paid": _INVOICE,
}
