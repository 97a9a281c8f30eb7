"""Who may do what: every address names its permission, and is closed to whoever lacks it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from pyramid.interfaces import IRoutesMapper
from support.problems import assert_problem
from webob import Response
from webtest import TestApp

from commerce_core.accounts.permissions import CUSTOMER, PERMISSIONS_OF_ROLE, Permission
from commerce_core.testing import SignedIn

# Routes that serve something else than endpoints, and why.
OTHER_ROUTES = {"demo_image": "the pictures of the demo catalogue"}


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


def closed(application: Any) -> list[tuple[str, str]]:
    """Method and address of what customers may not do."""
    patterns = {route.name: route.pattern for route in application.registry.getUtility(IRoutesMapper).get_routes()}
    return [
        (endpoint.method, patterns[endpoint.route_name].replace("{id}", str(UUID(int=1))))
        for endpoint in application.registry.endpoints
        if endpoint.permission not in CUSTOMER
    ]


def test_what_is_closed_is_closed_to_guests_and_customers(
    application: Any, send: Callable[..., Response], sign_in: Callable[..., SignedIn]
) -> None:
    _, token = sign_in().client.authorization
    addresses = closed(application)
    assert len(addresses) >= 8
    for method, path in addresses:
        response = send(method, path, b"{}")
        assert_problem(response, 401, "unauthorized")
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert_problem(send(method, path, b"{}", HTTP_AUTHORIZATION=f"Bearer {token}"), 403, "forbidden")


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
