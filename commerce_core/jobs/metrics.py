"""Jobs in figures: what became of them, counted where they run; and how many wait, read from their rows."""

from __future__ import annotations

from pyramid.config import Configurator

from commerce_core.jobs.kinds import JobKind
from commerce_core.metrics import Metrics

RUN_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
WAIT_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0)

# `waiting` may run now; `scheduled` is for later, or waits for another. Every queue is listed, also when it is empty.
_JOBS = """
SELECT queue, state, coalesce(number, 0)
FROM unnest(ARRAY['critical', 'default', 'low']) AS queue
CROSS JOIN unnest(ARRAY['waiting', 'scheduled', 'running', 'dead']) AS state
LEFT JOIN (
    SELECT queue, state, count(*) AS number FROM (
        SELECT queue, CASE WHEN state = 'waiting' AND (waits_for IS NOT NULL OR run_at > %(now)s)
            THEN 'scheduled' ELSE state END AS state
        FROM job WHERE state IN ('waiting', 'running', 'dead')
    ) AS open_job GROUP BY queue, state
) AS counted USING (queue, state)
"""
_OLDEST = """
SELECT queue, coalesce((
    SELECT extract(epoch FROM %(now)s - min(run_at)) FROM job
    WHERE state = 'waiting' AND waits_for IS NULL AND run_at <= %(now)s AND job.queue = asked.queue
), 0)
FROM unnest(ARRAY['critical', 'default', 'low']) AS asked (queue)
"""


class JobMeter:
    """Told by whoever runs jobs."""

    def __init__(self, metrics: Metrics) -> None:
        self._runs = metrics.counter(
            "commerce_job_runs_total", "Runs of jobs, by what became of it.", ("queue", "name", "outcome")
        )
        self._seconds = metrics.histogram(
            "commerce_job_run_seconds", "How long a run took.", ("queue", "name"), buckets=RUN_SECONDS
        )
        self._waits = metrics.histogram(
            "commerce_job_wait_seconds",
            "Time from when a job could run to when it was begun.",
            ("queue",),
            buckets=WAIT_SECONDS,
        )

    def begun(self, kind: JobKind, waited: float) -> None:
        self._waits.labels(kind.queue).observe(max(0.0, waited))

    def ended(self, kind: JobKind, outcome: str, seconds: float) -> None:
        self._runs.labels(kind.queue, kind.name, outcome.replace(" ", "_")).inc()
        self._seconds.labels(kind.queue, kind.name).observe(seconds)


def includeme(config: Configurator) -> None:
    registry = config.registry
    registry.job_meter = JobMeter(registry.metrics)
    registry.figures.add("commerce_jobs", "Jobs that are not over.", ("queue", "state"), _JOBS)
    registry.figures.add(
        "commerce_jobs_oldest_waiting_seconds", "How long the oldest job that may run has waited.", ("queue",), _OLDEST
    )
