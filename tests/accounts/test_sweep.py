"""What the scheduler does for accounts: it delivers mail, and forgets what is over."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from datetime import datetime

import pytest
from sqlalchemy import Engine, text
from support.people import EMAIL, PASSWORD, Person, post
from webtest import TestApp

from commerce_core.accounts.sweep import forget_what_is_over
from commerce_core.cli.scheduler import _aside, make_tasks, run_tasks
from commerce_core.cli.shop import Shop
from commerce_core.database import transaction
from commerce_core.settings import CoreSettings
from commerce_core.testing import StoppedClock


def counts(engine: Engine) -> tuple[int, int, int]:
    with engine.connect() as connection:
        found = [
            connection.scalar(text(statement))
            for statement in (
                "SELECT count(*) FROM registration",
                "SELECT count(*) FROM verification",
                "SELECT count(*) FROM api_token",
            )
        ]
    return found[0] or 0, found[1] or 0, found[2] or 0


def forget(engine: Engine, clock: StoppedClock) -> int:
    with transaction(engine) as session:
        return forget_what_is_over(session, now=clock.now())


def test_what_is_over_is_forgotten_and_what_is_not_stays(
    client: TestApp, make_person: Callable[..., Person], engine: Engine, clock: StoppedClock
) -> None:
    person = make_person()
    post(person.client, "logout", 204)
    make_person("bob@example.com")
    post(client, "register", 202, email="new@example.com", password=PASSWORD, name="Ada")
    post(client, "password-reset", 202, email=EMAIL)
    assert (forget(engine, clock), counts(engine)) == (0, (1, 1, 2))
    clock.tick(hours=1)
    assert (forget(engine, clock), counts(engine)) == (1, (1, 0, 2))
    clock.tick(hours=23)
    assert (forget(engine, clock), counts(engine)) == (1, (0, 0, 2))
    clock.tick(days=30)
    assert (forget(engine, clock), counts(engine)) == (1, (0, 0, 1))
    clock.tick(days=90)
    assert (forget(engine, clock), counts(engine)) == (1, (0, 0, 0))


def test_the_scheduler_delivers_mail(
    settings: CoreSettings,
    client: TestApp,
    engine: Engine,
    database_url: str,
    clock: StoppedClock,
    capsys: pytest.CaptureFixture[str],
) -> None:
    post(client, "password-reset", 202, email=EMAIL)
    run_tasks(make_tasks(Shop(settings, database_url, engine, clock)), clock.now())
    assert f"Mail to {EMAIL}: No account at Shop" in capsys.readouterr().out


def test_a_mail_server_that_does_not_answer_keeps_no_stock_waiting(clock: StoppedClock) -> None:
    answers, begun = threading.Event(), threading.Semaphore(0)
    rounds: list[datetime] = []

    def deliver(now: datetime) -> int:
        rounds.append(now)
        begun.release()
        assert answers.wait(30)
        if len(rounds) == 1:
            return 3
        raise OSError("gone")

    task = _aside(deliver)
    assert task(clock.now()) == 0
    assert begun.acquire(timeout=30)
    assert (task(clock.now()), len(rounds)) == (0, 1)
    answers.set()
    seen = 0
    while not seen:  # until the first round is over
        seen = task(clock.now())
    assert seen == 3
    assert begun.acquire(timeout=30)
    # What went wrong aside is told to the scheduler.
    with pytest.raises(OSError, match="gone"):
        all(task(clock.now()) == 0 for _ in itertools.count())
