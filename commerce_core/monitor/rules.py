"""The rules: what is measured, and from when on somebody has to be told. One runbook for each, in docs/runbooks.md.

A threshold is a setting `monitor.<threshold>`; at 0 the rule is off. A rule measures one or several subjects (each
queue, each host), and each of them is well or not by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import structlog
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from commerce_core.database import transaction
from commerce_core.jobs.models import QUEUES
from commerce_core.log import first_line
from commerce_core.monitor.certificates import CertificateRefused, expires_at
from commerce_core.monitor.hosts import SILENT_AFTER
from commerce_core.monitor.models import HostState
from commerce_core.monitor.traffic import Load, read_load
from commerce_core.settings import MonitorSettings
from commerce_core.stock.verify import verify_stock

_log = structlog.get_logger("commerce.monitor")
Severity = Literal["critical", "error", "warning"]


@dataclass(frozen=True, slots=True)
class Moment:
    """What a rule has to work with. `session` connects when it is first used."""

    session: Session
    settings: MonitorSettings
    now: datetime


@dataclass(frozen=True, slots=True)
class Measured:
    """`text` says in words what was found."""

    subject: str
    value: float
    text: str


@dataclass(frozen=True, slots=True)
class Rule:
    """`unit` is that of the threshold. `at_most`: it fires when the value is the threshold or less, else or more.

    `at_once`: one good check is enough for it to be well again, because what it measures does not waver.
    """

    name: str
    title: str
    severity: Severity
    threshold: str
    unit: str
    measure: Callable[[Moment], Iterable[Measured]]
    at_most: bool = False
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule has found of a subject. Without a `value` it could not be measured, for the reason in `text`."""

    rule: Rule
    subject: str
    value: float | None
    threshold: float
    text: str

    @property
    def fires(self) -> bool:
        if self.value is None:
            return False
        return self.value <= self.threshold if self.rule.at_most else self.value >= self.threshold


def check(
    engine: Engine, settings: MonitorSettings, *, now: datetime, rules: Collection[Rule]
) -> tuple[list[Finding], list[Rule]]:
    """What the rules find, and which of them could be asked: one that fails keeps no other from being.

    Each has a transaction of its own, and takes no locks. Raises OperationalError when the database is away.
    """
    with engine.connect():
        pass
    findings: list[Finding] = []
    asked: list[Rule] = []
    for rule in rules:
        threshold = float(getattr(settings, rule.threshold))
        try:
            with transaction(engine) as session:
                measured = list(rule.measure(Moment(session, settings, now))) if threshold else []
        except Exception as error:
            _log.warning("not measured", rule=rule.name, error=first_line(error))
            findings.append(Finding(rule, "", None, threshold, f"not measured: {first_line(error)}"))
            continue
        findings += [Finding(rule, each.subject, each.value, threshold, each.text) for each in measured]
        asked.append(rule)
    return findings, asked


def _load(moment: Moment) -> Load:
    return read_load(moment.session, now=moment.now, window=timedelta(minutes=moment.settings.window_minutes))


def _requests(moment: Moment, load: Load) -> str:
    return f"{load.requests:,} requests in {moment.settings.window_minutes} minutes"


def _error_rate(moment: Moment) -> Iterator[Measured]:
    load = _load(moment)
    if load.requests >= moment.settings.least_requests:
        yield Measured(
            "shop",
            load.error_percent,
            f"{load.error_percent:.2f} % of {_requests(moment, load)} failed",
        )


def _slow_requests(moment: Moment) -> Iterator[Measured]:
    load = _load(moment)
    p95 = load.quantile(0.95)
    if load.requests >= moment.settings.least_requests and p95 is not None:
        yield Measured(
            "shop",
            p95 * 1000,
            f"5 % of {_requests(moment, load)} took {p95 * 1000:,.0f} ms or more",
        )


_QUEUES = text("""
SELECT queue, count(*) AS jobs, extract(epoch FROM CAST(:now AS timestamptz) - min(run_at)) AS waited
FROM job WHERE state = 'waiting' AND waits_for IS NULL AND run_at <= :now GROUP BY queue
""")
_DEAD = text("SELECT queue, count(*) AS jobs FROM job WHERE state = 'dead' GROUP BY queue")


def _queue_depth(moment: Moment) -> Iterator[Measured]:
    found = {row.queue: row.jobs for row in moment.session.execute(_QUEUES, {"now": moment.now})}
    for queue in QUEUES:
        jobs = found.get(queue, 0)
        yield Measured(queue, jobs, f"{jobs:,} jobs of the queue {queue} wait")


def _queue_wait(moment: Moment) -> Iterator[Measured]:
    found = {row.queue: float(row.waited) for row in moment.session.execute(_QUEUES, {"now": moment.now})}
    for queue in QUEUES:
        waited = max(0.0, found.get(queue, 0.0))
        yield Measured(queue, waited, f"the oldest job of the queue {queue} has waited for {_span(waited)}")


def _dead_jobs(moment: Moment) -> Iterator[Measured]:
    found = {row.queue: row.jobs for row in moment.session.execute(_DEAD)}
    for queue in QUEUES:
        jobs = found.get(queue, 0)
        yield Measured(queue, jobs, f"{jobs:,} jobs of the queue {queue} have failed for good")


_EVENTS = text("""
SELECT provider, extract(epoch FROM CAST(:now AS timestamptz) - min(received_at)) AS waited
FROM webhook_event WHERE state IN ('received', 'unmatched') GROUP BY provider
""")
# Who is given up is not well again: it waits for somebody, and is a subject of its own, so that it hides no other.
_DEAD_EVENTS = text("""
SELECT provider, count(*) AS events, extract(epoch FROM CAST(:now AS timestamptz) - min(received_at)) AS waited
FROM webhook_event WHERE state = 'dead' GROUP BY provider
""")
_DELIVERIES = text("""
SELECT endpoint.url, extract(epoch FROM CAST(:now AS timestamptz) - first.created_at) AS waited
FROM webhook_endpoint AS endpoint CROSS JOIN LATERAL (
    SELECT min(created_at) AS created_at FROM webhook_delivery
    WHERE endpoint_id = endpoint.id AND state = 'waiting'
) AS first
WHERE endpoint.active AND first.created_at IS NOT NULL
""")


def _webhook_age(moment: Moment) -> Iterator[Measured]:
    for row in moment.session.execute(_EVENTS, {"now": moment.now}):
        yield Measured(
            row.provider,
            float(row.waited),
            f"the oldest webhook of {row.provider} that has not taken effect came {_span(float(row.waited))} ago",
        )
    for row in moment.session.execute(_DEAD_EVENTS, {"now": moment.now}):
        yield Measured(
            f"{row.provider} dead",
            float(row.waited),
            f"{row.events:,} webhooks of {row.provider} were not used; the first came {_span(float(row.waited))} ago",
        )


def _delivery_age(moment: Moment) -> Iterator[Measured]:
    for row in moment.session.execute(_DELIVERIES, {"now": moment.now}):
        # Without what stands behind the path: addresses may hold secrets.
        endpoint = row.url.partition("?")[0]
        yield Measured(
            endpoint,
            float(row.waited),
            f"the oldest webhook that {endpoint} has still to be told has waited for {_span(float(row.waited))}",
        )


def _stock(moment: Moment) -> Iterator[Measured]:
    found = verify_stock(moment.session)
    first = f"; the first: {found[0].rule}: {found[0].subject} ({found[0].detail})" if found else ""
    yield Measured("shop", len(found), f"{len(found):,} discrepancies in the stock{first}")


def _host_states(moment: Moment, begins_with: str) -> Iterator[Measured]:
    states = moment.session.scalars(
        select(HostState)
        .where(HostState.seen_at > moment.now - SILENT_AFTER, HostState.what.startswith(begins_with, autoescape=True))
        .order_by(HostState.host, HostState.what)
    )
    for state in states:
        yield Measured(
            f"{state.host} {state.what}", state.percent, f"{state.what} of {state.host} is {state.percent:.1f} % full"
        )


def _disk(moment: Moment) -> Iterator[Measured]:
    return _host_states(moment, "disk ")


def _memory(moment: Moment) -> Iterator[Measured]:
    return _host_states(moment, "memory")


def _certificates(moment: Moment) -> Iterator[Measured]:
    failed: list[str] = []
    for address in moment.settings.certificates:
        try:
            days = (expires_at(address, moment.settings.certificate_authority) - moment.now) / timedelta(days=1)
        except CertificateRefused as refused:
            yield Measured(address, 0.0, f"the certificate of {address} is not accepted: {refused}")
        except OSError as error:
            failed.append(f"{address}: {first_line(error)}")
        else:
            yield Measured(address, days, f"the certificate of {address} expires in {days:.1f} days")
    if failed:
        raise ConnectionError("; ".join(failed))


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7_200 else f"{seconds / 3_600:.1f} hours"


STOCK = Rule("stock-verify", "The stock does not add up", "critical", "stock_discrepancies", "", _stock, at_once=True)
RULES = (
    Rule("error-rate", "Requests fail", "critical", "error_percent", "%", _error_rate),
    Rule("slow-requests", "Requests are slow", "error", "p95_ms", "ms", _slow_requests),
    Rule("queue-depth", "Many jobs wait", "warning", "queue_jobs", "jobs", _queue_depth),
    Rule("queue-wait", "Jobs wait long", "error", "queue_wait_seconds", "s", _queue_wait),
    Rule("dead-jobs", "Jobs have failed for good", "error", "dead_jobs", "jobs", _dead_jobs, at_once=True),
    Rule("webhook-age", "Payment webhooks take no effect", "error", "webhook_seconds", "s", _webhook_age),
    Rule("delivery-age", "An integrator is not told", "warning", "delivery_seconds", "s", _delivery_age),
    STOCK,
    Rule("disk", "A disk is nearly full", "error", "disk_percent", "%", _disk),
    Rule("memory", "Memory is nearly used up", "error", "memory_percent", "%", _memory),
    Rule(
        "certificate",
        "A certificate expires",
        "error",
        "certificate_days",
        "days",
        _certificates,
        at_most=True,
        at_once=True,
    ),
)
RULES_BY_NAME = {rule.name: rule for rule in RULES}
