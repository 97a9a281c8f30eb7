"""Endpoints as staff keep them, over REST and on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result
from support.problems import assert_problem
from webtest import TestApp

from commerce_core.cli import main
from commerce_core.database import transaction
from commerce_core.events import OrderPaid, emit
from commerce_core.webhooks.service import MOST_ENDPOINTS
from tests.webhooks.conftest import ENDPOINTS, Desk
from tests.webhooks.receiver import Receiver

GIVEN = {"url": "https://erp.example/hooks", "topics": ["order.paid", "refund.*"], "description": "The ERP"}


def test_an_endpoint_is_added_read_changed_and_deleted(staff: TestApp) -> None:
    made = staff.post_json(ENDPOINTS, GIVEN, status=201)
    secret = made.json.pop("secret")
    assert secret.startswith("whsec_")
    path = made.headers["Location"].removeprefix("http://localhost")
    shown = staff.get(path)
    assert shown.json == {key: value for key, value in made.json.items() if key != "secret"}
    assert shown.headers["ETag"] == made.headers["ETag"] == '"1"'
    assert staff.get(ENDPOINTS).json["data"] == [shown.json]
    changed = staff.patch_json(path, {"topics": ["*"]}, headers={"If-Match": '"1"'})
    assert (changed.json["topics"], changed.json["description"], changed.json["version"]) == (["*"], "The ERP", 2)
    assert_problem(
        staff.patch_json(path, {"active": False}, headers={"If-Match": '"1"'}, status="*"), 412, "precondition-failed"
    )
    assert_problem(staff.delete(path, status="*"), 428, "precondition-required")
    staff.delete(path, headers={"If-Match": '"2"'}, status=204)
    assert_problem(staff.get(path, status="*"), 404, "not-found")


def test_adding_an_endpoint_twice_has_nothing_told_twice(staff: TestApp) -> None:
    first = staff.post_json(ENDPOINTS, GIVEN, headers={"Idempotency-Key": "a"}, status=201).json
    again = staff.post_json(ENDPOINTS, GIVEN, headers={"Idempotency-Key": "a"}, status="*")
    assert_problem(again, 409, "webhook-endpoint-exists")
    assert again.json["endpoint_id"] == first["id"]
    other = staff.post_json(ENDPOINTS, {**GIVEN, "url": "https://other.example"}, status=201).json
    path = f"{ENDPOINTS}/{other['id']}"
    moved = staff.patch_json(path, {"url": GIVEN["url"]}, headers={"If-Match": "*"}, status="*")
    assert_problem(moved, 409, "webhook-endpoint-exists")


def test_a_secret_is_rotated_once_though_it_is_asked_for_twice(staff: TestApp) -> None:
    made = staff.post_json(ENDPOINTS, GIVEN, status=201).json
    path = f"{ENDPOINTS}/{made['id']}/rotate-secret"
    rotated = staff.post_json(path, {}, headers={"If-Match": '"1"'}).json
    assert rotated["secret"] != made["secret"]
    assert rotated["previous_secret_until"] is not None
    assert_problem(staff.post_json(path, {}, headers={"If-Match": '"1"'}, status="*"), 412, "precondition-failed")


@pytest.mark.parametrize("topics", [["order.shipped"], ["stock.changed"], ["job.*"], ["ord*"], ["ping"], []])
def test_an_unknown_topic_is_refused_with_those_that_there_are(staff: TestApp, topics: list[str]) -> None:
    [error] = staff.post_json(ENDPOINTS, {**GIVEN, "topics": topics}, status=422).json["errors"]
    assert error["field"].startswith("topics")
    assert not topics or ("order.paid" in error["message"] and "job.died" not in error["message"])


def test_a_shop_has_not_too_many_endpoints(staff: TestApp) -> None:
    for number in range(MOST_ENDPOINTS):
        staff.post_json(ENDPOINTS, {**GIVEN, "url": f"https://erp.example/{number}"}, status=201)
    assert_problem(staff.post_json(ENDPOINTS, GIVEN, status="*"), 409, "too-many-webhook-endpoints")


def test_what_an_endpoint_is_told_is_listed_page_by_page(desk: Callable[..., Desk]) -> None:
    endpoint = desk()
    made = [endpoint.ping()["id"] for _ in range(3)]
    first = endpoint.staff.get(f"{endpoint.path}/deliveries?limit=2&topic=ping&state=waiting").json
    second = endpoint.staff.get(first["links"]["next"]).json
    assert [each["id"] for each in first["data"] + second["data"]] == made[::-1]
    assert second["links"]["next"] is None


def test_a_delivery_is_found_at_its_own_endpoint_only(desk: Callable[..., Desk], staff: TestApp) -> None:
    endpoint = desk()
    other = staff.post_json(ENDPOINTS, GIVEN, status=201).json
    path = f"{ENDPOINTS}/{other['id']}/deliveries/{endpoint.ping()['id']}"
    assert_problem(staff.get(path, status="*"), 404, "not-found")
    assert_problem(staff.post_json(f"{path}/replay", {}, status="*"), 404, "not-found")


@pytest.fixture
def run(database_url: str, tmp_path: Path) -> Callable[..., Result]:
    ini = tmp_path / "shop.ini"
    lines = ["[app:main]", "use = egg:commerce-core", "commerce.environment = development", "log.level = error"]
    lines += ["webhooks.allowed_networks = 127.0.0.0/8", f"sqlalchemy.url = {database_url.replace('%', '%%')}", ""]
    ini.write_text("\n".join(lines))
    return lambda *arguments: CliRunner().invoke(main, ["webhooks", *arguments, str(ini)], catch_exceptions=False)


def test_the_command_line_tests_lists_and_replays(
    run: Callable[..., Result], desk: Callable[..., Desk], receiver: Receiver, engine: Any, sign_in: Any
) -> None:
    assert "no endpoints" in run("list").output
    endpoint = desk("order.*")
    assert "It answered 200" in run("test", endpoint.id).output
    receiver.mischief.append(410)
    refused = run("test", endpoint.id)
    assert (refused.exit_code, "It answered 410" in refused.output) == (1, True)
    assert "not active" in run("test", endpoint.id).output
    endpoint.change(active=True)
    assert run("replay", endpoint.id, "--since", "2020-01-01").output == "1 deliveries will be made again.\n"
    assert [each["state"] for each in endpoint.deliveries()] == ["delivered", "waiting"]
    with transaction(engine) as session:
        emit(session, OrderPaid(order_id=uuid4(), number="N-1"))
    listed = run("list").output
    assert "order.*" in listed
    assert "active" in listed
    assert "There is no endpoint" in run("test", str(uuid4())).output
    log = sign_in("admin").client.get("/api/v1/admin/audit-log?actor=command line").json["data"]
    assert {entry["action"] for entry in log} == {"webhook-endpoint.test", "webhook-endpoint.replay"}
