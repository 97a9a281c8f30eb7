"""Where alerts are told: a Slack-compatible webhook, PagerDuty's Events API v2, and mail.

A channel sends one notice and raises when it could not: the job that asked it tries again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

import orjson
import urllib3
from sqlalchemy.orm import Session

from commerce_core.jobs.kinds import Fatal, Retry
from commerce_core.mail.service import queue_mail
from commerce_core.monitor.models import Alert
from commerce_core.monitor.rules import RULES_BY_NAME
from commerce_core.settings import CoreSettings

_TIMEOUT = urllib3.Timeout(connect=5, read=10)
_LONGEST_ANSWER = 4_096
_LONGEST_WAIT_SECONDS = 3_600
_COLOURS = {"critical": "#b00020", "error": "#d9480f", "warning": "#e0a800"}
_WELL = "#2b8a3e"
# PagerDuty takes no longer ones.
_LONGEST_SUMMARY = 1_024
_LONGEST_KEY = 255

What = Literal["fired", "recovered"]


@dataclass(frozen=True, slots=True)
class Notice:
    """What is to be told of an alert. `key` is the same when it fires and when it has recovered."""

    what: What
    key: str
    rule: str
    title: str
    subject: str
    severity: str
    summary: str
    value: float
    threshold: float
    fired_at: datetime
    recovered_at: datetime | None
    shop: str
    runbook: str

    @classmethod
    def of(cls, alert: Alert, what: What, settings: CoreSettings) -> Notice:
        rule = RULES_BY_NAME.get(alert.rule)
        return cls(
            what=what,
            key=f"commerce:{alert.rule}:{alert.id}",
            rule=alert.rule,
            title=alert.rule if rule is None else rule.title,
            subject=alert.subject,
            severity=alert.severity,
            summary=alert.summary,
            value=alert.value,
            threshold=alert.threshold,
            fired_at=alert.fired_at,
            recovered_at=alert.recovered_at,
            shop=settings.mail.shop_name,
            runbook=settings.monitor.runbooks.format(rule=alert.rule),
        )

    @property
    def headline(self) -> str:
        return f"{self.title}: {self.summary}" if self.what == "fired" else f"Recovered: {self.title} ({self.subject})"

    @property
    def lasted(self) -> str:
        """How long it lasted, as `1:02:03`."""
        return str(timedelta(seconds=round(((self.recovered_at or self.fired_at) - self.fired_at).total_seconds())))


class Channel(Protocol):
    name: str

    def send(self, notice: Notice, session: Session) -> None:
        """Tell it. Raises Retry, Fatal, or anything else when that has failed.

        What it writes with `session` is committed together with the mark that it was told. It is not connected yet.
        """
        ...


class Slack:
    """An incoming webhook of Slack, or of what takes the same: Mattermost, Rocket.Chat, Discord (`/slack`)."""

    name = "slack"

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = _http()

    def send(self, notice: Notice, session: Session) -> None:
        mark = ":white_check_mark:" if notice.what == "recovered" else ":rotating_light:"
        fields = [("Rule", notice.rule), ("Subject", notice.subject), ("Severity", notice.severity)]
        fields += [("Since", f"{notice.fired_at:%Y-%m-%d %H:%M:%S} UTC")]
        if notice.what == "recovered":
            fields += [("Lasted", notice.lasted)]
        body = {
            "text": _escaped(f"{mark} {notice.shop}: {notice.headline}"),
            "attachments": [
                {
                    "color": _WELL if notice.what == "recovered" else _COLOURS[notice.severity],
                    "fallback": _escaped(notice.headline),
                    "text": _escaped(f"{notice.summary}\nRunbook: {notice.runbook}"),
                    "fields": [{"title": title, "value": _escaped(value), "short": True} for title, value in fields],
                    "ts": int((notice.recovered_at or notice.fired_at).timestamp()),
                }
            ],
        }
        _post(self._http, "Slack", self._url, body, (200, 204))


class PagerDuty:
    """Events API v2: an alert triggers an incident, and its recovery resolves it, by the same `dedup_key`."""

    name = "pagerduty"

    def __init__(self, url: str, routing_key: str) -> None:
        self._url = url
        self._routing_key = routing_key
        self._http = _http()

    def send(self, notice: Notice, session: Session) -> None:
        body: dict[str, Any] = {
            "routing_key": self._routing_key,
            "event_action": "trigger" if notice.what == "fired" else "resolve",
            "dedup_key": notice.key[:_LONGEST_KEY],
        }
        if notice.what == "fired":
            body |= {
                "client": "commerce-core",
                "payload": {
                    "summary": f"{notice.shop}: {notice.headline}"[:_LONGEST_SUMMARY],
                    "source": notice.subject or notice.shop,
                    "severity": notice.severity,
                    "timestamp": notice.fired_at.isoformat(),
                    "component": notice.subject,
                    "group": notice.shop,
                    "class": notice.rule,
                    "custom_details": {
                        "value": notice.value,
                        "threshold": notice.threshold,
                        "runbook": notice.runbook,
                    },
                },
            }
            if notice.runbook.startswith("https://"):
                body["links"] = [{"href": notice.runbook, "text": "Runbook"}]
        _post(self._http, "PagerDuty", self._url, body, (202,))


class MailChannel:
    """A mail to each address, by the outbox."""

    name = "mail"

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self._addresses = addresses

    def send(self, notice: Notice, session: Session) -> None:
        context = {
            "headline": notice.headline,
            "summary": notice.summary,
            "rule": notice.rule,
            "subject": notice.subject,
            "severity": notice.severity,
            "since": f"{notice.fired_at:%Y-%m-%d %H:%M:%S} UTC",
            "lasted": notice.lasted if notice.what == "recovered" else None,
            "runbook": notice.runbook,
        }
        moment = notice.recovered_at or notice.fired_at
        for address in self._addresses:
            queue_mail(session, template="alert", to=address, context=context, locale="en", now=moment)


def channels_of(settings: CoreSettings) -> Iterator[Channel]:
    """Those that the settings name."""
    monitor = settings.monitor
    if monitor.slack_url is not None:
        yield Slack(monitor.slack_url.get_secret_value())
    if monitor.pagerduty_key is not None:
        yield PagerDuty(monitor.pagerduty_url, monitor.pagerduty_key.get_secret_value())
    if monitor.mail_to:
        yield MailChannel(monitor.mail_to)


def _http() -> urllib3.PoolManager:
    # Redirects are not followed: the address, or the key, is a secret between us and that host.
    return urllib3.PoolManager(timeout=_TIMEOUT, retries=False)


def _post(http: urllib3.PoolManager, name: str, url: str, body: dict[str, Any], good: tuple[int, ...]) -> None:
    """Neither the address nor the body gets into an error: both may hold secrets."""
    try:
        answer = http.request(
            "POST",
            url,
            body=orjson.dumps(body),
            headers={"Content-Type": "application/json"},
            redirect=False,
            preload_content=False,
        )
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise ConnectionError(f"{name} could not be reached: {type(error).__name__}") from None
    try:
        said = answer.read(_LONGEST_ANSWER).decode("utf-8", "replace")[:200]
    finally:
        answer.close()
    if answer.status in good:
        return
    if answer.status == 429:
        raise Retry(f"{name} has had too many alerts", after=_wait(answer.headers.get("Retry-After")))
    if answer.status >= 500 or answer.status in (408, 425):
        raise ConnectionError(f"{name} answered {answer.status}")
    raise Fatal(f"{name} answered {answer.status}: {said}")


def _wait(header: str | None) -> timedelta | None:
    """What Retry-After says, in seconds, within reason; None for a date or nothing."""
    if header is None or not header.strip().isdecimal():
        return None
    return timedelta(seconds=min(int(header), _LONGEST_WAIT_SECONDS))


def _escaped(text: str) -> str:
    """As Slack wants it: nothing in it is a command, or calls a channel."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
