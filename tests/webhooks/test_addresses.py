"""Webhooks go to the public internet, and to nothing inside, whatever a URL or a name server says."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from urllib3.exceptions import HTTPError, SSLError
from webtest import TestApp

from commerce_core.testing import make_settings
from commerce_core.webhooks.addresses import AddressRefused, UnusableUrl, is_allowed, read_url
from commerce_core.webhooks.sending import Sender
from tests.webhooks.conftest import ENDPOINTS
from tests.webhooks.receiver import Receiver, running

CERTIFICATE = Path(__file__).with_name("hooks.test.pem")


class Names:
    """A name server whose answers change: each in turn, and then the last."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked.append(host)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]


def sender(names: Names, **given: str) -> Sender:
    settings = {
        f"webhooks.{name}": value
        for name, value in {"connect_timeout_seconds": "10", "read_timeout_seconds": "20", **given}.items()
    }
    return Sender(make_settings("postgresql://", settings), resolve=names)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "224.0.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2001::1",
        "2001:db8::1",
        "2002:a9fe:a9fe::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_what_is_not_public_is_refused(address: str) -> None:
    assert not is_allowed(ip_address(address), ())
    with pytest.raises(AddressRefused):
        sender(Names([address])).post("https://hooks.test/", b"", {})


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_what_is_public_is_allowed(address: str) -> None:
    assert is_allowed(ip_address(address), ())


def test_a_network_may_be_allowed() -> None:
    networks = (ip_network("10.1.0.0/16"),)
    assert is_allowed(ip_address("10.1.2.3"), networks)
    assert is_allowed(ip_address("::ffff:10.1.2.3"), networks)
    assert not is_allowed(ip_address("10.2.2.3"), networks)


def test_a_name_of_which_one_address_is_inside_is_refused(receiver: Receiver) -> None:
    names = Names(["127.0.0.1", "10.0.0.1"])
    with pytest.raises(AddressRefused):
        sender(names, allowed_networks="127.0.0.0/8").post(f"http://hooks.test:{receiver.server_port}/", b"", {})
    assert receiver.calls == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"])
def test_the_machine_itself_is_refused_however_it_is_written(receiver: Receiver, host: str) -> None:
    given = make_settings("postgresql://", {})
    with pytest.raises((AddressRefused, OSError)):
        Sender(given).post(f"http://{host}:{receiver.server_port}/", b"", {})
    assert receiver.calls == []


def test_a_name_is_looked_up_once_and_means_then_what_it_meant(receiver: Receiver) -> None:
    receiver.mischief.append(202)
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    port = receiver.server_port
    answer = sender(names, allowed_networks="127.0.0.0/8").post(f"http://hooks.test:{port}/a?b=c", b"{}", {})
    assert (answer.status, names.asked) == (202, ["hooks.test"])
    assert (receiver.calls[0]["host"], receiver.calls[0]["path"]) == (f"hooks.test:{port}", "/a?b=c")


def test_the_next_address_is_tried_where_there_is_no_way_to_the_first(receiver: Receiver) -> None:
    receiver.mischief.append(202)
    url = f"http://hooks.test:{receiver.server_port}/"
    answer = sender(Names(["127.0.0.2", "127.0.0.1"]), allowed_networks="127.0.0.0/8").post(url, b"{}", {})
    assert answer.status == 202


def test_the_certificate_has_to_be_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with running(CERTIFICATE) as receiver:
        receiver.mischief.append(202)
        local = sender(Names(["127.0.0.1"]), allowed_networks="127.0.0.0/8")
        assert local.post(f"https://hooks.test:{receiver.server_port}/", b"{}", {}).status == 202
        with pytest.raises(SSLError):
            local.post(f"https://other.test:{receiver.server_port}/", b"{}", {})
        assert len(receiver.calls) == 1


def test_a_certificate_that_nobody_vouches_for_is_not_believed() -> None:
    with running(CERTIFICATE) as receiver:
        local = sender(Names(["127.0.0.1"]), allowed_networks="127.0.0.0/8")
        with pytest.raises(HTTPError):
            local.post(f"https://hooks.test:{receiver.server_port}/", b"{}", {})
        assert receiver.calls == []


@pytest.mark.parametrize(
    "url",
    [
        "http://erp.example/",
        "ftp://erp.example/",
        "//erp.example/",
        "erp.example",
        "https://",
        "https://user@erp.example/",
        "https://user:password@erp.example/",
        "https://erp.example/#part",
        "https://erp.example/a b",
        "https://erp.example/\r\nX-Header: 1",
        "https://erp.example:99999/",
        "https://[::1/",
        "not a url",
    ],
)
def test_an_url_that_cannot_be_an_endpoints_is_refused(url: str) -> None:
    with pytest.raises(UnusableUrl):
        read_url(url, allow_http=False)


@pytest.mark.commerce(settings={"webhooks.allowed_networks": ""})
@pytest.mark.parametrize(
    "url", ["https://10.0.0.1/", "https://[::1]/", "https://169.254.169.254/", "gopher://x.example"]
)
def test_staff_are_told_at_once_what_is_known_at_once(staff: TestApp, url: str) -> None:
    answer = staff.post_json(ENDPOINTS, {"url": url, "topics": ["*"]}, status=422).json
    assert [error["field"] for error in answer["errors"]] == ["url"]


def test_a_name_that_leads_inside_is_told_nothing(
    desk: Callable[..., Any], receiver: Receiver, application: Any, run_jobs: Callable[[], int]
) -> None:
    endpoint = desk()
    endpoint.change(url="http://hooks.test/")
    application.registry.webhook_sender.resolve = Names(["169.254.169.254"])
    endpoint.ping()
    run_jobs()
    detail = endpoint.detail(endpoint.deliveries()[0])
    assert detail["log"][0]["error"].startswith("AddressRefused")
    assert "169.254" not in detail["log"][0]["error"]
