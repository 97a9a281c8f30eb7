"""Delivering webhooks: claim a delivery, commit, send it, write down what became of it.

No transaction is open while an endpoint is talked to. A delivery is made at least once: who dies between sending it and
saying so leaves it to be sent again, with the same id.
"""

from __future__ import annotations

import random
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID

import orjson
import structlog
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from urllib3.exceptions import HTTPError

from commerce_core.clock import Clock
from commerce_core.database import transaction
from commerce_core.jobs.kinds import JITTER, TimeLimitExceeded
from commerce_core.log import first_line
from commerce_core.settings import WebhookSettings
from commerce_core.webhooks.addresses import AddressRefused, UnusableUrl
from commerce_core.webhooks.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from commerce_core.webhooks.sending import Sender
from commerce_core.webhooks.service import disable_endpoint
from commerce_core.webhooks.signing import signature

_log = structlog.get_logger("commerce.webhook")
API_VERSION = "1"
# Seconds to wait after each failed try, lengthened by up to a fifth at random; in all about three days. One more fails
# for good.
RETRY = (10, 60, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
# How long an endpoint rests, seconds, after nobody has answered there, once, twice ... in a row.
REST = (10, 60, 300, 600)
LONGEST_RETRY_AFTER = timedelta(days=1)
# Longer than any attempt takes: after that, whoever had claimed a delivery has died.
LEASE = timedelta(minutes=3)
# After so many seconds others have their turn.
TURN_SECONDS = 5.0
LONGEST_ERROR = 500


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery that is ours to make, until its lease ends."""

    id: UUID
    endpoint_id: UUID
    attempt: int
    url: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    event_id: UUID
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was answered, or else why nothing was."""

    started_at: datetime
    duration_ms: int
    status: int | None = None
    response: str | None = None
    error: str | None = None
    retry_after: timedelta = timedelta()

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def nobody_is_there(self) -> bool:
        """Whether anything else would meet with the same, now."""
        return self.status is None or self.status in (429, 503)


def deliver_due(engine: Engine, sender: Sender, settings: WebhookSettings, endpoint_id: UUID, *, clock: Clock) -> int:
    """Make the deliveries of an endpoint that are due, oldest first, for TURN_SECONDS; how many were sent.

    Ends sooner when nobody answers there: the endpoint then rests.
    """
    sent = 0
    ends_at = time.monotonic() + TURN_SECONDS
    goes_on = True
    while goes_on and time.monotonic() < ends_at:
        with transaction(engine) as session:
            claimed = claim_delivery(session, endpoint_id, now=clock.now())
        if claimed is None:
            break
        goes_on = deliver(engine, sender, settings, claimed, clock=clock)
        sent += 1
    return sent


def deliver(
    engine: Engine, sender: Sender, settings: WebhookSettings, claimed: ClaimedDelivery, *, clock: Clock
) -> bool:
    """Send a claimed delivery and write down what became of it; whether its endpoint can be sent more now."""
    outcome = _send(sender, claimed, clock)
    _log.info(
        "webhook",
        endpoint_id=str(claimed.endpoint_id),
        event_id=str(claimed.event_id),
        attempt=claimed.attempt,
        status=outcome.status,
        # Not what went wrong, which may name more than a log should: it is in the list of deliveries.
        outcome="delivered" if outcome.delivered else "failed",
        duration_ms=outcome.duration_ms,
    )
    with transaction(engine) as session:
        return note_outcome(session, claimed, outcome, settings, now=clock.now())


def claim_delivery(
    session: Session, endpoint_id: UUID, *, now: datetime, delivery_id: UUID | None = None
) -> ClaimedDelivery | None:
    """A delivery of an endpoint that is due (that one, if named), for the caller alone until LEASE has passed.

    None when there is none. Commit before sending it: the try counts from here on, so that a delivery which kills
    whoever makes it is not tried forever. Skips what others are claiming.
    """
    endpoint = session.get(WebhookEndpoint, endpoint_id)
    if endpoint is None or not endpoint.active or (endpoint.rests_until is not None and endpoint.rests_until > now):
        return None
    query = select(WebhookDelivery).where(
        WebhookDelivery.endpoint_id == endpoint_id,
        WebhookDelivery.state == "waiting",
        WebhookDelivery.next_attempt_at <= now,
    )
    if delivery_id is not None:
        query = query.where(WebhookDelivery.id == delivery_id)
    oldest = query.order_by(WebhookDelivery.next_attempt_at).limit(1).with_for_update(skip_locked=True)
    while (delivery := session.scalar(oldest)) is not None:
        if delivery.tries > len(RETRY):  # whoever made the last try has died of it
            delivery.state, delivery.next_attempt_at = "failed", None
            session.flush()
            continue
        delivery.attempts += 1
        delivery.tries += 1
        delivery.next_attempt_at = now + LEASE
        session.flush()
        return ClaimedDelivery(
            id=delivery.id,
            endpoint_id=endpoint_id,
            attempt=delivery.attempts,
            url=endpoint.url,
            secrets=valid_secrets(endpoint, now=now),
            event_id=delivery.event_id,
            body=body_of(delivery),
        )
    return None


def valid_secrets(endpoint: WebhookEndpoint, *, now: datetime) -> tuple[str, ...]:
    """The secrets that sign: the newest, and for a while the one before."""
    until = endpoint.previous_secret_until
    if endpoint.previous_secret is None or until is None or until <= now:
        return (endpoint.secret,)
    return (endpoint.secret, endpoint.previous_secret)


def body_of(delivery: WebhookDelivery) -> bytes:
    """What is sent: the same bytes each time."""
    return orjson.dumps(
        {
            "id": delivery.event_id,
            "topic": delivery.topic,
            "created_at": delivery.created_at.astimezone(UTC),
            "api_version": API_VERSION,
            "data": delivery.data,
        },
        option=orjson.OPT_UTC_Z,
    )


def headers_of(claimed: ClaimedDelivery, *, now: datetime) -> dict[str, str]:
    message_id, timestamp = str(claimed.event_id), int(now.timestamp())
    return {
        "Content-Type": "application/json",
        "User-Agent": "commerce-webhooks/1",
        # Nobody here unpacks anything.
        "Accept-Encoding": "identity",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(claimed.secrets, message_id, timestamp, claimed.body),
    }


def note_outcome(
    session: Session, claimed: ClaimedDelivery, outcome: Outcome, settings: WebhookSettings, *, now: datetime
) -> bool:
    """Write down what became of an attempt; whether the endpoint can be sent more now.

    Locks the delivery; then the endpoint, when its state of health changes.
    """
    delivery = session.get(WebhookDelivery, claimed.id, with_for_update=True)
    if delivery is None or delivery.attempts != claimed.attempt:
        return True  # it was forgotten, or is somebody else's since our lease ended
    session.add(
        WebhookAttempt(
            delivery_id=delivery.id,
            started_at=outcome.started_at,
            duration_ms=outcome.duration_ms,
            status=outcome.status,
            error=outcome.error,
            response=outcome.response,
        )
    )
    if outcome.delivered:
        delivery.state, delivery.next_attempt_at, delivery.delivered_at = "delivered", None, now
    elif outcome.status == 410 or delivery.tries > len(RETRY):
        delivery.state, delivery.next_attempt_at = "failed", None
    else:
        delivery.next_attempt_at = now + max(_lengthened(RETRY[max(delivery.tries, 1) - 1]), outcome.retry_after)
    session.flush()
    return _note_health(session, claimed.endpoint_id, outcome, settings, now=now)


def _note_health(
    session: Session, endpoint_id: UUID, outcome: Outcome, settings: WebhookSettings, *, now: datetime
) -> bool:
    endpoint = session.get(WebhookEndpoint, endpoint_id)
    if endpoint is None:
        return False
    if outcome.delivered and endpoint.failing_since is None and endpoint.misses == 0:
        return True
    endpoint = session.get(WebhookEndpoint, endpoint_id, with_for_update=True, populate_existing=True)
    if endpoint is None:
        return False
    if outcome.delivered:
        endpoint.failing_since = endpoint.rests_until = None
        endpoint.misses = 0
        return True
    if endpoint.failing_since is None:
        endpoint.failing_since = now
    if outcome.nobody_is_there:
        endpoint.misses += 1
        rest = _lengthened(REST[min(endpoint.misses, len(REST)) - 1])
        endpoint.rests_until = now + max(rest, outcome.retry_after)
    if endpoint.active and outcome.status == 410:
        disable_endpoint(session, endpoint, "gone", now=now)
    elif endpoint.active and now - endpoint.failing_since >= timedelta(days=settings.disable_after_days):
        disable_endpoint(session, endpoint, "failing", now=now)
    return endpoint.active and not outcome.nobody_is_there


def _send(sender: Sender, claimed: ClaimedDelivery, clock: Clock) -> Outcome:
    started_at = clock.now()
    started = time.perf_counter()
    result: dict[str, Any]
    try:
        answer = sender.post(claimed.url, claimed.body, headers_of(claimed, now=started_at))
    except (UnusableUrl, AddressRefused, HTTPError, OSError, TimeLimitExceeded) as error:
        result = {"error": f"{type(error).__name__}: {first_line(error)}"[:LONGEST_ERROR].replace("\x00", "")}
    else:
        wait = retry_after(answer.retry_after, now=started_at)
        result = {"status": answer.status, "response": answer.body, "retry_after": wait}
    return Outcome(started_at, round((time.perf_counter() - started) * 1_000), **result)


def retry_after(header: str | None, *, now: datetime) -> timedelta:
    """How long Retry-After (seconds, or a date) asks us to wait: at most a day; nothing where it makes no sense."""
    wait = timedelta()
    with suppress(TypeError, ValueError, OverflowError):
        if header is not None and header.strip().isdecimal():
            wait = timedelta(seconds=int(header))
        elif header is not None:
            wait = parsedate_to_datetime(header).astimezone(UTC) - now
    return max(timedelta(), min(wait, LONGEST_RETRY_AFTER))


def _lengthened(seconds: float) -> timedelta:
    return timedelta(seconds=seconds * random.uniform(1, 1 + JITTER))
