"""What workers do about stock: lapsed holds give back what they had reserved, waiting backorders are served.

And they tell what is low, out and back.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pyramid.config import Configurator
from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from commerce_core.jobs.kinds import SWEEP_RETRY, SWEEP_TIMEOUT, JobContext, job
from commerce_core.stock.models import Hold
from commerce_core.stock.signals import announce_signals
from commerce_core.stock.sweep import backorders_to_serve, serve_waiting_backorders, sweep_holds


@job("stock.expire_holds", queue="critical", retry=SWEEP_RETRY, timeout=SWEEP_TIMEOUT)
def expire_holds(context: JobContext) -> None:
    sweep_holds(context.engine, now=context.now)


@job("stock.serve_backorders", queue="critical", retry=SWEEP_RETRY, timeout=SWEEP_TIMEOUT)
def serve_backorders(context: JobContext) -> None:
    serve_waiting_backorders(context.engine, now=context.now)


@job("stock.signal", queue="low", retry=(), timeout=SWEEP_TIMEOUT)
def signal(context: JobContext) -> None:
    announce_signals(context.session)


def includeme(config: Configurator) -> None:
    every = config.registry.settings_object.stock.signal_seconds
    config.add_periodic_job(signal, every=timedelta(seconds=every))
    config.add_watched_job(expire_holds, is_due=_holds_have_lapsed)
    config.add_watched_job(serve_backorders, is_due=_backorders_wait)


def _holds_have_lapsed(session: Session, now: datetime) -> bool:
    return bool(session.scalar(select(exists().where(Hold.state == "active", Hold.expires_at <= now))))


def _backorders_wait(session: Session, _now: datetime) -> bool:
    return session.scalar(backorders_to_serve().limit(1)) is not None
