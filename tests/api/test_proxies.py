"""Behind proxies: headers about the client are believed as far as our own proxies have written them, and no further."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs
from webob import Response
from webtest import TestApp

from commerce_core.api.proxies import TrustedProxies
from commerce_core.settings import ApiSettings, SettingsError, parse_settings

BRANDS = "/api/v1/brands"
PROXIES = TrustedProxies([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("203.0.113.1", "", "203.0.113.1"),
        ("203.0.113.1", "192.0.2.1", "203.0.113.1"),  # anybody can write that
        ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.9, 192.0.2.1", "192.0.2.1"),  # the client made up the first
        ("10.0.0.1", "198.51.100.9, 192.0.2.1, 10.0.0.2,10.0.0.3", "192.0.2.1"),
        ("10.0.0.1", "10.0.0.9, 192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "10.0.0.8, 10.0.0.9", "10.0.0.8"),  # somebody inside
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1, garbage", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1, garbage, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "garbage, 192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "192.0.2.1,", "10.0.0.1"),
        ("10.0.0.1", " , ,, ", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1:49152", "192.0.2.1"),
        ("10.0.0.1", "[2001:db8::1]:49152", "2001:db8::1"),
        ("10.0.0.1", "[2001:db8::1]", "2001:db8::1"),
        ("10.0.0.1", "2001:DB8:0::1", "2001:db8::1"),
        ("10.0.0.1", "fe80::1%eth0", "fe80::1"),
        ("10.0.0.1", "::ffff:192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "1.2.3", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.01", "10.0.0.1"),
        ("10.0.0.1", "٣.2.3.4", "10.0.0.1"),
        ("10.0.0.1", "é\x00", "10.0.0.1"),
        ("10.0.0.1", ", " * 10_000, "10.0.0.1"),
        ("::ffff:10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("fd00::1", "192.0.2.1", "192.0.2.1"),
        ("", "192.0.2.1", ""),  # a unix socket
        ("nonsense", "192.0.2.1", "nonsense"),
    ],
)
def test_the_client_is_the_last_that_is_no_proxy_of_ours(peer: str, forwarded_for: str, client: str) -> None:
    assert PROXIES.client(peer, forwarded_for) == client


def test_nobody_is_trusted_unless_the_settings_say_so() -> None:
    assert TrustedProxies(()).client("10.0.0.1", "192.0.2.1") == "10.0.0.1"
    assert ApiSettings().trusted_proxies == ()


def test_a_proxy_that_was_forgotten_in_the_settings_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commerce_core.api.proxies._log", structlog.get_logger())
    proxies = TrustedProxies(())
    with capture_logs() as logs:
        for peer in ("203.0.113.1", "nonsense", "", "10.0.0.1", "10.0.0.1", "127.0.0.1"):
            proxies.client(peer, "192.0.2.1")
        PROXIES.client("10.0.0.1", "192.0.2.1")
    assert [(entry["log_level"], entry["peer"]) for entry in logs] == [("warning", "10.0.0.1")]


@pytest.mark.parametrize("networks", ["10.0.0.1/8", "proxy.example", "10.0.0.0/8; 10.1.0.0/16", "10.0.0.0/33"])
def test_networks_that_cannot_be_read_stop_the_process(networks: str) -> None:
    with pytest.raises(SettingsError, match=r"api\.trusted_proxies"):
        parse_settings({"sqlalchemy.url": "postgresql://db/shop", "api.trusted_proxies": networks}, environ={})


behind_a_proxy = pytest.mark.commerce(
    settings={"api.trusted_proxies": "10.0.0.0/8, fd00::/8", "limits.default": "1/minute", "log.level": "info"}
)


@behind_a_proxy
def test_limits_and_logs_are_about_the_client(send: Callable[..., Response], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commerce_core.api.requests._log", structlog.get_logger())  # one that no other test has used
    with capture_logs() as logs:
        for client, status in [("192.0.2.1", 200), ("192.0.2.2", 200), ("192.0.2.1", 429), ("8.8.8.8, 192.0.2.1", 429)]:
            answer = send("GET", BRANDS, REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=client)
            assert answer.status_code == status
    assert [entry["client"] for entry in logs if entry["event"] == "request"] == [
        "192.0.2.1",
        "192.0.2.2",
        "192.0.2.1",
        "192.0.2.1",
    ]


@behind_a_proxy
def test_making_up_a_chain_of_proxies_does_not_help(send: Callable[..., Response]) -> None:
    for number in range(20):
        made_up = f"192.0.2.{number}, 10.0.0.{number}, 203.0.113.1"
        answer = send("GET", BRANDS, REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=made_up)
        assert answer.status_code == (429 if number else 200)


@pytest.mark.commerce(settings={"api.trusted_proxies": "10.0.0.0/8"})
@pytest.mark.parametrize(
    ("peer", "given", "scheme"),
    [
        ("10.0.0.1", "https", "https"),
        ("10.0.0.1", "http, HTTPS", "https"),
        ("10.0.0.1", "gopher", "http"),
        ("10.0.0.1", "https://evil.example", "http"),
        ("203.0.113.1", "https", "http"),
        ("", "https", "http"),
    ],
)
def test_the_scheme_is_what_our_proxy_says(application: Any, peer: str, given: str, scheme: str) -> None:
    environ = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_PROTO": given}
    request = application.request_factory.blank("/healthz", environ=environ)
    request.get_response(application)
    assert request.scheme == scheme


def test_guests_without_a_token_share_no_idempotency_keys_across_addresses(client: TestApp, make_variant: Any) -> None:
    variant_id = str(make_variant())
    ids = [
        client.post_json(
            "/api/v1/holds",
            {"variant_id": variant_id, "quantity": 1},
            headers={"Idempotency-Key": "the-same"},
            extra_environ={"REMOTE_ADDR": address},
        ).json["id"]
        for address in ("203.0.113.1", "203.0.113.2", "203.0.113.1", "::ffff:203.0.113.1")
    ]
    assert ids[0] == ids[2] == ids[3] != ids[1]
