"""`commerce maintenance`: closed to all but staff, in every process within a second; open again likewise."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine
from support.problems import assert_problem
from support.processes import wait_until
from webtest import TestApp

from commerce_core.application import close as close_application
from commerce_core.application import make_application
from commerce_core.cli.main import main
from commerce_core.database import transaction
from commerce_core.maintenance.service import begin_maintenance, end_maintenance
from commerce_core.settings import CoreSettings
from commerce_core.testing import SignedIn, StoppedClock


@pytest.fixture
def close(application: Any, engine: Engine, clock: StoppedClock) -> Callable[..., None]:
    """`close(minutes=5)`; `close(open_again=True)`: and the process has seen it."""

    def switch(minutes: int | None = None, message: str | None = None, *, open_again: bool = False) -> None:
        until = None if minutes is None else clock.now() + timedelta(minutes=minutes)
        with transaction(engine) as session:
            if open_again:
                end_maintenance(session, now=clock.now(), actor="test")
            else:
                begin_maintenance(session, now=clock.now(), until=until, message=message, actor="test")
        application.registry.pulse.beat()

    return switch


@pytest.fixture(autouse=True)
def opened_at_the_end(application: Any, close: Callable[..., None]) -> Any:
    yield
    close(open_again=True)


def test_customers_are_sent_away_and_told_when_to_come_back(
    client: TestApp, sign_in: Callable[..., SignedIn], clock: StoppedClock, close: Callable[..., None]
) -> None:
    customer = sign_in("customer").client
    close(5, "We are moving.")
    for each in (client, customer):
        for answer in (
            each.get("/api/v1/products", status=503),
            each.post_json("/api/v1/holds", {}, status=503),
            each.get("/api/v1/cart", status=503),
        ):
            problem = assert_problem(answer, 503, "under-maintenance")
            assert problem["detail"] == "We are moving."
            assert answer.headers["Retry-After"] == "300"
    clock.tick(minutes=7)  # it takes longer
    assert client.get("/api/v1/products", status=503).headers["Retry-After"] == "60"
    close(open_again=True)
    assert client.get("/api/v1/products").status_code == 200


def test_staff_and_probes_pass(client: TestApp, sign_in: Callable[..., SignedIn], close: Callable[..., None]) -> None:
    staff, admin = sign_in("staff").client, sign_in("admin").client
    close()
    for each in (staff, admin):
        assert each.get("/api/v1/products").status_code == 200
    for path in ("/healthz", "/readyz"):
        assert client.get(path).status_code == 200


def test_the_way_in_stays_open_for_staff(client: TestApp, close: Callable[..., None]) -> None:
    close()
    wrong = {"email": "a@example.com", "password": "nonsense-nonsense", "device_name": "till"}
    assert_problem(client.post_json("/api/v1/auth/login", wrong, status=401), 401, "invalid-credentials")


def test_it_is_closed_and_opened_by_commands_for_every_process(
    tmp_path: Path, settings: CoreSettings, database_url: str
) -> None:
    """Each has a switch of its own, and a pulse that reads it; that both are of one process makes no difference."""
    shops = [make_application(settings) for _ in range(2)]
    ini = tmp_path / "shop.ini"
    url = database_url.replace("%", "%%")
    lines = ["[app:main]", "use = egg:commerce-core", "commerce.environment = development", "log.level = error"]
    ini.write_text("\n".join([*lines, f"sqlalchemy.url = {url}", ""]))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["maintenance", *arguments, str(ini)])

    def statuses() -> list[int]:
        return [TestApp(shop).get("/api/v1/products", status="*").status_code for shop in shops]

    try:
        for shop in shops:
            shop.registry.pulse.start()
        assert statuses() == [200, 200]
        assert run("on", "--minutes", "10", "--message", "A new floor.").exit_code == 0
        wait_until(lambda: statuses() == [503, 503])
        told = run("status")
        assert told.exit_code == 1
        assert "A new floor." in told.output
        assert run("off").output == "Open.\n"
        wait_until(lambda: statuses() == [200, 200])
        assert run("status").output == "Open.\n"
        assert run("off").output == "It was open already.\n"
    finally:
        for shop in shops:
            close_application(shop.registry)
