"""A worker: a process whose children each run one job at a time, fed by Huey's consumer, and one more that feeds.

SIGTERM or Ctrl-C: take nothing new, finish what is running (for at most `stop_seconds`; then it is handed back), leave.
"""

from __future__ import annotations

import gc
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
from huey.consumer import Consumer, Scheduler, Worker, WorkerRecycle
from sqlalchemy import Engine

from commerce_core.jobs import statements
from commerce_core.jobs.carrier import TASK, Carrier, courier_of
from commerce_core.jobs.feeder import SILENCE, Feeder, feed_for_ever
from commerce_core.jobs.metrics_server import MetricsServer
from commerce_core.jobs.runner import Runner
from commerce_core.log import first_line

_log = structlog.get_logger("commerce.job")
# After its time limit a job has this long to notice; then its process is ended.
GRACE_SECONDS = 10.0
BEAT_SECONDS = SILENCE.total_seconds() / 6

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}

MakeRegistry = Callable[[], Any]
"""Makes the shop's registry, in each process anew, so that none shares a connection with another."""


class Child:
    """What runs jobs in one process."""

    def __init__(self, make_registry: MakeRegistry, prepare: Callable[[Any], None], parent: int) -> None:
        self._parent = parent
        self.registry = make_registry()
        prepare(self.registry)
        gc.freeze()  # It stays, so there is no garbage to look for in it.
        self.engine: Engine = self.registry.engine
        self.runner = Runner(self.registry, self.engine, f"{socket.gethostname()}:{os.getpid()}")
        threading.Thread(target=self._watch, name="heartbeat", daemon=True).start()

    def run(self, job_id: str) -> None:
        self._end_if_orphaned()
        self.runner.run(UUID(job_id))

    def _watch(self) -> None:
        """Show that we live while a job runs; end the process if that ignores its time limit, or nobody stops us."""
        beat_at = 0.0
        while True:
            time.sleep(0.5)
            deadline, now = self.runner.deadline, time.monotonic()
            if deadline is None:
                self._end_if_orphaned()
            elif now > deadline + GRACE_SECONDS:
                _log.error("job ignores its time limit; ending the process", worker=self.runner.worker)
                os._exit(os.EX_SOFTWARE)
            elif now > beat_at:
                beat_at = now + BEAT_SECONDS
                self._beat()

    def _beat(self) -> None:
        try:
            with self.engine.begin() as connection:
                connection.execute(
                    statements.HEARTBEAT, {"worker": self.runner.worker, "now": self.registry.clock.now()}
                )
        except Exception as error:
            _log.warning("no heartbeat", worker=self.runner.worker, error=first_line(error))

    def _end_if_orphaned(self) -> None:
        """Leave when the process that would stop us was killed."""
        if os.getppid() != self._parent:
            os._exit(os.EX_OK)


class JobWorker(Worker):  # type: ignore[misc]
    """Huey's worker, which is replaced when it has grown too large."""

    max_memory_bytes = 0

    def initialize(self) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        super().initialize()

    def loop(self, now: Any = None) -> None:
        super().loop(now)
        if self.max_memory_bytes and _memory_bytes() > self.max_memory_bytes:
            _log.info("worker recycled", reason="memory", bytes=_memory_bytes())
            raise WorkerRecycle


class JobFeeder(Scheduler):  # type: ignore[misc]
    """In place of Huey's scheduler: our feeder, which reads the jobs' own rows."""

    make_registry: MakeRegistry | None = None
    # The worker's process, which stops us; known before the fork, because it may be gone soon after.
    parent = 0
    # Answered here, because this process lives as long as the worker, and forks nobody.
    metrics_server: MetricsServer | None = None

    def loop(self, now: Any = None) -> None:
        assert self.make_registry is not None
        registry = type(self).make_registry()  # type: ignore[misc]
        if self.metrics_server is not None:
            self.metrics_server.serve(registry)
        feed_for_ever(
            Feeder(registry),
            wait=self.stop_flag.wait,
            stopped=lambda: self.stop_flag.is_set() or os.getppid() != self.parent,
        )
        if not self.stop_flag.is_set():
            os._exit(os.EX_OK)  # the process that would stop us was killed


class JobConsumer(Consumer):  # type: ignore[misc]
    worker_class = JobWorker
    scheduler_class = JobFeeder

    def start(self) -> None:
        super().start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def work(
    make_registry: MakeRegistry,
    queues: Sequence[str],
    *,
    workers: int,
    max_jobs: int,
    max_memory_mb: int,
    stop_seconds: float,
    prepare: Callable[[Any], None] = lambda _registry: None,
    metrics_server: MetricsServer | None = None,
) -> None:
    """Run jobs of these queues until SIGTERM or SIGINT. Zero stands for no limit.

    `prepare` is called with the registry of each process that runs jobs, before the first.
    """
    # Whoever is to stop us before everything has started is heard when it has: no child is left half made.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    registry = make_registry()
    carrier = Carrier(courier_of(registry.engine).storage(queues))
    registry.engine.dispose()
    child: list[Child] = []
    parent = JobFeeder.parent = os.getpid()

    @carrier.on_startup()  # type: ignore[untyped-decorator]
    def begin() -> None:
        child.append(Child(make_registry, prepare, parent))

    def run_job(job_id: str) -> None:
        child[0].run(job_id)

    run_job.__module__ = Carrier.__module__
    carrier.task(name=TASK)(run_job)
    JobWorker.max_memory_bytes = max_memory_mb * 1_048_576
    JobFeeder.make_registry = staticmethod(make_registry)
    JobFeeder.metrics_server = metrics_server
    consumer = JobConsumer(
        carrier,
        workers=workers,
        worker_type="process",
        periodic=False,
        max_tasks=max_jobs or None,
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
