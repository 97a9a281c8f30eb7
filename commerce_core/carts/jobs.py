"""What workers do about carts: those that nobody uses any more are closed, and closed ones at last deleted."""

from __future__ import annotations

from datetime import datetime, timedelta

from pyramid.config import Configurator
from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from commerce_core.carts import sweep
from commerce_core.carts.models import Cart
from commerce_core.jobs.kinds import SWEEP_RETRY, SWEEP_TIMEOUT, JobContext, job


@job("carts.expire", retry=SWEEP_RETRY, timeout=SWEEP_TIMEOUT)
def expire_carts(context: JobContext) -> None:
    sweep.expire_carts(context.engine, now=context.now)


@job("carts.forget", queue="low", timeout=SWEEP_TIMEOUT)
def forget_carts(context: JobContext) -> None:
    sweep.forget_closed_carts(context.engine, now=context.now, days=context.settings.carts.keep_days)


def includeme(config: Configurator) -> None:
    config.add_watched_job(expire_carts, is_due=_carts_have_lapsed)
    config.add_periodic_job(forget_carts, every=timedelta(hours=1))


def _carts_have_lapsed(session: Session, now: datetime) -> bool:
    return bool(session.scalar(select(exists().where(Cart.state == "active", Cart.expires_at <= now))))
