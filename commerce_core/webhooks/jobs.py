"""Delivering webhooks, each endpoint's on its own, and forgetting those of long ago.

There is one job for an endpoint with something to deliver, not one for each delivery: ten thousand events that wait for
an endpoint which never answers are ten thousand rows that nobody looks at while it rests, and no jobs that keep others
waiting.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from pyramid.config import Configurator
from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from commerce_core.jobs.kinds import SWEEP_RETRY, SWEEP_TIMEOUT, JobContext, job
from commerce_core.webhooks.delivery import deliver_due
from commerce_core.webhooks.models import WebhookDelivery, WebhookEndpoint
from commerce_core.webhooks.queries import due_endpoints

_AT_A_TIME = 5_000


@job("webhooks.dispatch", queue="low", retry=SWEEP_RETRY)
def dispatch(context: JobContext) -> None:
    """A job for each endpoint for which something is due."""
    for endpoint_id in due_endpoints(context.session, now=context.now):
        key = f"webhook-endpoint:{endpoint_id}"
        deliver.enqueue(
            context.session, now=context.now, endpoint_id=endpoint_id, subject=key, unique_key=key, lane=key
        )


@job("webhooks.deliver", queue="low", retry=SWEEP_RETRY, timeout=60)
def deliver(context: JobContext, endpoint_id: UUID) -> None:
    """What is due for one endpoint. When a delivery is tried again is its own business: see delivery.py."""
    registry = context.registry
    deliver_due(context.engine, registry.webhook_sender, context.settings.webhooks, endpoint_id, clock=registry.clock)


@job("webhooks.forget", queue="low", timeout=SWEEP_TIMEOUT)
def forget(context: JobContext) -> None:
    """Deliveries of long ago, whatever became of them, and those to endpoints that there are no more."""
    before = context.now - timedelta(days=context.settings.webhooks.keep_days)
    endpoints = select(WebhookEndpoint.id)
    old = (
        select(WebhookDelivery.id)
        .where(or_(WebhookDelivery.created_at < before, WebhookDelivery.endpoint_id.not_in(endpoints)))
        .limit(_AT_A_TIME)
    )
    while True:
        with context.transaction() as session:
            ids = session.scalars(old).all()
            session.execute(delete(WebhookDelivery).where(WebhookDelivery.id.in_(ids)))
        if len(ids) < _AT_A_TIME:
            return


def includeme(config: Configurator) -> None:
    config.add_job(deliver)
    config.add_watched_job(dispatch, is_due=_something_is_due)
    config.add_periodic_job(forget, every=timedelta(hours=1))


def _something_is_due(session: Session, now: datetime) -> bool:
    return bool(due_endpoints(session, now=now))
