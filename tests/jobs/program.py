"""`python -m tests.jobs.program worker shop.ini`: the shop's commands, with a few more jobs to run.

The jobs write into a table of the test's own, `effect`: through the job's session, so once and only once.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from pyramid.config import Configurator
from sqlalchemy import text
from sqlalchemy.orm import Session

from commerce_core import application
from commerce_core.cli.main import main
from commerce_core.jobs.carrier import courier_of
from commerce_core.jobs.kinds import JobContext, job
from commerce_core.settings import load_settings

EFFECT = text("INSERT INTO effect (number, attempt, pid) VALUES (:number, :attempt, :pid)")


@job("test.effect", retry=(0.2, 0.2, 0.2, 0.2, 0.2, 0.2), timeout=30)
def effect(context: JobContext, number: int) -> None:
    values = {"number": number, "attempt": context.attempt, "pid": os.getpid()}
    context.session.execute(EFFECT, values)


@job("test.slow", retry=(0.2, 0.2, 0.2), timeout=60)
def slow(context: JobContext, number: int, seconds: float) -> None:
    with context.transaction() as session:
        session.execute(text("INSERT INTO started (number, pid) VALUES (:n, :pid)"), {"n": number, "pid": os.getpid()})
    time.sleep(seconds if context.attempt == 1 else 0)
    effect.function(context, number)


@job("test.fails-first", retry=(3_600,), timeout=30)
def fails_first(context: JobContext, number: int) -> None:
    if context.attempt == 1:
        raise RuntimeError("not at the first go")
    effect.function(context, number)


@job("test.too-slow", retry=(), timeout=0.3)
def too_slow(context: JobContext) -> None:
    time.sleep(60)


@job("test.deaf", retry=(), timeout=0.3)
def deaf(context: JobContext) -> None:
    """Takes no notice of its time limit."""
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    time.sleep(60)


@job("test.hungry")
def hungry(context: JobContext, number: int) -> None:
    effect.function(context, number)
    _EATEN.append(bytearray(150 * 1_048_576))


_EATEN: list[bytearray] = []


def includeme(config: Configurator) -> None:
    for kind in (effect, slow, fails_first, too_slow, deaf, hungry):
        config.add_job(kind)


def die_after_the_commit(config: str) -> None:
    """Enqueue two jobs, the first rolled back; die when the other is committed, and before anybody is told."""
    registry = application.make_configurator(load_settings(config)).registry
    with Session(registry.engine) as session:
        effect.enqueue(session, now=registry.clock.now(), number=1)
        session.rollback()
        effect.enqueue(session, now=registry.clock.now(), number=2)
        courier = courier_of(registry.engine)
        courier.committed = lambda _jobs: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[attr-defined]
        session.commit()


if __name__ == "__main__":
    application.ROOMS = (*application.ROOMS, "tests.jobs.program")
    if sys.argv[1] == "die":
        die_after_the_commit(sys.argv[2])
    main()
