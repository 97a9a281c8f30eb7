"""Delivering the outbox to mail servers that behave, and to those that do not."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from support.smtp import MailServer, mail_server

from commerce_core.database import transaction
from commerce_core.mail.delivery import deliver_mails
from commerce_core.mail.models import Mail
from commerce_core.mail.service import LEASE, RETRY_AFTER, claim_mail, forget_sent_mails, queue_mail
from commerce_core.mail.transports import ConsoleTransport, SmtpTransport
from commerce_core.settings import MailSettings
from commerce_core.testing import StoppedClock, concurrently

CONTEXT = {"token": "s3cr3t-code", "url": None, "minutes": 60}
Deliver = Callable[..., int]


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


def smtp_settings(port: int, **changes: Any) -> MailSettings:
    # A machine that is busy must not look like a server that does not answer.
    values = {"transport": "smtp", "host": "127.0.0.1", "port": port, "security": "none", "timeout_seconds": 60}
    return MailSettings(**{**values, "sender": "shop@shop.example", "shop_name": 'Ada\'s "Shop", Ltd', **changes})


@pytest.fixture
def deliver(engine: Engine, server: MailServer, clock: StoppedClock) -> Deliver:
    def run(**changes: Any) -> int:
        settings = smtp_settings(**{"port": server.port, **changes})
        return deliver_mails(engine, SmtpTransport(settings), settings, now=clock.now())

    return run


@pytest.fixture
def write(engine: Engine, clock: StoppedClock) -> Callable[..., None]:
    def write(to: str = "ada@example.com", **values: Any) -> None:
        with transaction(engine) as session:
            mail = {"template": "password-reset", "context": CONTEXT, "locale": "en_US", **values}
            queue_mail(session, to=to, now=clock.now(), **mail)

    return write


def only_mail(engine: Engine) -> Mail:
    with Session(engine) as session:
        return session.query(Mail).one()


def test_a_mail_arrives_as_text_and_html_and_what_it_said_is_forgotten(
    engine: Engine, server: MailServer, deliver: Deliver, write: Callable[..., None]
) -> None:
    write()
    assert deliver() == 1
    ((to, message),) = server.received
    mail = only_mail(engine)
    assert (to, message["To"], message["From"]) == (
        "ada@example.com", "ada@example.com", '"Ada\'s \\"Shop\\", Ltd" <shop@shop.example>'
    )  # fmt: skip
    assert message["Message-ID"] == f"<{mail.id}@shop.example>"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]  # type: ignore[attr-defined]
    assert all("s3cr3t-code" in part.get_content() for part in message.iter_parts())  # type: ignore[attr-defined]
    assert (mail.state, mail.context, mail.attempts) == ("sent", None, 1)
    assert deliver() == 0


@pytest.mark.parametrize("behaviour", ["hang", "4xx", "4xx data", "die", "no service"])
def test_what_may_pass_is_tried_again(
    engine: Engine,
    server: MailServer,
    deliver: Deliver,
    write: Callable[..., None],
    clock: StoppedClock,
    behaviour: str,
) -> None:
    server.behaviours.append(behaviour)
    write()
    assert deliver(**({"timeout_seconds": 0.3} if behaviour == "hang" else {})) == 0
    mail = only_mail(engine)
    assert (mail.state, mail.attempts, mail.next_attempt_at) == ("waiting", 1, clock.now() + RETRY_AFTER[0])
    assert mail.last_error
    assert deliver() == 0  # not yet
    clock.tick(seconds=10)
    assert deliver() == 1
    assert (only_mail(engine).state, only_mail(engine).last_error, len(server.received)) == ("sent", None, 1)


@pytest.mark.parametrize("behaviour", ["5xx", "5xx data"])
def test_what_is_refused_for_good_has_failed_and_is_kept(
    engine: Engine,
    server: MailServer,
    deliver: Deliver,
    write: Callable[..., None],
    clock: StoppedClock,
    behaviour: str,
) -> None:
    server.behaviours.append(behaviour)
    write()
    assert deliver() == 0
    mail = only_mail(engine)
    assert mail.state == "failed"
    assert "55" in str(mail.last_error)
    clock.tick(days=1)
    assert (deliver(), server.connections) == (0, 1)


def test_a_mail_that_was_taken_is_not_sent_again_because_the_server_hung_up(
    engine: Engine, server: MailServer, deliver: Deliver, write: Callable[..., None]
) -> None:
    server.behaviours.append("die after")
    write()
    assert (deliver(), only_mail(engine).state) == (1, "sent")


def test_a_wrong_password_of_ours_loses_no_mail(
    engine: Engine, server: MailServer, deliver: Deliver, write: Callable[..., None], clock: StoppedClock
) -> None:
    server.behaviours.append("wrong password")
    write()
    assert deliver(username="shop", password="given") == 0
    assert only_mail(engine).state == "waiting"
    clock.tick(seconds=10)
    assert deliver(username="shop", password="given") == 1
    assert server.signed_in == ["\0shop\0given"] * 2


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_where_encryption_is_asked_for_nothing_is_said_without(
    engine: Engine, server: MailServer, deliver: Deliver, write: Callable[..., None], security: str
) -> None:
    """The server knows no TLS, as one would seem to whose answers somebody on the way has changed."""
    write()
    assert deliver(security=security, username="shop", password="given") == 0
    assert (only_mail(engine).state, server.signed_in, server.received) == ("waiting", [], [])


def test_it_gives_up_after_six_attempts(
    engine: Engine, deliver: Deliver, write: Callable[..., None], clock: StoppedClock
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen: the connection is refused
        port = nobody.getsockname()[1]
        write()
        waits = []
        while (mail := only_mail(engine)).state == "waiting":
            waits.append((mail.next_attempt_at - clock.now()).total_seconds())
            clock.tick(seconds=waits[-1])
            deliver(port=port)
    assert waits == [0, 10, 60, 300, 1_800, 7_200]
    assert (mail.state, mail.attempts) == ("failed", 6)
    assert "refused" in str(mail.last_error)


def test_one_bad_mail_keeps_no_other_waiting(
    engine: Engine, server: MailServer, deliver: Deliver, write: Callable[..., None]
) -> None:
    write("first@example.com", template="there is none of this name")
    write("second@example.com", context={})  # the template wants more
    write("third@example.com")
    assert deliver() == 1
    assert [to for to, _ in server.received] == ["third@example.com"]


def test_nothing_breaks_out_of_a_header(
    engine: Engine, server: MailServer, deliver: Deliver, write: Callable[..., None], tmp_path: Any
) -> None:
    for address in ("a@b.co\r\nBcc: eve@example.com", "a@b.co eve@example.com", "a@b.co\x00"):
        with pytest.raises(ValueError, match="single word"):
            write(address)
    (tmp_path / "evil.txt").write_text("Hello ${name}\n\nBody")
    write(template="evil", context={"name": "Ada\r\nBcc: eve@example.com\r\n\r\nBuy this"})
    # What the address means as a header must not be what it means to the server.
    write("a@b.co,eve@example.com", template="evil", context={"name": "x"})
    assert deliver(templates=str(tmp_path)) == 1
    ((to, message),) = server.received
    assert (to, message["Bcc"], message["Subject"]) == (
        "ada@example.com", None, "Hello Ada"
    )  # fmt: skip


def test_a_mail_whose_transaction_is_rolled_back_is_never_sent(
    engine: Engine, server: MailServer, deliver: Deliver, clock: StoppedClock
) -> None:
    with Session(engine) as session:
        queue_mail(session, template="invitation", to="a@b.co", context={}, locale="en", now=clock.now())
        session.rollback()
    assert (deliver(), server.connections) == (0, 0)


def test_no_database_lock_is_held_while_the_server_is_talked_to(
    engine: Engine, write: Callable[..., None], clock: StoppedClock
) -> None:
    write()
    open_transactions = []

    class Watching(ConsoleTransport):
        def send(self, message: Any, to: str) -> None:
            open_transactions.append(engine.pool.checkedout())  # type: ignore[attr-defined]
            with engine.begin() as connection:
                connection.exec_driver_sql("SELECT 1 FROM mail FOR UPDATE NOWAIT")

    settings = smtp_settings(1)
    assert deliver_mails(engine, Watching(), settings, now=clock.now()) == 1
    assert open_transactions == [0]


def test_many_deliverers_send_each_mail_once(server: MailServer, deliver: Deliver, write: Callable[..., None]) -> None:
    for n in range(20):
        write(f"user{n}@example.com")
    assert sum(concurrently([deliver] * 4)) == 20  # type: ignore[arg-type]
    assert sorted(to for to, _ in server.received) == sorted(f"user{n}@example.com" for n in range(20))


def test_a_mail_whose_deliverer_died_is_tried_again_but_not_forever(
    engine: Engine, server: MailServer, deliver: Deliver, write: Callable[..., None], clock: StoppedClock
) -> None:
    write()
    for attempt in range(1, 7):
        with transaction(engine) as session:
            claimed = claim_mail(session, now=clock.now())
        assert claimed is not None
        assert claimed.attempt == attempt
        assert deliver() == 0  # it is somebody else's
        clock.tick(seconds=LEASE.total_seconds())
    assert (deliver(), only_mail(engine).state, server.connections) == (0, "failed", 0)


def test_whoever_comes_late_does_not_undo_what_the_next_has_done(
    engine: Engine, server: MailServer, deliver: Deliver, write: Callable[..., None], clock: StoppedClock
) -> None:
    from commerce_core.mail.service import mark_undelivered

    write()
    with transaction(engine) as session:
        slow = claim_mail(session, now=clock.now())
    assert slow is not None
    clock.tick(seconds=LEASE.total_seconds())
    assert deliver() == 1
    with transaction(engine) as session:
        mark_undelivered(session, slow, "too late", now=clock.now(), for_good=True)
    assert only_mail(engine).state == "sent"


def test_sent_mails_are_forgotten_after_a_while_and_failed_ones_kept(
    engine: Engine, server: MailServer, deliver: Deliver, write: Callable[..., None], clock: StoppedClock
) -> None:
    server.behaviours.append("5xx")
    write("failed@example.com")
    deliver()
    write("sent@example.com")
    deliver()
    clock.tick(days=31)
    with transaction(engine) as session:
        assert forget_sent_mails(session, now=clock.now(), days=30) == 1
    assert only_mail(engine).recipient == "failed@example.com"


def test_the_console_shows_the_mail_and_keeps_it(
    engine: Engine, write: Callable[..., None], clock: StoppedClock, capsys: pytest.CaptureFixture[str]
) -> None:
    write()
    assert deliver_mails(engine, ConsoleTransport(), MailSettings(), now=clock.now()) == 1
    printed = capsys.readouterr().out
    assert "Mail to ada@example.com: Set a new password for Shop" in printed
    assert "    s3cr3t-code\n" in printed
    assert only_mail(engine).context == CONTEXT
