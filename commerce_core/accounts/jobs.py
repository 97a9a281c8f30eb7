"""Forgetting codes that were never used, and tokens that ended long ago."""

from __future__ import annotations

from datetime import timedelta

from pyramid.config import Configurator

from commerce_core.accounts.sweep import forget_what_is_over
from commerce_core.jobs.kinds import SWEEP_TIMEOUT, JobContext, job


@job("accounts.forget", queue="low", timeout=SWEEP_TIMEOUT)
def forget(context: JobContext) -> None:
    forget_what_is_over(context.session, now=context.now)


def includeme(config: Configurator) -> None:
    config.add_periodic_job(forget, every=timedelta(minutes=10))
