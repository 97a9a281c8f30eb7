"""What workers do about money: unpaid orders cancelled, refunds carried out, unmatched webhooks tried again."""

from __future__ import annotations

from datetime import datetime

from pyramid.config import Configurator
from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from commerce_core.jobs.kinds import SWEEP_RETRY, SWEEP_TIMEOUT, JobContext, job
from commerce_core.orders.service import lapsed_order_ids
from commerce_core.payments import sweep
from commerce_core.payments.models import Refund
from commerce_core.payments.service import unmatched_event_ids


@job("orders.expire", queue="critical", retry=SWEEP_RETRY, timeout=SWEEP_TIMEOUT)
def expire_orders(context: JobContext) -> None:
    sweep.expire_orders(context.engine, context.registry, now=context.now)


@job("payments.carry_out_refunds", queue="critical", retry=SWEEP_RETRY, timeout=SWEEP_TIMEOUT)
def carry_out_refunds(context: JobContext) -> None:
    sweep.carry_out_refunds(context.engine, context.registry)


@job("payments.retry_webhooks", queue="critical", retry=SWEEP_RETRY, timeout=SWEEP_TIMEOUT)
def retry_webhooks(context: JobContext) -> None:
    sweep.retry_unmatched(context.engine, context.registry, now=context.now)


def includeme(config: Configurator) -> None:
    config.add_watched_job(expire_orders, is_due=_orders_have_lapsed)
    config.add_watched_job(carry_out_refunds, is_due=_refunds_are_due)
    config.add_watched_job(retry_webhooks, is_due=_webhooks_are_due)


def _orders_have_lapsed(session: Session, now: datetime) -> bool:
    return bool(lapsed_order_ids(session, now=now, limit=1))


def _refunds_are_due(session: Session, now: datetime) -> bool:
    return bool(session.scalar(select(exists().where(Refund.status == "pending", Refund.next_attempt_at <= now))))


def _webhooks_are_due(session: Session, now: datetime) -> bool:
    return bool(unmatched_event_ids(session, now=now, limit=1))
