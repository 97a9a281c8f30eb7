"""The audit log: what staff change is written down, and nobody changes what is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError
from webtest import TestApp

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import Endpoint
from commerce_core.testing import SignedIn

LOG = "/api/v1/admin/audit-log"


def test_what_staff_do_is_listed_with_who_what_before_and_after(
    staff: TestApp, sign_in: Callable[..., SignedIn], make_variant: Callable[..., UUID]
) -> None:
    variant_id = make_variant(stock=3)
    staff.post_json(f"/api/v1/admin/stock/{variant_id}/damage", {"quantity": 1, "reason": "wet"})
    (entry,) = sign_in("admin").client.get(LOG, {"subject": f"variant:{variant_id}"}).json["data"]
    assert entry["action"] == "stock.damage"
    assert entry["actor"].startswith("user:")
    assert entry["before"] == {"on_hand": 3, "available": 3, "version": 1}
    assert entry["after"] == {"on_hand": 2, "available": 2, "version": 2, "reason": "wet"}


def test_what_fails_is_not_listed(
    staff: TestApp, sign_in: Callable[..., SignedIn], make_variant: Callable[..., UUID]
) -> None:
    variant_id = make_variant(stock=1)
    staff.post_json(f"/api/v1/admin/stock/{variant_id}/damage", {"quantity": 2, "reason": "wet"}, status=409)
    assert sign_in("admin").client.get(LOG).json["data"] == []


def test_what_staff_do_with_anothers_order_or_hold_is_listed_and_what_they_do_with_their_own_is_not(
    client: TestApp, staff: TestApp, sign_in: Callable[..., SignedIn], make_variant: Callable[..., UUID]
) -> None:
    variant_id = make_variant()
    customer = sign_in().client

    def act(owner: TestApp, actor: TestApp) -> None:
        wanted = {"variant_id": str(variant_id), "quantity": 1}
        hold = owner.post_json("/api/v1/holds", wanted).json
        actor.post(f"/api/v1/holds/{hold['id']}/extend")
        actor.delete(f"/api/v1/holds/{hold['id']}")
        hold = owner.post_json("/api/v1/holds", wanted).json
        order = owner.post_json("/api/v1/orders", {"hold_id": hold["id"]}).json
        actor.post_json(f"/api/v1/orders/{order['id']}/payments", {"provider": "manual"})
        actor.post(f"/api/v1/orders/{order['id']}/cancel")

    act(staff, staff)
    act(customer, customer)
    act(client, client)
    act(client, customer)  # a guest's without a token, by its id
    admin = sign_in("admin").client
    assert admin.get(LOG).json["data"] == []
    act(customer, staff)
    log = admin.get(LOG).json["data"]
    assert [entry["action"] for entry in log] == ["order.cancel", "order.start-payment", "hold.release", "hold.extend"]
    assert (log[0]["before"], log[0]["after"]) == ({"status": "pending"}, {"status": "cancelled"})


def test_staff_may_not_read_it(staff: TestApp) -> None:
    assert staff.get(LOG, status=403).json["type"] == "/problems/forbidden"


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
def test_the_database_refuses_to_change_it(
    staff: TestApp, make_variant: Callable[..., UUID], engine: Engine, statement: str
) -> None:
    staff.post_json(f"/api/v1/admin/stock/{make_variant()}/receive", {"quantity": 1})
    with pytest.raises(IntegrityError, match="append-only"), engine.begin() as connection:
        connection.execute(text(statement))


def test_every_change_that_only_staff_may_make_is_audited(application: Any) -> None:
    endpoints: list[Endpoint] = application.registry.endpoints
    changing = [
        endpoint for endpoint in endpoints if endpoint.method != "GET" and "/admin/" in _path(application, endpoint)
    ]
    assert changing
    assert [endpoint.function for endpoint in changing if not endpoint.audited] == []
    assert all(endpoint.permission != Permission.PUBLIC for endpoint in changing)


def _path(application: Any, endpoint: Endpoint) -> str:
    from pyramid.interfaces import IRoutesMapper

    path: str = application.registry.getUtility(IRoutesMapper).get_route(endpoint.route_name).pattern
    return path
