"""The SQL that workers run for every job: one statement to claim it, one to say what became of it.

Times are those of the shop's clock. A worker that was taken for dead finds that `worker` and `attempts` have moved on,
and changes nothing.
"""

from __future__ import annotations

from sqlalchemy import text

CLAIM = text("""
UPDATE job SET state = 'running', worker = :worker, attempts = attempts + 1, started_at = :now, heartbeat_at = :now
WHERE id = :id AND state = 'waiting' AND waits_for IS NULL AND run_at <= :now
RETURNING name, arguments, attempts, rate_key, extract(epoch FROM :now - greatest(run_at, created_at)) AS waited
""")

# How many of the same rate key have started within the window, and when the oldest of them leaves it. The lock keeps
# others from counting at the same time.
LOCK_RATE = text("SELECT pg_advisory_xact_lock(hashtextextended('commerce.job.rate:' || :key, 0))")
COUNT_STARTS = text("""
SELECT count(*) AS starts, min(started_at) AS oldest FROM job
WHERE rate_key = :key AND started_at > :since AND id <> :id
""")

PUT_OFF = text("""
UPDATE job SET run_at = :run_at, carried_at = NULL WHERE id = :id AND state = 'waiting'
""")

# The job is done; what waited for it may run. A batch counts it. LATERAL, because a plan that begins with the jobs that
# wait reads the whole backlog at the end of every one.
FINISH = text("""
WITH ended AS (
    UPDATE job SET state = 'done', worker = NULL, finished_at = :now, error = NULL, traceback = NULL
    WHERE id = :id AND state = 'running' AND worker = :worker AND attempts = :attempt
    RETURNING id, batch_id, lane
), freed AS (
    UPDATE job SET waits_for = NULL FROM ended WHERE waits_for = ended.id AND state = 'waiting'
    RETURNING job.id, job.queue, job.priority, job.run_at
), next_in_lane AS (
    SELECT next.* FROM ended, LATERAL (
        SELECT id, queue, priority, run_at FROM job
        WHERE lane = ended.lane AND state = 'waiting' AND waits_for IS NULL
        ORDER BY priority DESC, id LIMIT 1
    ) AS next
    WHERE ended.lane IS NOT NULL
)
SELECT batch_id, array(
    SELECT json_build_array(id, queue, priority)
    FROM (SELECT * FROM freed UNION ALL SELECT * FROM next_in_lane) AS ready
) AS ready FROM ended
""")

# The try has failed; the job waits for the next, or is dead. It keeps its unique key unless another waits with it.
FAIL = text("""
UPDATE job SET state = :state, worker = NULL, run_at = :run_at, carried_at = NULL,
    unique_key = CASE WHEN EXISTS (
        SELECT FROM job AS other WHERE other.unique_key = job.unique_key AND other.state = 'waiting'
    ) THEN NULL ELSE unique_key END,
    finished_at = :finished_at, error = :error, traceback = :traceback
WHERE id = :id AND state = 'running' AND worker = :worker AND attempts = :attempt
RETURNING batch_id, queue, priority, subject
""")

HEARTBEAT = text("UPDATE job SET heartbeat_at = :now WHERE state = 'running' AND worker = :worker")

LOST = text("""
SELECT id, name, worker, attempts FROM job
WHERE state = 'running' AND heartbeat_at < :before
ORDER BY heartbeat_at LIMIT :limit FOR UPDATE SKIP LOCKED
""")

# What may run and nobody is carrying. `again_before`: what was carried before then has been lost on the way.
DUE = text("""
UPDATE job SET carried_at = :now FROM (
    SELECT id FROM job
    WHERE state = 'waiting' AND waits_for IS NULL AND run_at <= :now AND queue = :queue
      AND (carried_at IS NULL OR carried_at < :again_before)
    ORDER BY priority DESC, run_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
) AS due
WHERE job.id = due.id
RETURNING job.id, job.queue, job.priority
""")
