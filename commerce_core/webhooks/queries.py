"""Reading endpoints, deliveries and attempts. Nothing here locks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import exists, func, or_, select
from sqlalchemy.orm import Session

from commerce_core.api.problems import NotFound
from commerce_core.webhooks.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint


def due_endpoints(session: Session, *, now: datetime) -> Sequence[UUID]:
    """Endpoints for which there is something to do now."""
    return session.scalars(
        select(WebhookEndpoint.id)
        .where(
            WebhookEndpoint.active,
            or_(WebhookEndpoint.rests_until.is_(None), WebhookEndpoint.rests_until <= now),
            exists().where(
                WebhookDelivery.endpoint_id == WebhookEndpoint.id,
                WebhookDelivery.state == "waiting",
                WebhookDelivery.next_attempt_at <= now,
            ),
        )
        .order_by(WebhookEndpoint.id)
    ).all()


def list_endpoints(
    session: Session, *, before: UUID | None = None, limit: int
) -> tuple[Sequence[WebhookEndpoint], bool]:
    """Endpoints, newest first, and whether more follow."""
    query = select(WebhookEndpoint).order_by(WebhookEndpoint.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(WebhookEndpoint.id < before)
    found = session.scalars(query).all()
    return found[:limit], len(found) > limit


def list_deliveries(
    session: Session,
    endpoint_id: UUID,
    *,
    state: str | None = None,
    topic: str | None = None,
    subject: str | None = None,
    before: UUID | None = None,
    limit: int,
) -> tuple[Sequence[WebhookDelivery], bool]:
    """What an endpoint was or will be told, newest first, and whether more follow."""
    given = {WebhookDelivery.state: state, WebhookDelivery.topic: topic, WebhookDelivery.subject: subject}
    query = select(WebhookDelivery).where(
        WebhookDelivery.endpoint_id == endpoint_id,
        *(column == value for column, value in given.items() if value is not None),
    )
    if before is not None:
        query = query.where(WebhookDelivery.id < before)
    found = session.scalars(query.order_by(WebhookDelivery.id.desc()).limit(limit + 1)).all()
    return found[:limit], len(found) > limit


def get_delivery(session: Session, endpoint_id: UUID, delivery_id: UUID) -> WebhookDelivery:
    """Raises NotFound, also for another endpoint's."""
    found = session.get(WebhookDelivery, delivery_id)
    if found is None or found.endpoint_id != endpoint_id:
        raise NotFound("There is no such delivery.")
    return found


def attempts_of(session: Session, delivery_id: UUID) -> Sequence[WebhookAttempt]:
    """The attempts at a delivery, in order."""
    return session.scalars(
        select(WebhookAttempt).where(WebhookAttempt.delivery_id == delivery_id).order_by(WebhookAttempt.id)
    ).all()


def failed_ids(
    session: Session, endpoint_id: UUID, *, since: datetime, topic: str | None, limit: int
) -> tuple[Sequence[UUID], bool]:
    """Deliveries of events since then that have failed, oldest first, and whether more follow."""
    query = select(WebhookDelivery.id).where(
        WebhookDelivery.endpoint_id == endpoint_id,
        WebhookDelivery.state == "failed",
        WebhookDelivery.created_at >= since,
    )
    if topic is not None:
        query = query.where(WebhookDelivery.topic == topic)
    found = session.scalars(query.order_by(WebhookDelivery.id).limit(limit + 1)).all()
    return found[:limit], len(found) > limit


def counts_by_state(session: Session) -> dict[tuple[UUID, str], int]:
    """How many deliveries of each endpoint wait, and have failed."""
    rows = session.execute(
        select(WebhookDelivery.endpoint_id, WebhookDelivery.state, func.count())
        .where(WebhookDelivery.state != "delivered")
        .group_by(WebhookDelivery.endpoint_id, WebhookDelivery.state)
    )
    return {(endpoint_id, state): count for endpoint_id, state, count in rows}
