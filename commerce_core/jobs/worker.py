"""A worker: one process with a few children, each of which runs one job at a time, fed by Huey's consumer.

SIGTERM and SIGINT: finish what is running (for at most `stop_seconds`, then hand it back), take nothing new, leave.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import structlog
from huey.consumer import Consumer, Worker, WorkerRecycle
from sqlalchemy import Engine

from commerce_core.jobs import statements
from commerce_core.jobs.carrier import TASK, Carrier, courier_of
from commerce_core.jobs.feeder import SILENCE
from commerce_core.jobs.runner import Runner
from commerce_core.log import first_line

_log = structlog.get_logger("commerce.job")
# After its time limit a job has this long to notice; then its process is ended.
GRACE_SECONDS = 10.0
BEAT_SECONDS = SILENCE.total_seconds() / 6


class Child:
    """What one process of a worker is made of. Made after the fork, so that it shares no connection."""

    def __init__(self, make_registry: Callable[[], Any]) -> None:
        self.registry = make_registry()
        self.engine: Engine = self.registry.engine
        self.runner = Runner(self.registry, self.engine, f"{socket.gethostname()}:{os.getpid()}")
        self._parent = os.getppid()
        threading.Thread(target=self._watch, name="heartbeat", daemon=True).start()

    def run(self, job_id: str) -> None:
        if self._is_orphan():
            os._exit(os.EX_OK)
        self.runner.run(UUID(job_id))

    def _is_orphan(self) -> bool:
        """Whether the process that would stop us has gone."""
        return os.getppid() != self._parent

    def _watch(self) -> None:
        """Show that we live while a job runs, and end this process when a job ignores its time limit."""
        beat_at = 0.0
        while True:
            time.sleep(0.5)
            deadline, now = self.runner.deadline, time.monotonic()
            if deadline is None:
                if self._is_orphan():
                    os._exit(os.EX_OK)
                continue
            if now > deadline + GRACE_SECONDS:
                _log.error("job ignores its time limit; ending the process", worker=self.runner.worker)
                os._exit(os.EX_SOFTWARE)
            if now > beat_at:
                beat_at = now + BEAT_SECONDS
                try:
                    with self.engine.begin() as connection:
                        connection.execute(
                            statements.HEARTBEAT, {"worker": self.runner.worker, "now": self.registry.clock.now()}
                        )
                except Exception as error:
                    _log.warning("no heartbeat", worker=self.runner.worker, error=first_line(error))


class JobWorker(Worker):  # type: ignore[misc]
    """Huey's worker, which is replaced when it has grown too large."""

    max_memory_bytes = 0

    def loop(self, now: Any = None) -> None:
        super().loop(now)
        if self.max_memory_bytes and _memory_bytes() > self.max_memory_bytes:
            _log.info("worker recycled", reason="memory", bytes=_memory_bytes())
            raise WorkerRecycle


class JobConsumer(Consumer):  # type: ignore[misc]
    """Huey's consumer of forked workers. It feeds no schedule of Huey's own; see feeder.py."""

    worker_class = JobWorker


def work(
    make_registry: Callable[[], Any],
    queues: Sequence[str],
    *,
    workers: int,
    max_jobs: int,
    max_memory_mb: int,
    stop_seconds: float,
) -> None:
    """Run jobs of these queues until SIGTERM or SIGINT. `make_registry` is called anew in every process."""
    registry = make_registry()
    carrier = Carrier(courier_of(registry.engine).storage(queues))
    registry.engine.dispose()
    child: list[Child] = []

    def run_job(job_id: str) -> None:
        if not child:
            child.append(Child(make_registry))
        child[0].run(job_id)

    run_job.__module__ = Carrier.__module__
    carrier.task(name=TASK)(run_job)
    JobWorker.max_memory_bytes = max_memory_mb * 1_048_576
    consumer = JobConsumer(
        carrier,
        workers=workers,
        worker_type="process",
        periodic=False,
        max_tasks=max_jobs,
        health_check_interval=1,
        shutdown_timeout=stop_seconds,
        graceful_signal="TERM",
    )
    # Ctrl-C is patient, too; a second one is not.
    consumer._signal_actions[signal.SIGINT] = (False, True)
    consumer.run()


def _memory_bytes() -> int:
    """The most memory that this process has ever held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
