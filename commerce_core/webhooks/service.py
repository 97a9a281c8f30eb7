"""Endpoints as staff keep them, and what they want sent again. Flushes, never commits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from commerce_core.api.preconditions import save, stale
from commerce_core.api.problems import Conflict, InvalidInput, NotFound
from commerce_core.audit import service as audit_log
from commerce_core.database import uuid7
from commerce_core.events import WebhookEndpointDisabled, emit
from commerce_core.settings import WebhookSettings
from commerce_core.webhooks.addresses import UnusableUrl, is_allowed, literal, read_url
from commerce_core.webhooks.models import WebhookDelivery, WebhookEndpoint
from commerce_core.webhooks.recording import new_delivery
from commerce_core.webhooks.signing import make_secret
from commerce_core.webhooks.topics import PING

# Each adds a row to the transactions of what it wants to hear.
MOST_ENDPOINTS = 50
MOST_AT_A_TIME = 1_000
_WELL = {"disabled_reason": None, "failing_since": None, "rests_until": None, "misses": 0}

_FORGET_ORDERS = (
    text("""
        UPDATE webhook_delivery SET data = data || '{"tracking_number": null}'
        WHERE subject = ANY(:subjects) AND data ->> 'tracking_number' IS NOT NULL"""),
    text("""
        UPDATE webhook_attempt SET response = NULL FROM webhook_delivery AS delivery
        WHERE delivery.id = webhook_attempt.delivery_id AND delivery.subject = ANY(:subjects)"""),
)


class EndpointExists(Conflict):
    """There is an endpoint with this URL, `endpoint_id`. Change its topics; if its secret is lost, rotate it."""

    slug = "webhook-endpoint-exists"
    title = "There is an endpoint with this URL"
    example: ClassVar[dict[str, Any]] = {"endpoint_id": "01932c07-209c-7e3a-b6f4-5d2a8c9e1f70"}


class TooManyEndpoints(Conflict):
    """A shop can have 50 endpoints. Delete those that nobody listens at any more."""

    slug = "too-many-webhook-endpoints"
    title = "There are too many endpoints"


class EndpointInactive(Conflict):
    """Nothing is sent to an endpoint that is not active. Set `active` first."""

    slug = "webhook-endpoint-inactive"
    title = "The endpoint is not active"


def get_endpoint(session: Session, endpoint_id: UUID, *, lock: bool = False) -> WebhookEndpoint:
    """An endpoint, its row locked if asked. Raises NotFound."""
    found = session.get(WebhookEndpoint, endpoint_id, with_for_update=lock or None, populate_existing=lock)
    if found is None:
        raise NotFound("There is no such endpoint.")
    return found


def add_endpoint(
    session: Session, given: Mapping[str, Any], settings: WebhookSettings, *, allow_http: bool, now: datetime
) -> WebhookEndpoint:
    """Add an endpoint, with a new secret. Raises InvalidInput, EndpointExists, TooManyEndpoints."""
    _check_url(given["url"], settings, allow_http=allow_http)
    if (session.scalar(select(func.count()).select_from(WebhookEndpoint)) or 0) >= MOST_ENDPOINTS:
        raise TooManyEndpoints(f"There are {MOST_ENDPOINTS} already.")
    endpoint = WebhookEndpoint(**given, secret=make_secret(), created_at=now)
    try:
        with session.begin_nested():
            session.add(endpoint)
    except IntegrityError as error:
        raise _taken(session, given["url"]) from error
    return endpoint


def change_endpoint(
    session: Session,
    endpoint: WebhookEndpoint,
    changes: Mapping[str, Any],
    settings: WebhookSettings,
    *,
    allow_http: bool,
) -> None:
    """Change an endpoint, which is locked. What it was accused of is forgotten when it moves or is made active again.

    What is waiting for it goes to its new URL. Raises InvalidInput, EndpointExists, PreconditionFailed.
    """
    if "url" in changes:
        _check_url(changes["url"], settings, allow_http=allow_http)
    if "url" in changes or changes.get("active"):
        changes = {**changes, **_WELL}
    try:
        with session.begin_nested():
            save(session, endpoint, changes)
    except IntegrityError as error:
        raise _taken(session, changes["url"]) from error


def delete_endpoint(session: Session, endpoint: WebhookEndpoint) -> None:
    """Delete an endpoint, which is locked. What it was told is forgotten by and by. Raises PreconditionFailed."""
    gone = session.execute(
        delete(WebhookEndpoint)
        .where(WebhookEndpoint.id == endpoint.id, WebhookEndpoint.version == endpoint.version)
        .execution_options(synchronize_session=False)
        .returning(WebhookEndpoint.id)
    ).one_or_none()
    if gone is None:
        raise stale(session, endpoint)


def rotate_secret(session: Session, endpoint: WebhookEndpoint, *, overlap: timedelta, now: datetime) -> None:
    """Give an endpoint, which is locked, a new secret. For `overlap`, the old one signs as well.

    The one before that, if it still does, no longer does. Raises PreconditionFailed.
    """
    until = now + overlap
    new = {"secret": make_secret(), "previous_secret": endpoint.secret, "previous_secret_until": until}
    save(session, endpoint, new)


def disable_endpoint(session: Session, endpoint: WebhookEndpoint, reason: str, *, now: datetime) -> None:
    """Send nothing more to an active endpoint, which is locked: it is `gone`, or has been `failing` for too long.

    What waits for it goes on waiting.
    """
    endpoint.active, endpoint.disabled_reason, endpoint.version = False, reason, endpoint.version + 1
    session.flush()
    subject = f"webhook-endpoint:{endpoint.id}"
    after = {"active": False, "reason": reason}
    audit_log.record(session, actor="worker", action="webhook-endpoint.disable", subject=subject, after=after, now=now)
    emit(session, WebhookEndpointDisabled(endpoint_id=endpoint.id, reason=reason))


def ping(session: Session, endpoint: WebhookEndpoint, *, now: datetime) -> WebhookDelivery:
    """Send an endpoint an event that says nothing; its delivery. Raises EndpointInactive."""
    _check_active(endpoint)
    _wake(session, endpoint)
    delivery = WebhookDelivery(
        **new_delivery(endpoint.id, uuid7(), PING, {"endpoint_id": endpoint.id}, now=now),
    )
    session.add(delivery)
    session.flush()
    return delivery


def replay(session: Session, endpoint: WebhookEndpoint, ids: Sequence[UUID], *, now: datetime) -> int:
    """Send deliveries of an endpoint once more, with all their tries; how many. Raises EndpointInactive.

    They are the same events: their ids do not change, and whoever has seen them drops them. Locks the deliveries, then
    the endpoint.
    """
    _check_active(endpoint)
    again = session.scalars(
        update(WebhookDelivery)
        .where(WebhookDelivery.endpoint_id == endpoint.id, WebhookDelivery.id.in_(ids))
        .values(state="waiting", tries=0, next_attempt_at=now)
        .returning(WebhookDelivery.id)
        .execution_options(synchronize_session=False)
    ).all()
    _wake(session, endpoint)
    return len(again)


def forget_orders(session: Session, order_ids: Sequence[UUID]) -> None:
    """Take out of the log of deliveries what leads to the customer of these orders.

    That is the number of a parcel, and whatever receivers answered. Everything else is ids and figures.
    """
    for statement in _FORGET_ORDERS:
        session.execute(statement, {"subjects": [f"order:{order_id}" for order_id in order_ids]})


def _check_active(endpoint: WebhookEndpoint) -> None:
    if not endpoint.active:
        raise EndpointInactive()


def _wake(session: Session, endpoint: WebhookEndpoint) -> None:
    """Somebody wants to see something sent: the endpoint need not rest any longer."""
    session.execute(update(WebhookEndpoint).where(WebhookEndpoint.id == endpoint.id).values(rests_until=None, misses=0))


def _check_url(url: str, settings: WebhookSettings, *, allow_http: bool) -> None:
    """What a name leads to is looked at when something is sent; an address is known now. Raises InvalidInput."""
    try:
        target = read_url(url, allow_http=allow_http)
    except UnusableUrl as error:
        raise InvalidInput.field("url", "unusable_url", str(error)) from None
    address = literal(target.host)
    if address is not None and not is_allowed(address, settings.allowed_networks):
        raise InvalidInput.field("url", "address_refused", "must lead to a public address")


def _taken(session: Session, url: str) -> Exception:
    other = session.scalar(select(WebhookEndpoint.id).where(WebhookEndpoint.url == url))
    return EndpointExists("Every endpoint has a URL of its own.", endpoint_id=str(other))
