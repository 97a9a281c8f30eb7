"""Jobs and their dead letters over REST."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view, path_id
from commerce_core.api.problems import NotFound
from commerce_core.api.schemas import cursor_list_of
from commerce_core.jobs import queries, service
from commerce_core.jobs.models import Job
from commerce_core.jobs.schemas import (
    Assignment,
    BatchOut,
    Dismissal,
    JobDetail,
    JobList,
    JobOut,
    JobQuery,
    JobStatistics,
    Resolution,
    Retried,
    RetryMany,
    StatisticsList,
    StatisticsQuery,
)
from commerce_core.jobs.service import WrongJobState


@api_view(
    route_name="admin_jobs", request_method="GET", permission=Permission.JOB_READ, query=JobQuery, returns=JobList
)
def list_jobs(request: Any, query: JobQuery) -> Any:
    """Jobs, newest first. Those that need somebody: `?state=dead`."""
    filters = query.model_dump(exclude={"limit", "cursor"})
    jobs, more = queries.list_jobs(request.db, **filters, before=query.after, limit=query.limit)
    return cursor_list_of(request.path, query, [JobOut.of(job) for job in jobs], jobs[-1].id if more else None)


@api_view(
    route_name="admin_job",
    request_method="GET",
    permission=Permission.JOB_READ,
    returns=JobDetail,
    problems=(NotFound,),
)
def show_job(request: Any) -> JobDetail:
    """One job, with its arguments (secrets masked) and the traceback of its last failure."""
    return JobDetail.of(_found(queries.get_job(request.db, path_id(request))))


@api_view(
    route_name="admin_job_retry",
    request_method="POST",
    permission=Permission.JOB_MANAGE,
    returns=JobOut,
    problems=(WrongJobState, NotFound),
)
def retry_job(request: Any) -> JobOut:
    """Run a dead job again, with all its tries."""
    job = _locked(request)
    before = job.state
    service.retry_job(request.db, job, now=request.now, actor=request.actor.name)
    return _audited(request, job, "retry", before)


@api_view(
    route_name="admin_jobs_retry",
    request_method="POST",
    permission=Permission.JOB_MANAGE,
    body=RetryMany,
    returns=Retried,
)
def retry_jobs(request: Any, body: RetryMany) -> Retried:
    """Run many dead jobs again: at most 1,000 at a time."""
    ids, more = queries.dead_ids(request.db, ids=body.ids, name=body.name, queue=body.queue, limit=1_000)
    retried = service.retry_dead_jobs(request.db, ids, now=request.now, actor=request.actor.name)
    request.audit("job.retry-many", "jobs", after={**body.model_dump(exclude_none=True), "retried": retried})
    return Retried(retried=retried, more=more)


@api_view(
    route_name="admin_job_resolve",
    request_method="POST",
    permission=Permission.JOB_MANAGE,
    body=Resolution,
    returns=JobOut,
    problems=(WrongJobState, NotFound),
)
def resolve_job(request: Any, body: Resolution) -> JobOut:
    """A dead job has been seen to; `notes` say how."""
    return _close(request, "resolved", body.notes)


@api_view(
    route_name="admin_job_ignore",
    request_method="POST",
    permission=Permission.JOB_MANAGE,
    body=Dismissal,
    returns=JobOut,
    problems=(WrongJobState, NotFound),
)
def ignore_job(request: Any, body: Dismissal) -> JobOut:
    """A dead job needs nothing more."""
    return _close(request, "ignored", body.notes)


@api_view(
    route_name="admin_job_cancel",
    request_method="POST",
    permission=Permission.JOB_MANAGE,
    returns=JobOut,
    problems=(WrongJobState, NotFound),
)
def cancel_job(request: Any) -> JobOut:
    """A waiting job is not wanted any more, nor what waits for it."""
    job = _locked(request)
    service.cancel_job(request.db, job, now=request.now, actor=request.actor.name)
    return _audited(request, job, "cancel", "waiting")


@api_view(
    route_name="admin_job_assign",
    request_method="POST",
    permission=Permission.JOB_MANAGE,
    body=Assignment,
    returns=JobOut,
    problems=(NotFound,),
)
def assign_job(request: Any, body: Assignment) -> JobOut:
    """Say who sees to a job."""
    job = _locked(request)
    before, job.assigned_to = job.assigned_to, body.assigned_to
    request.audit("job.assign", f"job:{job.id}", before={"assigned_to": before}, after={"assigned_to": job.assigned_to})
    return JobOut.of(job)


@api_view(
    route_name="admin_jobs_stats",
    request_method="GET",
    permission=Permission.JOB_READ,
    query=StatisticsQuery,
    returns=StatisticsList,
)
def show_statistics(request: Any, query: StatisticsQuery) -> StatisticsList:
    """By queue and name: how many jobs wait, run and are dead; how many were done or failed of late, and how fast."""
    rows = queries.statistics(request.db, now=request.now, window=timedelta(minutes=query.minutes))
    return StatisticsList(data=[JobStatistics.of(row, query.minutes) for row in rows])


@api_view(
    route_name="admin_batch",
    request_method="GET",
    permission=Permission.JOB_READ,
    returns=BatchOut,
    problems=(NotFound,),
)
def show_batch(request: Any) -> BatchOut:
    """How far a batch of jobs has come."""
    batch = queries.get_batch(request.db, path_id(request))
    if batch is None:
        raise NotFound("There is no such batch.")
    return BatchOut.of(batch)


def _close(request: Any, state: str, notes: str | None) -> JobOut:
    job = _locked(request)
    before = job.state
    service.close_job(request.db, job, state, actor=request.actor.name, notes=notes)
    return _audited(request, job, state, before)


def _audited(request: Any, job: Job, action: str, before: str) -> JobOut:
    request.audit(
        f"job.{action}",
        f"job:{job.id}",
        before={"state": before},
        after={"state": job.state, "name": job.name, "notes": job.notes},
    )
    return JobOut.of(job)


def _locked(request: Any) -> Job:
    session: Session = request.db
    return _found(service.lock_job(session, path_id(request)))


def _found(job: Job | None) -> Job:
    if job is None:
        raise NotFound("There is no such job.")
    return job
