"""Forgetting what nobody asks for any more: jobs that are done, and the answers of old idempotency keys."""

from __future__ import annotations

from datetime import timedelta

from pyramid.config import Configurator
from sqlalchemy import delete, or_, select

from commerce_core.api.idempotency import forget_old_keys
from commerce_core.jobs.kinds import SWEEP_TIMEOUT, JobContext, job
from commerce_core.jobs.models import Job, JobBatch

_AT_A_TIME = 5_000


@job("jobs.forget", queue="low", timeout=SWEEP_TIMEOUT)
def forget_jobs(context: JobContext) -> None:
    """Those that were done or cancelled a while ago. The dead stay, and so do those that somebody saw to."""
    before = context.now - timedelta(hours=context.settings.jobs.keep_done_hours)
    old = (
        select(Job.id)
        .outerjoin(JobBatch, JobBatch.id == Job.batch_id)
        .where(Job.state.in_(("done", "cancelled")), Job.finished_at < before)
        # What a batch is made of is kept until it is over.
        .where(or_(Job.batch_id.is_(None), JobBatch.finished_at < before))
        .limit(_AT_A_TIME)
    )
    while True:
        with context.transaction() as session:
            ids = session.scalars(old).all()
            session.execute(delete(Job).where(Job.id.in_(ids)))
        if len(ids) < _AT_A_TIME:
            return


@job("api.forget_keys", queue="low", timeout=SWEEP_TIMEOUT)
def forget_keys(context: JobContext) -> None:
    forget_old_keys(context.session, context.now, context.settings.api.idempotency_hours)


def includeme(config: Configurator) -> None:
    config.add_periodic_job(forget_jobs, every=timedelta(minutes=10))
    config.add_periodic_job(forget_keys, every=timedelta(minutes=10))
