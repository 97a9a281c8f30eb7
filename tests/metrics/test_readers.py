"""Metrics tell how business goes: they are for those whom the settings name."""

from __future__ import annotations

from typing import Any

import pytest
from support.problems import assert_problem
from webtest import TestApp

TOKEN = "a-token-of-many-random-characters"


def status(application: Any, peer: str, **headers: str) -> int:
    environ = {"REMOTE_ADDR": peer, **{f"HTTP_{name}": value for name, value in headers.items()}}
    return TestApp(application, extra_environ=environ).get("/metrics", status="*").status_code


def test_by_default_nobody_reads_them(application: Any) -> None:
    assert status(application, "127.0.0.1") == 403
    answer = TestApp(application, extra_environ={"REMOTE_ADDR": "203.0.113.9"}).get("/metrics", status=403)
    assert_problem(answer, 403, "forbidden")
    assert "commerce_" not in answer.text


@pytest.mark.commerce(settings={"metrics.allowed": "10.0.0.0/8"})
def test_who_comes_from_an_allowed_network_reads_them(application: Any) -> None:
    assert status(application, "10.1.2.3") == 200
    assert status(application, "192.0.2.1") == 403


@pytest.mark.commerce(settings={"metrics.allowed": "10.0.0.0/8"})
def test_what_a_forgotten_proxy_passes_on_is_refused_though_the_proxy_is_allowed(application: Any) -> None:
    assert status(application, "10.1.2.3", X_FORWARDED_FOR="203.0.113.9") == 403
    assert status(application, "10.1.2.3", X_FORWARDED_FOR="10.9.9.9") == 403


@pytest.mark.commerce(settings={"metrics.allowed": "10.0.0.0/8", "api.trusted_proxies": "10.0.0.1"})
def test_behind_a_trusted_proxy_the_client_counts(application: Any) -> None:
    assert status(application, "10.0.0.1", X_FORWARDED_FOR="203.0.113.9") == 403
    assert status(application, "10.0.0.1", X_FORWARDED_FOR="10.9.9.9") == 200


@pytest.mark.commerce(settings={"metrics.token": TOKEN})
@pytest.mark.parametrize(
    ("header", "expected"),
    [(f"Bearer {TOKEN}", 200), (f"Bearer {TOKEN}x", 403), ("Bearer é", 403), (TOKEN, 403), ("", 403)],
)
def test_who_has_the_token_reads_them_from_anywhere(application: Any, header: str, expected: int) -> None:
    assert status(application, "203.0.113.9", AUTHORIZATION=header) == expected


@pytest.mark.commerce(settings={"metrics.token": TOKEN})
def test_the_token_opens_nothing_else(application: Any) -> None:
    client = TestApp(application, extra_environ={"HTTP_AUTHORIZATION": f"Bearer {TOKEN}"})
    client.get("/api/v1/admin/jobs", status=401)
