"""What dashboards are shown is what has happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text
from webtest import TestApp

from commerce_core.testing import StoppedClock, count_sql
from commerce_core.testing.contract import buy

STATS = "/api/v1/admin/stats"


def test_stats_are_those_of_the_time_asked_for(
    application: Any,
    client: TestApp,
    staff: TestApp,
    make_variant: Callable[..., UUID],
    clock: StoppedClock,
    engine: Engine,
) -> None:
    variant_id = make_variant(stock=9)
    clock.tick(minutes=30)
    for _ in range(2):
        buy(application, variant_id)
    client.post_json("/api/v1/holds", {"variant_id": str(variant_id), "quantity": 3}, status=201)
    for number in range(200):
        application.registry.traffic.note(number < 2, 0.02)
    application.registry.traffic.note(False, 60.0)
    application.registry.pulse.beat()
    with engine.begin() as connection:
        total, currency = connection.execute(text("SELECT sum(total), min(currency) FROM orders")).one()
    with count_sql(application.registry.engine) as statements:
        found = staff.get(f"{STATS}?minutes=10").json
    assert len(statements) <= 10
    answered = application.registry.traffic
    assert answered.take() != {}, "what was asked since is not written down yet"
    requests = found["requests"]
    assert requests["errors"] == 2
    assert requests["requests"] >= 201
    assert requests["p50_ms"] <= 25
    assert found["orders"]["placed"] == 2
    assert [(each["currency"], each["orders"], each["total"]) for each in found["orders"]["turnover"]] == [
        (currency, 2, total)
    ]
    assert (found["stock"]["active_holds"], found["stock"]["held_units"]) == (1, 3)
    assert found["queues"].keys() == {"critical", "default", "low"}
    assert {each["what"] for each in found["hosts"]} >= {"disk /"}
    assert (found["is_open"], found["alerts"]) == (True, [])
    clock.tick(minutes=20)
    later = staff.get(f"{STATS}?minutes=10").json
    assert (later["requests"]["requests"], later["orders"]["placed"], later["hosts"]) == (0, 0, [])
    client.get(STATS, status=401)
