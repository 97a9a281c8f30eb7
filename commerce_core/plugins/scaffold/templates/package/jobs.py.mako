"""Work that is done later, by workers."""

from __future__ import annotations

from datetime import timedelta

from commerce_core.jobs.kinds import JobContext, job

from commerce_${name} import service


@job("${name}.forget", queue="low")
def forget(context: JobContext) -> None:
    """Delete entries that are too old."""
    settings = context.registry.plugins.settings_of("${name}")
    service.forget(context.session, before=context.now - timedelta(days=settings.keep_days))
