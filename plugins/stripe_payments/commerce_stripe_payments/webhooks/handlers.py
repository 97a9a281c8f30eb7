"""What is done about each type of event: a table, to which every room of the plugin adds its own part.

A handler is two steps. `fetch` asks Stripe for the object as it is now, outside of any transaction: events are late,
come twice, and in any order. `apply` lets that take effect, in the transaction in which the event is marked as used,
so that it happens once; it locks the order first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import stripe
from sqlalchemy.orm import Session

from commerce_stripe_payments.webhooks.reading import Told

if TYPE_CHECKING:
    from commerce_stripe_payments.connection import Connection


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an event. `unmatched`: what it is about is not known yet. `dead`: somebody must look at it."""

    state: Literal["processed", "ignored", "unmatched", "dead"]
    detail: str | None = None
    order_id: UUID | None = None


Fetch = Callable[[stripe.StripeClient, Told], Any]
Apply = Callable[[Session, "Connection", Told, Any, datetime], Outcome]


@dataclass(frozen=True, slots=True)
class EventHandler:
    """`fetch(client, told)` returns plain data; None of it means that Stripe has no such object (any more).

    `orphan` is called when what we have made ourselves stays unmatched: nobody knows what it is for. `look` is called
    before `fetch`, in a transaction of its own, for objects whose states go back and forth: then `apply` is given what
    it has returned and what was fetched, as a pair, and can see whether something has changed in between.
    """

    apply: Apply
    fetch: Fetch | None = None
    orphan: Callable[[Session, Told, datetime], None] | None = None
    look: Callable[[Session, Told], Any] | None = None


Handlers = Mapping[str, EventHandler]


def all_handlers() -> dict[str, EventHandler]:
    """By type of event. Every room of the plugin has its own table."""
    from commerce_stripe_payments import disputes, methods, payments, refunds, subscriptions

    return {**payments.HANDLERS, **refunds.HANDLERS, **disputes.HANDLERS, **methods.HANDLERS, **subscriptions.HANDLERS}
