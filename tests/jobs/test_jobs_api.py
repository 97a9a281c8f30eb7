"""Jobs over REST and on the command line: the story of a dead job, and who may see to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from webtest import TestApp

from commerce_core.application import close, make_configurator
from commerce_core.cli import main
from commerce_core.jobs.runner import run_due
from commerce_core.jobs.service import open_batch, seal_batch
from commerce_core.settings import CoreSettings
from commerce_core.testing import DEFAULTS, SignedIn, StoppedClock
from tests.jobs.kinds import BROKEN, RAN, fatal, fragile, later, limited, note, sweep

JOBS = "/api/v1/admin/jobs"


@pytest.fixture
def application(settings: CoreSettings, clock: StoppedClock, engine: Engine) -> Iterator[Any]:
    """The shop with jobs that can be broken and mended."""
    config = make_configurator(settings, clock=clock)
    for kind in (note, fragile, fatal, later, limited, sweep):
        config.add_job(kind)
    application = config.make_wsgi_app()
    RAN.clear()
    BROKEN["is"] = True
    yield application
    close(application.registry)


@pytest.fixture
def work(application: Any, clock: StoppedClock) -> Callable[..., int]:
    """`work(minutes=5)`: time passes, and workers do what is due."""

    def work(**delta: float) -> int:
        clock.tick(**delta)
        return run_due(application.registry, application.registry.engine)

    return work


def enqueue(application: Any, kind: Any, **arguments: Any) -> str:
    with Session(application.registry.engine) as session, session.begin():
        return str(kind.enqueue(session, now=application.registry.clock.now(), **arguments))


def test_a_dead_job_is_listed_retried_after_the_mend_and_done(
    application: Any, staff: TestApp, work: Callable[..., int]
) -> None:
    job_id = enqueue(application, fragile, password="hunter22", subject="order:1")
    assert [work(), work(seconds=12), work(seconds=72), work(seconds=360)] == [1, 1, 1, 1]
    (dead,) = staff.get(JOBS, {"state": "dead", "queue": "critical"}).json["data"]
    assert (dead["id"], dead["attempts"], dead["subject"]) == (job_id, 4, "order:1")
    detail = staff.get(f"{JOBS}/{job_id}")
    assert detail.json["error"] == "ValueError: it is broken"
    assert detail.json["arguments"] == {"password": "***"}
    assert "in fragile" in detail.json["traceback"]
    assert "hunter22" not in detail.text

    BROKEN["is"] = False
    assert staff.post(f"{JOBS}/{job_id}/retry").json["state"] == "waiting"
    work()
    assert staff.get(f"{JOBS}/{job_id}").json["state"] == "done"
    problem = staff.post(f"{JOBS}/{job_id}/retry", status=409).json
    assert (problem["type"], problem["state"]) == ("/problems/wrong-job-state", "done")


def test_a_dead_job_is_assigned_and_resolved_with_notes(
    application: Any, staff: TestApp, sign_in: Callable[..., SignedIn], work: Callable[..., int]
) -> None:
    job_id = enqueue(application, fatal)
    work()
    staff.post_json(f"{JOBS}/{job_id}/assign", {"assigned_to": "ada@example.com"})
    assert [job["id"] for job in staff.get(JOBS, {"assigned_to": "ada@example.com"}).json["data"]] == [job_id]
    staff.post_json(f"{JOBS}/{job_id}/resolve", {"notes": "too short"}, status=422)
    staff.post_json(f"{JOBS}/{job_id}/resolve", {"notes": "Done by hand in the dashboard."})
    job = staff.get(f"{JOBS}/{job_id}").json
    assert (job["state"], job["notes"]) == ("resolved", "Done by hand in the dashboard.")
    assert staff.get(JOBS, {"state": "dead"}).json["data"] == []
    audit = sign_in("admin").client.get("/api/v1/admin/audit-log", {"subject": f"job:{job_id}"}).json["data"]
    assert [entry["action"] for entry in audit] == ["job.resolved", "job.assign"]


def test_many_dead_jobs_are_retried_at_once(application: Any, staff: TestApp, work: Callable[..., int]) -> None:
    for _ in range(3):
        enqueue(application, fatal)
    left = enqueue(application, later)
    work()
    assert staff.post_json(f"{JOBS}/retry", {"name": "test.fatal"}).json == {"retried": 3, "more": False}
    assert staff.get(JOBS, {"name": "test.fatal", "state": "waiting"}).json["meta"]["next_cursor"] is None
    assert staff.get(f"{JOBS}/{left}").json["attempts"] == 1


def test_a_dead_job_that_needs_nothing_is_ignored_and_a_waiting_one_is_cancelled(
    application: Any, staff: TestApp, work: Callable[..., int], clock: StoppedClock
) -> None:
    dead = enqueue(application, fatal)
    work()
    assert staff.post_json(f"{JOBS}/{dead}/ignore", {}).json["state"] == "ignored"
    waiting = enqueue(application, note, word="x", run_at=clock.now() + timedelta(hours=1))
    assert staff.post(f"{JOBS}/{waiting}/cancel").json["state"] == "cancelled"
    assert work(hours=2) == 0


def test_statistics_tell_how_many_and_how_long(application: Any, staff: TestApp, work: Callable[..., int]) -> None:
    enqueue(application, note, word="a")
    enqueue(application, note, word="b")
    enqueue(application, fatal)
    work(seconds=4)
    enqueue(application, note, word="c")
    rows = {row["name"]: row for row in staff.get(f"{JOBS}/stats", {"minutes": 10}).json["data"]}
    assert (rows["test.fatal"]["dead"], rows["test.note"]["waiting"], rows["test.note"]["done"]) == (1, 1, 2)
    assert (rows["test.fatal"]["failed"], rows["test.fatal"]["done"], rows["test.fatal"]["run"]) == (1, 0, None)
    assert rows["test.note"]["wait"]["p50"] == pytest.approx(4)
    assert rows["test.note"]["per_minute"] == pytest.approx(0.2)


def test_a_batch_tells_how_far_it_is(application: Any, staff: TestApp, work: Callable[..., int]) -> None:
    now = application.registry.clock.now()
    with Session(application.registry.engine) as session, session.begin():
        batch = open_batch(session, "newsletter", now=now)
        batch_id: UUID = batch.id
        note.enqueue(session, now=now, word="now", batch_id=batch_id)
        note.enqueue(session, now=now, word="later", batch_id=batch_id, run_at=now + timedelta(hours=1))
        seal_batch(session, batch, now=now)
    work()
    shown = staff.get(f"/api/v1/admin/batches/{batch_id}").json
    assert (shown["total"], shown["done"], shown["progress"], shown["finished_at"]) == (2, 1, 0.5, None)
    work(hours=1)
    assert staff.get(f"/api/v1/admin/batches/{batch_id}").json["progress"] == 1


def test_the_command_line_tells_the_statistics(
    application: Any, work: Callable[..., int], database_url: str, tmp_path: Path
) -> None:
    enqueue(application, note, word="a")
    enqueue(application, fatal)
    work(seconds=2)
    ini = tmp_path / "shop.ini"
    settings = {**DEFAULTS, "sqlalchemy.url": database_url}
    lines = ["[app:main]", "use = egg:commerce-core", *(f"{key} = {value}" for key, value in settings.items())]
    ini.write_text("\n".join(lines))
    shown = CliRunner().invoke(main, ["jobs", "stats", str(ini)], env={"COLUMNS": "200"}, catch_exceptions=False).output
    table = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if "│" in line]
    cells = {name: rest for _, name, *rest in table}
    # waiting, retrying, running, dead, done, failed, a minute, oldest waits
    assert cells["test.note"][:8] == ["0", "0", "0", "0", "1", "0", "0.0", ""]
    assert cells["test.fatal"][:8] == ["0", "0", "0", "1", "0", "1", "0.0", ""]
    assert cells["test.note"][8].startswith("2.0")
