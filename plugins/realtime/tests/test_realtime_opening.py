"""The protocol's checklist, P1 to P12: how a connection begins."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from realtime_harness import Client, Running, all_of, frame
from websockets.exceptions import InvalidStatus

Connect = Callable[..., Client]
Start = Callable[..., Running]


def test_p01_the_address_is_app_and_key_behind_a_prefix(server: Running, start: Start) -> None:
    with server.connect() as client:
        client.established()
    prefixed = start(prefix="/ws")
    with pytest.raises(InvalidStatus) as refused:
        prefixed.connect()
    assert refused.value.response.status_code == 404
    with prefixed.connect(prefix="/ws") as client:
        client.established()


def test_p02_p03_the_first_frame_says_hello_with_data_as_text(server: Running) -> None:
    with server.connect() as client:
        first = client.raw()
    assert first["event"] == "pusher:connection_established"
    assert isinstance(first["data"], str)
    assert re.fullmatch(r'{"socket_id":"[0-9]+[.][0-9]+","activity_timeout":30}', first["data"])


def test_p04_ids_of_sockets_are_random_and_never_the_same(client: Connect) -> None:
    ids = [client().id for _ in range(20)]
    assert all(re.fullmatch(r"[0-9]+[.][0-9]+", each) for each in ids)
    assert len(set(ids)) == 20
    assert sorted(ids) != ids  # no counter


def test_p05_clients_are_told_when_to_ask_whether_the_server_is_there(start: Start) -> None:
    with start(activity_timeout=7).connect() as client:
        assert client.next("pusher:connection_established")["activity_timeout"] == 7


def test_p06_an_unknown_key_is_4001_as_error_and_as_close(server: Running) -> None:
    with server.connect("nobody") as client:
        assert client.next("pusher:error")["code"] == 4001
        assert client.closed() == 4001


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", 4008),
        ("protocol=4", 4007),
        ("protocol=8", 4007),
        ("protocol=seven", 4007),
        ("protocol=7&version=newest", 4006),
    ],
)
def test_p07_protocol_and_version_are_looked_at(server: Running, query: str, code: int) -> None:
    with server.connect(query=query) as client:
        assert client.next("pusher:error")["code"] == code
        assert client.closed() == code


@pytest.mark.parametrize("protocol", [5, 6, 7])
def test_p07_protocols_five_to_seven_are_spoken(server: Running, protocol: int) -> None:
    with server.connect(query=f"protocol={protocol}") as client:
        client.established()


def test_p08_other_origins_are_4009_and_nothing_they_say_is_heard(start: Start) -> None:
    server = start(allowed_origins="shop.example *.partner.example", allow_no_origin="false")
    for origin in ("https://shop.example", "https://SHOP.example:8443", "http://a.b.partner.example"):
        with server.connect(origin=origin) as client:
            client.established()
    for origin in ("https://shop.example.evil.test", "https://partner.example", "null", "https://[", None):
        with server.connect(origin=origin) as client:
            assert client.next("pusher:error")["code"] == 4009
            assert client.closed() == 4009


@pytest.mark.usefixtures("curt")
def test_p08_a_client_that_was_refused_can_do_nothing(start: Start) -> None:
    server = start(allowed_origins="shop.example")
    with server.raw_websocket("Origin: https://evil.test") as raw:
        raw.sendall(frame(b'{"event":"pusher:subscribe","data":{"channel":"inventory"}}'))
        assert b"subscription_succeeded" not in all_of(raw)
    assert server.call(lambda: server.server.apps["1"].channels) == {}


def test_p09_p10_too_many_connections_are_answered_503_also_without_subscriptions(start: Start) -> None:
    server = start(max_connections=2)
    with server.connect() as first, server.connect() as second:
        first.established()
        second.established()
        with pytest.raises(InvalidStatus) as refused:
            server.connect()
        assert refused.value.response.status_code == 503
        assert int(refused.value.response.headers["Retry-After"]) > 0
    server.wait_until(lambda: not server.server.connections)
    with server.connect() as third:
        third.established()


def test_p11_other_paths_are_404(server: Running) -> None:
    for path in ("/", "/app", "/appx/shop", "/apps", "/robots.txt", "/app/shop/more"):
        assert server.get(path).status == 404
    with pytest.raises(InvalidStatus) as refused:
        server.connect(prefix="/elsewhere")
    assert refused.value.response.status_code == 404


def test_p12_who_connects_and_says_nothing_is_cut(start: Start) -> None:
    server = start(open_seconds=0.1)
    with server.raw() as silent, server.raw() as slow:
        slow.sendall(b"GET /app/shop?protocol=7 HTTP/1.1\r\nHost:")
        assert all_of(silent) == b""
        assert all_of(slow) == b""


def test_p12_a_head_of_more_than_8_kb_is_431(server: Running) -> None:
    for ending in (b"", b"\r\n\r\n"):
        with server.raw() as raw:
            raw.sendall(b"GET /app/shop?protocol=7 HTTP/1.1\r\nX: " + b"x" * 9_000 + ending)
            assert raw.recv(100).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("event_loop", ["uvloop", "asyncio"])
def test_tls_is_spoken_where_there_is_a_certificate(event_loop: str, start: Start, tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    server = start(event_loop=event_loop, certificate=str(certificate), certificate_key=str(key))
    trust = ssl.create_default_context(cafile=certificate)
    with server.connect(scheme="wss", host="localhost", ssl=trust) as client:
        client.established()
        client.subscribed("news")
    with server.raw() as raw:  # who does not speak it hurts nobody
        raw.sendall(b"GET /up HTTP/1.1\r\n\r\n")
        assert b"200 OK" not in all_of(raw)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost, and its key."""
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(secret, hashes.SHA256())
    )
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate, key
