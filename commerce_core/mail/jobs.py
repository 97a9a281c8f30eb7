"""Delivering mail, and forgetting what was delivered long ago."""

from __future__ import annotations

from datetime import datetime, timedelta

from pyramid.config import Configurator
from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from commerce_core.jobs.kinds import SWEEP_RETRY, SWEEP_TIMEOUT, JobContext, job
from commerce_core.mail.delivery import deliver_mails
from commerce_core.mail.models import Mail
from commerce_core.mail.service import forget_sent_mails
from commerce_core.mail.transports import make_transport


@job("mail.deliver", retry=SWEEP_RETRY, timeout=SWEEP_TIMEOUT)
def deliver(context: JobContext) -> None:
    """What is due. When a mail is tried again is the mail's own business: see service.py."""
    settings = context.settings.mail
    count = context.registry.mail_counter
    deliver_mails(
        context.engine,
        make_transport(settings),
        settings,
        now=context.now,
        templates=context.registry.plugins.mail_templates,
        count=lambda outcome: count.labels(outcome).inc(),
    )


@job("mail.forget", queue="low", timeout=SWEEP_TIMEOUT)
def forget(context: JobContext) -> None:
    forget_sent_mails(context.session, now=context.now, days=context.settings.mail.keep_days)


def includeme(config: Configurator) -> None:
    counter = config.registry.mail_counter = config.registry.metrics.counter(
        "commerce_mails_total", "Attempts to deliver a mail, by what became of it.", ("outcome",)
    )
    for outcome in ("sent", "delayed", "failed"):
        counter.labels(outcome)  # it is 0 at first, so that the first one is an increase, which an alert is about
    config.registry.figures.add(
        "commerce_mails_waiting",
        "Mails that wait to be delivered.",
        (),
        "SELECT count(*) FROM mail WHERE state = 'waiting'",
    )
    config.add_watched_job(deliver, is_due=_mails_are_due)
    config.add_periodic_job(forget, every=timedelta(hours=1))


def _mails_are_due(session: Session, now: datetime) -> bool:
    return bool(session.scalar(select(exists().where(Mail.state == "waiting", Mail.next_attempt_at <= now))))
