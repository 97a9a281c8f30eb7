"""Who may do what: every address names its permission, and is open to whoever has it, and to nobody else."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from pyramid.interfaces import IRoutesMapper
from sqlalchemy import Engine
from support.access import BAD_TOKENS, CASES, NARROW, ROLES, Case, World, may_ask, sequential_ids
from support.problems import assert_problem
from webob import Response
from webtest import TestApp

from commerce_core.accounts.permissions import CUSTOMER, PERMISSIONS_OF_ROLE, Permission
from commerce_core.api import API_PREFIX
from commerce_core.api.endpoints import Endpoint
from commerce_core.testing import SignedIn, StoppedClock

# Routes that serve something else than endpoints, and why.
OTHER_ROUTES = {
    "demo_image": "the pictures of the demo catalogue",
    "metrics": "Prometheus, which the settings let in: see tests/metrics",
}


def test_every_endpoint_names_a_permission(application: Any) -> None:
    assert application.registry.endpoints
    for endpoint in application.registry.endpoints:
        assert endpoint.permission in set(Permission), endpoint.function


def test_every_route_serves_endpoints(application: Any) -> None:
    routes = {route.name for route in application.registry.getUtility(IRoutesMapper).get_routes()}
    assert routes - OTHER_ROUTES.keys() == {endpoint.route_name for endpoint in application.registry.endpoints}


def test_every_view_belongs_to_an_endpoint(application: Any) -> None:
    views = [view["introspectable"] for view in application.registry.introspector.get_category("views")]
    of_routes = [view for view in views if view["route_name"] and view["route_name"] not in OTHER_ROUTES]
    assert len(of_routes) == len(application.registry.endpoints)


def test_the_matrix_is_complete(application: Any) -> None:
    """Every endpoint is asked for by everybody."""
    patterns = {route.name: route.pattern for route in application.registry.getUtility(IRoutesMapper).get_routes()}
    endpoints = {(each.method, each.route_name): each for each in application.registry.endpoints}
    lacking = [
        f'    ("{method}", "{name}"): shared("{patterns[name].removeprefix(API_PREFIX)}"),  # or owned, or listed'
        for method, name in endpoints
        if (method, name) not in CASES
    ]
    assert not lacking, "tests/support/access.py does not say how to ask for these; add to CASES:\n" + "\n".join(
        lacking
    )
    assert not CASES.keys() - endpoints.keys(), "there are no such endpoints any more"


def test_what_is_for_staff_needs_more_than_customers_may(application: Any) -> None:
    patterns = {route.name: route.pattern for route in application.registry.getUtility(IRoutesMapper).get_routes()}
    for_staff = [e for e in application.registry.endpoints if "/admin/" in patterns[e.route_name]]
    assert for_staff == [e for e in application.registry.endpoints if e.permission not in CUSTOMER]
    assert for_staff


@pytest.mark.parametrize("permission", Permission)
def test_access(
    permission: Permission,
    application: Any,
    engine: Engine,
    clock: StoppedClock,
    make_variant: Callable[..., UUID],
    subtests: pytest.Subtests,
) -> None:
    """Everybody asks for everything that needs this permission."""
    for endpoint in application.registry.endpoints:
        case = CASES.get((endpoint.method, endpoint.route_name))
        if endpoint.permission == permission and case is not None:
            with subtests.test(f"{endpoint.method} {endpoint.route_name}"):
                assert_access(World(application, engine, clock, make_variant, permission), endpoint, case)


def assert_access(world: World, endpoint: Endpoint, case: Case) -> None:
    """Everybody asks for one endpoint."""
    assert_refused(world, endpoint, case)
    for owner in case.owners:
        if case.lists is None:
            assert_owned(world, endpoint, case, owner)
        else:
            assert_listed(world, endpoint, case, owner)
    if not case.owners:
        for who in (who for who in ROLES if may_ask(who, endpoint.permission)):
            path, body = world.fill(case, "customer")
            response = world.ask(who, endpoint.method, path, body)
            assert_answered(response, who, case.answers)


def assert_refused(world: World, endpoint: Endpoint, case: Case) -> None:
    """Whose token is bad or too narrow, and whose role does not allow it."""
    path, body = world.fill(case, "customer")

    def refused(who: str, status: int, slug: str) -> None:
        response = world.ask(who, endpoint.method, path, body)
        assert response.status_code == status, f"{who}: {response.status} {response.text[:500]}"
        assert_problem(response, status, slug)
        assert ("WWW-Authenticate" in response.headers) == (status == 401)

    for who in BAD_TOKENS:
        refused(who, 401, "unauthorized")
    if endpoint.permission != Permission.PUBLIC:
        refused(NARROW, 403, "forbidden")
    for who, role in ROLES.items():
        if not may_ask(who, endpoint.permission):
            refused(who, *((401, "unauthorized") if role is None else (403, "forbidden")))


def assert_owned(world: World, endpoint: Endpoint, case: Case, owner: str) -> None:
    """Others are told that there is no such thing, and have no effect on it; owner and staff get what they ask for."""
    path, body = world.fill(case, owner)
    for who in ROLES:
        if may_ask(who, endpoint.permission) and who != owner and not sees_all(who, case):
            response = world.ask(who, endpoint.method, path, body)
            assert response.status_code == 404, f"{who}, of {owner}'s: {response.status} {response.text[:500]}"
            assert_problem(response, 404, "not-found")
    response = world.ask(owner, endpoint.method, path, body)
    assert response.status_code == endpoint.status, f"{owner}: {response.status} {response.text[:500]}"
    assert_answered(response, owner)
    for who in (who for who in ROLES if sees_all(who, case)):
        path, body = world.fill(case, owner)
        response = world.ask(who, endpoint.method, path, body)
        assert response.status_code == endpoint.status, f"{who}: {response.status} {response.text[:500]}"
        assert_answered(response, who)


def assert_listed(world: World, endpoint: Endpoint, case: Case, owner: str) -> None:
    """Everybody finds their own, and nobody else's."""
    assert case.lists is not None
    thing = getattr(world, case.lists)(owner)
    for who in (who for who in ROLES if may_ask(who, endpoint.permission)):
        response = world.ask(who, endpoint.method, case.path)
        assert response.status_code == 200, f"{who}: {response.text[:500]}"
        assert_answered(response, who)
        assert (thing in response.text) == (who == owner or sees_all(who, case)), f"{who}: {response.text[:500]}"


def sees_all(who: str, case: Case) -> bool:
    return case.all_by is not None and may_ask(who, case.all_by)


def assert_answered(response: Response, who: str, *others: int | None) -> None:
    """Not refused, not failed, and nothing told that could be counted up."""
    assert response.status_code in (200, 201, 204, 302, 409, 422, 428, *others), f"{who}: {response.text[:500]}"
    if response.content_type == "application/json" and "openapi" not in response.text[:20]:
        assert list(sequential_ids(response.json)) == []


def test_a_token_may_be_narrower_than_its_owner(sign_in: Callable[..., SignedIn], make_variant: Any) -> None:
    path = f"/api/v1/admin/stock/{make_variant()}"
    reader = sign_in("staff", abilities=[Permission.STOCK_READ]).client
    reader.get(path)
    assert_problem(reader.post_json(f"{path}/receive", {"quantity": 1}, status="*"), 403, "forbidden")


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", "Bearer nonsense", "Basic YTpi", "nonsense", "Bearer é", "Bearer \x00"]
)
@pytest.mark.parametrize("path", ["/api/v1/products", "/api/v1/holds"])
def test_a_token_that_is_sent_must_be_good(send: Callable[..., Response], path: str, header: str) -> None:
    assert_problem(send("GET", path, HTTP_AUTHORIZATION=header), 401, "unauthorized")


def test_each_role_may_do_what_the_one_below_may() -> None:
    roles = [PERMISSIONS_OF_ROLE[role] for role in (None, "customer", "staff", "admin")]
    assert all(lower <= higher for lower, higher in itertools.pairwise(roles))
    assert roles[-1] == frozenset(Permission)


def test_head_is_answered_where_get_is(client: TestApp) -> None:
    for path in ("/healthz", "/api/v1/products", "/api/v1/holds"):
        assert client.head(path).body == b""
