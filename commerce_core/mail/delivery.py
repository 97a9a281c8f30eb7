"""Delivering the outbox: claim a mail, commit, hand it over, write down what became of it.

No transaction is open while a mail server is talked to. A mail is delivered at least once: who dies between handing it
over and saying so leaves it to be sent again, with the same Message-ID, by which readers' mail programs know it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Literal

import structlog
from sqlalchemy import Engine

from commerce_core.database import transaction
from commerce_core.log import first_line
from commerce_core.mail.service import ClaimedMail, claim_mail, mark_sent, mark_undelivered
from commerce_core.mail.templates import Letter, Templates
from commerce_core.mail.transports import MailRefused, Transport
from commerce_core.settings import MailSettings

_log = structlog.get_logger("commerce.mail")
# A round ends in time to see to what has become due meanwhile.
MOST_IN_A_ROUND = 500


def deliver_mails(
    engine: Engine,
    transport: Transport,
    settings: MailSettings,
    *,
    now: datetime,
    templates: Iterable[str] = (),
    stop: Callable[[], bool] = lambda: False,
    count: Callable[[str], None] = lambda outcome: None,
) -> int:
    """Deliver what is due at `now`; how many were sent. Any number may do so at once; `stop` ends it between two.

    `templates` are the folders of plugins. `count` is told of each mail: `sent`, `delayed` or `failed`.
    """
    known = Templates(settings, templates)
    sent = 0
    for _ in range(MOST_IN_A_ROUND):
        if stop():
            break
        with transaction(engine) as session:
            mail = claim_mail(session, now=now)
        if mail is None:
            break
        outcome = deliver(engine, transport, known, settings, mail, now=now)
        count(outcome)
        sent += outcome == "sent"
    return sent


def deliver(
    engine: Engine,
    transport: Transport,
    templates: Templates,
    settings: MailSettings,
    mail: ClaimedMail,
    *,
    now: datetime,
) -> Literal["sent", "delayed", "failed"]:
    """Hand one claimed mail over and write down what became of it."""
    try:
        letter = templates.write(mail.template, mail.context, mail.locale)
        transport.send(compose(mail, letter, settings), mail.recipient)
    except Exception as error:
        # Neither the address nor what was said: logs are read by many. Both are in the outbox.
        described = f"{type(error).__name__}: {first_line(error)}"
        with transaction(engine) as session:
            again = mark_undelivered(session, mail, described, now=now, for_good=isinstance(error, MailRefused))
        outcome: Literal["delayed", "failed"] = "delayed" if again else "failed"
        _log.warning(
            f"mail {outcome}",
            mail_id=str(mail.id),
            template=mail.template,
            attempt=mail.attempt,
            error=type(error).__name__,
        )
        return outcome
    with transaction(engine) as session:
        mark_sent(session, mail, now=now, erase=transport.leaves)
    return "sent"


def compose(mail: ClaimedMail, letter: Letter, settings: MailSettings) -> EmailMessage:
    """The message. Raises ValueError when anything would break out of its header."""
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(settings.shop_name, addr_spec=settings.sender)
    message["To"] = Address(addr_spec=mail.recipient)
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(mail.created_at)
    message["Message-ID"] = f"<{mail.id}@{settings.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    if letter.html is not None:
        message.add_alternative(letter.html, subtype="html")
    return message
