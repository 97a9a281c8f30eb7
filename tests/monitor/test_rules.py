"""Each rule fires when something is wrong, and is well again when it is not; and nobody is told of it twice."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from commerce_core.database import transaction
from commerce_core.jobs.models import Job
from commerce_core.metrics import REQUEST_SECONDS
from commerce_core.monitor.models import Alert, HostState, TrafficMinute
from commerce_core.monitor.rules import RULES, RULES_BY_NAME, Finding, check
from commerce_core.monitor.service import open_alerts, record_findings
from commerce_core.payments.models import WebhookEvent
from commerce_core.settings import MonitorSettings
from commerce_core.testing import StoppedClock
from commerce_core.webhooks.models import WebhookDelivery, WebhookEndpoint
from commerce_core.webhooks.service import ping
from commerce_core.webhooks.signing import make_secret

Wrong = Callable[[Session, datetime], None]


def answered(requests: int, errors: int, bucket: int) -> Wrong:
    def write(session: Session, now: datetime) -> None:
        minute = now.replace(second=0, microsecond=0)
        session.add(TrafficMinute(minute=minute, bucket=bucket, requests=requests, errors=errors))

    return write


def a_job(state: str, *, age: timedelta, count: int = 1) -> Wrong:
    def write(session: Session, now: datetime) -> None:
        session.add_all(
            Job(name="test", queue="default", state=state, run_at=now - age, created_at=now - age) for _ in range(count)
        )

    return write


def a_webhook(session: Session, now: datetime) -> None:
    event = WebhookEvent(provider="stripe", event_id="evt_1", body=b"{}", payload={}, state="unmatched")
    event.received_at = now - timedelta(hours=1)
    session.add(event)


def a_delivery(session: Session, now: datetime) -> None:
    endpoint = WebhookEndpoint(url="https://erp.example/in?key=1", topics=["*"], secret=make_secret(), created_at=now)
    session.add(endpoint)
    session.flush()
    ping(session, endpoint, now=now - timedelta(days=1))
    session.execute(text("UPDATE webhook_delivery SET created_at = :then"), {"then": now - timedelta(days=1)})


def a_counter(session: Session, now: datetime) -> None:
    session.execute(text("UPDATE stock_level SET on_hand = on_hand + 1"))


def full(what: str) -> Wrong:
    return lambda session, now: session.add(HostState(host="web-1", what=what, percent=97.0, seen_at=now))


def gone(*tables: type) -> Wrong:
    def write(session: Session, now: datetime) -> None:
        for table in tables:
            session.query(table).delete()

    return write


# What is wrong, whose fault it is, and what mends it.
CASES: dict[str, tuple[Wrong, str, Wrong]] = {
    "error-rate": (answered(1_000, 20, 3), "shop", gone(TrafficMinute)),
    "slow-requests": (answered(1_000, 0, len(REQUEST_SECONDS)), "shop", gone(TrafficMinute)),
    "queue-depth": (a_job("waiting", age=timedelta(seconds=1), count=12), "default", gone(Job)),
    "queue-wait": (a_job("waiting", age=timedelta(minutes=10)), "default", gone(Job)),
    "dead-jobs": (a_job("dead", age=timedelta(minutes=10)), "default", gone(Job)),
    "webhook-age": (a_webhook, "stripe", gone(WebhookEvent)),
    "delivery-age": (a_delivery, "https://erp.example/in", gone(WebhookDelivery)),
    "stock-verify": (
        a_counter,
        "shop",
        lambda session, now: session.execute(text("UPDATE stock_level SET on_hand = on_hand - 1")) and None,
    ),
    "disk": (full("disk /srv"), "web-1 disk /srv", gone(HostState)),
    "memory": (full("memory"), "web-1 memory", gone(HostState)),
}
SETTINGS = MonitorSettings(queue_jobs=10)


def test_there_is_a_case_and_a_runbook_for_every_rule() -> None:
    assert CASES.keys() | {"certificate"} == RULES_BY_NAME.keys()
    runbooks = (Path(__file__).parents[2] / "docs" / "runbooks.md").read_text()
    assert all(f"\n## {name}\n" in runbooks for name in RULES_BY_NAME)


def look(engine: Engine, name: str, now: datetime, settings: MonitorSettings = SETTINGS) -> list[Finding]:
    findings, asked = check(engine, settings, now=now, rules=[RULES_BY_NAME[name]])
    assert [rule.name for rule in asked] == [name]
    return findings


def fires_and_recovers(
    engine: Engine,
    clock: StoppedClock,
    name: str,
    subject: str,
    settings: MonitorSettings,
    mend: Callable[[], None],
) -> None:
    rule = RULES_BY_NAME[name]

    def step() -> list[Alert]:
        clock.tick(seconds=1)
        findings = look(engine, name, clock.now(), settings)
        with Session(engine, expire_on_commit=False) as session, session.begin():
            return record_findings(session, findings, [rule], good_checks=settings.good_checks, now=clock.now())

    [fired] = step()
    assert (fired.rule, fired.subject, fired.severity, fired.recovered_at) == (name, subject, rule.severity, None)
    assert fired.summary
    assert step() == []  # it is known
    with Session(engine) as session:
        assert [alert.subject for alert in open_alerts(session)] == [subject]
    mend()
    if not rule.at_once:
        assert step() == []  # it may only waver
    [recovered] = step()
    assert (recovered.id, recovered.recovered_at) == (fired.id, clock.now())
    assert step() == []


def test_a_webhook_that_is_given_up_is_not_well_again_and_hides_no_other(engine: Engine, clock: StoppedClock) -> None:
    with transaction(engine) as session:
        a_webhook(session, clock.now())
    assert [finding.subject for finding in look(engine, "webhook-age", clock.now()) if finding.fires] == ["stripe"]
    with transaction(engine) as session:
        session.execute(text("UPDATE webhook_event SET state = 'dead'"))
    assert [finding.subject for finding in look(engine, "webhook-age", clock.now()) if finding.fires] == ["stripe dead"]


@pytest.mark.parametrize("name", CASES)
def test_it_fires_once_and_recovers(
    name: str, engine: Engine, clock: StoppedClock, make_variant: Callable[..., UUID]
) -> None:
    make_variant(stock=3)
    wrong, subject, mend = CASES[name]
    assert not any(finding.fires for finding in look(engine, name, clock.now()))

    def write(change: Wrong) -> None:
        with transaction(engine) as session:
            change(session, clock.now())

    write(wrong)
    fires_and_recovers(engine, clock, name, subject, SETTINGS, lambda: write(mend))


def test_at_zero_a_rule_is_off_and_who_cannot_be_measured_is_not_well(engine: Engine, clock: StoppedClock) -> None:
    off = MonitorSettings(queue_wait_seconds=0)
    with transaction(engine) as session:
        a_job("waiting", age=timedelta(hours=1))(session, clock.now())
    assert look(engine, "queue-wait", clock.now(), off) == []
    nobody = MonitorSettings(certificates=("127.0.0.1:9",))
    findings, asked = check(engine, nobody, now=clock.now(), rules=RULES)
    assert [finding.value for finding in findings if finding.rule.name == "certificate"] == [None]
    assert "certificate" not in {rule.name for rule in asked}


def test_alerts_of_what_cannot_be_measured_stay(engine: Engine, clock: StoppedClock) -> None:
    rule = RULES_BY_NAME["dead-jobs"]
    with transaction(engine) as session:
        a_job("dead", age=timedelta(0))(session, clock.now())
    findings = look(engine, rule.name, clock.now())
    with transaction(engine) as session:
        assert len(record_findings(session, findings, [rule], good_checks=1, now=clock.now())) == 1
        assert record_findings(session, [], [], good_checks=1, now=clock.now()) == []
        assert len(open_alerts(session)) == 1


# --- Certificates, of a server that speaks TLS ---


def certificate(folder: Path, days: float) -> tuple[Path, Path]:
    """One for localhost that is good for so long, and its key."""
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(secret, hashes.SHA256())
    )
    chain, key = folder / f"{days}.pem", folder / f"{days}.key"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return chain, key


@contextmanager
def speaking_tls(context: list[ssl.SSLContext]) -> Iterator[int]:
    """A server that shakes hands, with the last of these, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stopped = threading.Event()

        def serve() -> None:
            while not stopped.is_set():
                plain, _ = listener.accept()
                try:
                    with context[-1].wrap_socket(plain, server_side=True) as secured:
                        secured.recv(1)
                except OSError:
                    plain.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        try:
            yield port
        finally:
            stopped.set()
            with socket.create_connection(("127.0.0.1", port)):
                pass
            thread.join()


def test_a_certificate_that_expires_or_is_not_accepted(tmp_path: Path, engine: Engine, clock: StoppedClock) -> None:
    clock_now = datetime.now(UTC)
    contexts: list[ssl.SSLContext] = []
    authority = tmp_path / "authority.pem"

    def renew(days: float, *, trusted: bool = True) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        chain, key = certificate(tmp_path, days)
        context.load_cert_chain(chain, key)
        contexts.append(context)
        if trusted:
            authority.write_bytes(chain.read_bytes())

    renew(5)
    with speaking_tls(contexts) as port:
        settings = MonitorSettings(certificates=(f"localhost:{port}",), certificate_authority=str(authority))
        [expires] = look(engine, "certificate", clock_now, settings)
        assert expires.fires
        assert expires.value == pytest.approx(5, abs=0.01)
        renew(60)
        [renewed] = look(engine, "certificate", clock_now, settings)
        assert not renewed.fires
        renew(61, trusted=False)
        [refused] = look(engine, "certificate", clock_now, settings)
        assert refused.fires
        assert "is not accepted" in refused.text


def test_what_is_answered_is_seen_by_the_rules(application: Any, client: Any, engine: Engine) -> None:
    """From the request to the rule: each process writes down what it has answered."""
    application.registry.traffic.take()  # what other tests have asked of the same application
    for _ in range(60):
        client.get("/api/v1/products")
    application.registry.pulse.beat()
    with Session(engine) as session:
        counted = session.scalar(text("SELECT sum(requests) FROM traffic_minute"))
        hosts = session.scalars(text("SELECT what FROM host_state")).all()
    assert counted == 60
    assert "memory" in hosts
    assert "disk /" in hosts
    [finding] = look(engine, "error-rate", application.registry.clock.now())
    assert (finding.value, finding.fires) == (0.0, False)
