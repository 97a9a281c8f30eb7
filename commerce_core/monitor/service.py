"""Keeping alerts: one for as long as something is wrong, however often that is found. Flushes, never commits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from commerce_core.monitor.models import Alert, HostState, TrafficMinute
from commerce_core.monitor.rules import RULES_BY_NAME, Finding, Rule

# So long is kept what the processes have written down.
TRAFFIC_KEPT = timedelta(days=2)
HOSTS_KEPT = timedelta(days=1)
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtext('commerce.monitor.alerts'))")

_TOLD = text(
    "UPDATE alert SET told = told || jsonb_build_object(CAST(:channel AS text), CAST(:what AS text)) WHERE id = :id"
)


def record_findings(
    session: Session, findings: Iterable[Finding], asked: Collection[Rule], *, good_checks: int, now: datetime
) -> list[Alert]:
    """Open an alert for what fires and had none, and close those of what is well again; the alerts that changed.

    An alert is closed when `good_checks` checks in a row have found nothing, or one where the rule says so; those of
    rules that could not be `asked` stay as they are. One caller at a time: holds a lock until the transaction ends.
    """
    session.execute(_ONE_AT_A_TIME)
    names = {rule.name for rule in asked}
    still_open = {
        (alert.rule, alert.subject): alert
        for alert in session.scalars(select(Alert).where(Alert.recovered_at.is_(None)))
        if alert.rule in names or alert.rule not in RULES_BY_NAME
    }
    changed: list[Alert] = []
    for finding in findings:
        if not finding.fires or finding.rule.name not in names:
            continue
        assert finding.value is not None
        known = still_open.pop((finding.rule.name, finding.subject), None)
        if known is None:
            known = Alert(
                rule=finding.rule.name,
                subject=finding.subject,
                severity=finding.rule.severity,
                fired_at=now,
                told={},
            )
            session.add(known)
            changed.append(known)
        known.summary, known.value, known.threshold = finding.text, finding.value, finding.threshold
        known.seen_at, known.good_checks = now, 0
    for alert in still_open.values():
        rule = RULES_BY_NAME.get(alert.rule)
        alert.good_checks += 1
        if rule is None or rule.at_once or alert.good_checks >= good_checks:
            alert.recovered_at = now
            changed.append(alert)
    session.flush()
    return changed


def open_alerts(session: Session) -> Sequence[Alert]:
    """What is wrong, the oldest first. No lock."""
    return session.scalars(select(Alert).where(Alert.recovered_at.is_(None)).order_by(Alert.id)).all()


def note_told(session: Session, alert_id: UUID, channel: str, what: str) -> None:
    """Write down what a channel has been told; others write of theirs at the same time."""
    session.execute(_TOLD, {"id": alert_id, "channel": channel, "what": what})


def forget_old(session: Session, *, now: datetime, keep_days: int) -> None:
    """Delete alerts that were over long ago, and what processes have written down."""
    session.execute(delete(Alert).where(Alert.recovered_at < now - timedelta(days=keep_days)))
    session.execute(delete(TrafficMinute).where(TrafficMinute.minute < now - TRAFFIC_KEPT))
    session.execute(delete(HostState).where(HostState.seen_at < now - HOSTS_KEPT))
