"""What an event says, whatever version of Stripe's API it was written in.

The shape of an event follows the version of the webhook endpoint, not of this code. So what is needed of an object is
read here, where both the old and the new places are known, or else the object is fetched with our own version.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeGuard

import orjson

from commerce_stripe_payments.webhooks.signatures import BadWebhook


@dataclass(frozen=True, slots=True)
class Told:
    """An event. `object` is what it is about as it was then, in the shape of `api_version`; of thin ones, its id."""

    id: str
    type: str
    created: datetime
    livemode: bool
    account: str
    api_version: str | None
    object: dict[str, Any]
    previous: dict[str, Any]
    is_thin: bool = False

    @property
    def object_id(self) -> str | None:
        """Of what it is about."""
        found = self.object.get("id")
        return found if _fits(found) else None


def read_event(body: bytes) -> Told:
    """A snapshot event. Raises BadWebhook if it is none."""
    event = _object(body, "event")
    data = event.get("data")
    about = data.get("object") if isinstance(data, dict) else None
    created = event.get("created")
    if not isinstance(about, dict) or not isinstance(created, int):
        raise BadWebhook
    assert isinstance(data, dict)
    previous = data.get("previous_attributes")
    try:
        moment = datetime.fromtimestamp(created, UTC)
    except (ValueError, OverflowError, OSError):
        raise BadWebhook from None
    version = event.get("api_version")
    return Told(
        id=event["id"],
        type=event["type"],
        created=moment,
        livemode=event["livemode"],
        account=_account(event),
        api_version=version if _fits(version) else None,
        object=about,
        previous=previous if isinstance(previous, dict) else {},
    )


def read_thin_event(body: bytes) -> Told:
    """A thin event: what it is about has to be fetched. Raises BadWebhook if it is none."""
    event = _object(body, "v2.core.event")
    related = event.get("related_object")
    try:
        created = datetime.fromisoformat(str(event["created"]))
    except (KeyError, ValueError):
        raise BadWebhook from None
    return Told(
        id=event["id"],
        # Of the twin that a snapshot event of the same thing is.
        type=event["type"].removeprefix("v1."),
        created=created if created.tzinfo else created.replace(tzinfo=UTC),
        livemode=event["livemode"],
        account=_account(event),
        api_version=None,
        object=related if isinstance(related, dict) else {},
        previous={},
        is_thin=True,
    )


def _object(body: bytes, kind: str) -> dict[str, Any]:
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadWebhook from None
    if not isinstance(event, dict) or event.get("object") != kind:
        raise BadWebhook
    if not (_fits(event.get("id")) and _fits(event.get("type"))):
        raise BadWebhook
    if not isinstance(event.get("livemode"), bool):
        raise BadWebhook
    return event


def _account(event: dict[str, Any]) -> str:
    """Whose event it is: empty for the shop's own account."""
    found = event.get("account") or event.get("context") or ""
    return found if found == "" or _fits(found) else "?"


def _fits(value: Any) -> TypeGuard[str]:
    """Whether it is a text that can be kept: PostgreSQL's holds anything but zeros, and an index nothing long."""
    return isinstance(value, str) and 0 < len(value) <= 255 and "\0" not in value


def id_of(value: Any) -> str | None:
    """The id of an object that is named or, expanded, there as a whole."""
    if isinstance(value, str):
        return value
    return id_of(value.get("id")) if isinstance(value, dict) else None


def intent_of_charge(charge: dict[str, Any]) -> str | None:
    """The payment intent of a charge, a refund or a dispute."""
    return id_of(charge.get("payment_intent"))


def subscription_of_invoice(invoice: dict[str, Any]) -> str | None:
    """The subscription that an invoice is for: in its parent since 2025-03-31."""
    details = (invoice.get("parent") or {}).get("subscription_details") or {}
    return id_of(details.get("subscription")) or id_of(invoice.get("subscription"))


def intent_of_invoice(invoice: dict[str, Any]) -> tuple[str | None, str | None]:
    """The payment intent of an invoice, and its status where it is there as a whole: among its payments since
    2025-03-31."""
    rows = (invoice.get("payments") or {}).get("data") or []
    payments = [row.get("payment") or {} for row in sorted(rows, key=lambda row: not row.get("is_default"))]
    for found in [*(payment.get("payment_intent") for payment in payments), invoice.get("payment_intent")]:
        if found is not None:
            return id_of(found), found.get("status") if isinstance(found, dict) else None
    return None, None


def period_end_of_subscription(subscription: dict[str, Any]) -> datetime | None:
    """Until when it is paid for: of the items since 2025-03-31, the last of them."""
    ends = [item.get("current_period_end") for item in (subscription.get("items") or {}).get("data") or []]
    known = [end for end in [*ends, subscription.get("current_period_end")] if isinstance(end, int)]
    of_items = [end for end in ends if isinstance(end, int)]
    return datetime.fromtimestamp(max(of_items or known), UTC) if known else None
