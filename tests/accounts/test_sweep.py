"""What workers do for accounts: they deliver mail, and forgets what is over."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text
from support.people import EMAIL, PASSWORD, Person, post
from webtest import TestApp

from commerce_core.accounts.sweep import forget_what_is_over
from commerce_core.database import transaction
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


def test_a_worker_delivers_mail(
    client: TestApp, run_jobs: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    post(client, "password-reset", 202, email=EMAIL)
    run_jobs()
    assert f"Mail to {EMAIL}: No account at Shop" in capsys.readouterr().out
