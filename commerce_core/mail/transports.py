"""How mail leaves the shop: by SMTP, or, in development, onto the console."""

from __future__ import annotations

import smtplib
import ssl
from contextlib import closing, suppress
from email.message import EmailMessage
from typing import Protocol

from commerce_core.settings import MailSettings


class MailRefused(Exception):
    """The mail server will never take this mail."""


class Transport(Protocol):
    """Carries one message. Raises MailRefused when there is no use in trying again, and anything else when there is."""

    # Whether the mail has gone to its reader, so that what it said may be forgotten here.
    leaves: bool

    def send(self, message: EmailMessage, to: str) -> None: ...


class ConsoleTransport:
    """Prints mails for developers."""

    leaves = False

    def send(self, message: EmailMessage, to: str) -> None:
        body = message.get_body(("plain",))
        assert body is not None
        print(f"\n=== Mail to {to}: {message['Subject']}\n{body.get_content()}===", flush=True)


class SmtpTransport:
    """Hands mails to an SMTP server, with a connection for each."""

    leaves = True

    def __init__(self, settings: MailSettings) -> None:
        self._settings = settings

    def send(self, message: EmailMessage, to: str) -> None:
        with closing(self._connect()) as client:
            try:
                client.send_message(message, self._settings.sender, [to])
            except smtplib.SMTPRecipientsRefused as refused:
                code, said = refused.recipients[to]
                raise _error_for(code, said) from refused
            except smtplib.SMTPDataError as refused:
                raise _error_for(refused.smtp_code, refused.smtp_error) from refused
            except smtplib.SMTPNotSupportedError as refused:
                raise MailRefused(str(refused)) from refused
            # It has been taken; what happens to the connection now is of no matter.
            with suppress(OSError):
                client.quit()

    def _connect(self) -> smtplib.SMTP:
        settings = self._settings
        assert settings.host is not None
        context = ssl.create_default_context()
        if settings.security == "tls":
            client: smtplib.SMTP = smtplib.SMTP_SSL(
                settings.host, settings.port, timeout=settings.timeout_seconds, context=context
            )
        else:
            client = smtplib.SMTP(settings.host, settings.port, timeout=settings.timeout_seconds)
        try:
            if settings.security == "starttls":
                client.starttls(context=context)
            if settings.username is not None:
                password = settings.password.get_secret_value() if settings.password else ""
                client.login(settings.username, password)
        except BaseException:
            client.close()
            raise
        return client


def make_transport(settings: MailSettings) -> Transport:
    """The transport that the settings name."""
    return SmtpTransport(settings) if settings.transport == "smtp" else ConsoleTransport()


def _error_for(code: int, said: bytes | str) -> Exception:
    """A refusal of this recipient or this message: 5xx is for good. (A wrong password, say, is not: that is mended.)"""
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    return MailRefused(f"{code} {text}") if 500 <= code < 600 else OSError(f"{code} {text}")
