"""Who is told of an alert, and how: Slack, PagerDuty and mail; each once, in order, and also when it was away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from commerce_core.cli.main import main
from commerce_core.database import transaction
from commerce_core.jobs.models import Job
from commerce_core.monitor.jobs import alert_about
from commerce_core.monitor.models import Alert
from commerce_core.monitor.rules import RULES_BY_NAME, check
from commerce_core.settings import CoreSettings
from commerce_core.testing import ReceivedMail, StoppedClock, make_settings
from tests.monitor.listener import ROUTING_KEY, Listener, listening

RULE = RULES_BY_NAME["dead-jobs"]


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    with listening() as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_wrong(listener: Listener) -> Iterator[None]:
    listener.slack.clear()
    listener.pagerduty.clear()
    listener.fails.clear()
    listener.wrong.clear()
    yield
    assert listener.wrong == []


@pytest.fixture
def settings(database_url: str, listener: Listener) -> CoreSettings:
    return make_settings(
        database_url,
        {
            "monitor.slack_url": f"{listener.url}/services/T0/B0/xyz",
            "monitor.pagerduty_url": f"{listener.url}/v2/enqueue",
            "monitor.pagerduty_key": ROUTING_KEY,
            "monitor.mail_to": "ops@shop.example, boss@shop.example",
            "monitor.runbooks": "https://wiki.example/runbooks#{rule}",
            "mail.shop_name": "Nordwind & <Sons>",
        },
    )


@pytest.fixture
def checked(application: Any, engine: Engine, clock: StoppedClock, settings: CoreSettings) -> Callable[[], list[Alert]]:
    """`checked()`: look whether jobs are dead, and have everybody told of what has changed."""

    def run() -> list[Alert]:
        findings, asked = check(engine, settings.monitor, now=clock.now(), rules=[RULE])
        with transaction(application.registry.engine) as session:
            return alert_about(session, findings, asked, settings=settings, now=clock.now())

    return run


@pytest.fixture
def dead(engine: Engine, clock: StoppedClock) -> None:
    with transaction(engine) as session:
        session.add(Job(name="test", queue="low", state="dead", run_at=clock.now(), created_at=clock.now()))


def mend(engine: Engine) -> None:
    with transaction(engine) as session:
        session.execute(text("DELETE FROM job WHERE name = 'test'"))


def test_all_are_told_once_that_it_fires_and_once_that_it_has_recovered(
    checked: Callable[[], list[Alert]],
    dead: None,
    engine: Engine,
    clock: StoppedClock,
    run_jobs: Callable[[], int],
    listener: Listener,
    mails: Callable[..., list[ReceivedMail]],
) -> None:
    for _ in range(3):
        checked()
        run_jobs()
    assert (len(listener.slack), len(listener.pagerduty), len(mails())) == (1, 1, 2)
    [slack], [trigger] = listener.slack, listener.pagerduty
    assert "Jobs have failed for good: 1 jobs of the queue low have failed for good" in slack["text"]
    assert "Nordwind &amp; &lt;Sons&gt;" in slack["text"]
    assert "https://wiki.example/runbooks#dead-jobs" in slack["attachments"][0]["text"]
    assert trigger["event_action"] == "trigger"
    assert trigger["payload"]["custom_details"]["threshold"] == 1.0
    assert trigger["links"] == [{"href": "https://wiki.example/runbooks#dead-jobs", "text": "Runbook"}]
    assert {mail.to for mail in mails()} == {"ops@shop.example", "boss@shop.example"}
    assert "Jobs have failed for good" in mails()[0].letter.subject
    assert "Nordwind &amp; &lt;Sons&gt;" in (mails()[0].letter.html or "")

    mend(engine)
    clock.tick(minutes=5)
    for _ in range(3):
        checked()
        run_jobs()
    assert (len(listener.slack), len(listener.pagerduty), len(mails())) == (2, 2, 4)
    assert "Recovered: Jobs have failed for good (low)" in listener.slack[1]["text"]
    assert listener.pagerduty[1] == {
        "routing_key": ROUTING_KEY,
        "event_action": "resolve",
        "dedup_key": trigger["dedup_key"],
    }
    assert "0:05:00" in mails()[-1].letter.text


def test_who_is_away_keeps_no_other_from_being_told_and_is_told_later(
    checked: Callable[[], list[Alert]],
    dead: None,
    engine: Engine,
    clock: StoppedClock,
    run_jobs: Callable[[], int],
    listener: Listener,
) -> None:
    listener.fails[:] = [500, 503]  # one each
    checked()
    run_jobs()
    assert listener.slack == listener.pagerduty == []
    # It has recovered before they are back: they are told both, in order.
    mend(engine)
    checked()
    clock.tick(minutes=1)
    run_jobs()
    clock.tick(minutes=1)
    run_jobs()
    assert [each["event_action"] for each in listener.pagerduty] == ["trigger", "resolve"]
    assert ["Recovered" in each["text"] for each in listener.slack] == [False, True]


def test_who_refuses_is_not_asked_again_and_no_secret_is_in_the_error(
    checked: Callable[[], list[Alert]], dead: None, engine: Engine, run_jobs: Callable[[], int], listener: Listener
) -> None:
    listener.fails[:] = [404, 400]
    checked()
    run_jobs()
    with Session(engine) as session:
        errors = session.scalars(text("SELECT error FROM job WHERE name = 'monitor.tell' AND state = 'dead'")).all()
    assert len(errors) == 2
    for error in errors:
        assert ROUTING_KEY not in error
        assert "xyz" not in error


@pytest.fixture
def run(database_url: str, tmp_path: Path, listener: Listener) -> Callable[..., Result]:
    ini = tmp_path / "shop.ini"
    lines = ["[app:main]", "use = egg:commerce-core", "commerce.environment = development", "log.level = error"]
    lines += [f"monitor.slack_url = {listener.url}/services/T0/B0/xyz", "monitor.certificates ="]
    ini.write_text("\n".join([*lines, f"sqlalchemy.url = {database_url.replace('%', '%%')}", ""]))
    return lambda *arguments: CliRunner(env={"COLUMNS": "220"}).invoke(main, [*arguments, str(ini)])


def test_the_command_line_checks_says_so_and_tells(
    run: Callable[..., Result], engine: Engine, dead: None, listener: Listener
) -> None:
    # How full this machine is, is not ours to say.
    without = ("--without", "disk", "--without", "memory")
    found = run("monitor", "check", *without, "--json")
    assert found.exit_code == 1
    states = {(each["rule"], each["subject"]): each["state"] for each in json.loads(found.output)}
    assert states["dead-jobs", "low"] == "fires"
    assert states["dead-jobs", "critical"] == "ok"
    assert "1 jobs of the queue low have failed for good" in run("monitor", "check", *without).output
    assert listener.slack == []
    assert run("monitor", "check", *without, "--alert").exit_code == 1
    assert len(listener.slack) == 1
    assert "dead-jobs" in run("monitor", "alerts").output
    mend(engine)
    assert run("monitor", "check", *without, "--alert").exit_code == 0
    assert len(listener.slack) == 2
    assert "Nothing is wrong." in run("monitor", "alerts").output
    assert "there is no rule 'moon'" in run("monitor", "check", "--without", "moon").output
