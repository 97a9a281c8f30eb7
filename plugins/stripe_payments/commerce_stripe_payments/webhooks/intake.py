"""The way in: verify, file in one statement, answer. No call, no mail, no stock, and no job either.

A job for each new event is written by `processing.hand_out_events`, half a second later at the most: of all that has
come, at once. So a burst of events costs next to nothing, and the row that is committed is all that must not be lost.
"""

from __future__ import annotations

from typing import Any

import structlog
from sqlalchemy import text

from commerce_core.database import uuid7
from commerce_stripe_payments.connection import Connection
from commerce_stripe_payments.webhooks.reading import Told, read_event, read_thin_event
from commerce_stripe_payments.webhooks.signatures import BadWebhook, verify

_log = structlog.get_logger("commerce.stripe")
_COLUMNS = (
    *("id", "account", "livemode", "event_id", "type", "api_version", "object_id", "is_thin", "created"),
    *("body", "state", "detail", "received_at", "processed_at"),
)
_FILE = text(
    f"INSERT INTO stripe_event ({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"  # noqa: S608
    " ON CONFLICT (account, livemode, event_id) DO NOTHING RETURNING id"
)
# Each other version is told once in a process.
_versions_told: set[str] = set()


def take(registry: Any, body: bytes, header: str | None, *, thin: bool = False) -> None:
    """File an event that Stripe has signed, once. Commits. Raises BadWebhook.

    A second delivery waits for the first to commit, and changes nothing.
    """
    connection: Connection = registry.stripe
    now = registry.clock.now()
    secrets = connection.thin_webhook_secrets if thin else connection.webhook_secrets
    try:
        matched = verify(body, header, secrets, now=now)
        told = read_thin_event(body) if thin else read_event(body)
    except BadWebhook:
        connection.meters.refused.inc()
        raise
    connection.meters.signed_by.labels(str(matched)).inc()
    file_event(registry, connection, told, body, now=now)


def file_event(registry: Any, connection: Connection, told: Told, body: bytes, *, now: Any) -> bool:
    """File an event of Stripe's that is known to be genuine; whether it is a new one. Commits."""
    reason = why_to_ignore(connection, told)
    if told.api_version not in (None, connection.settings.api_version) and told.api_version not in _versions_told:
        _versions_told.add(str(told.api_version))
        _log.warning("events of another version", api_version=told.api_version, ours=connection.settings.api_version)
    with registry.engine.connect() as database, database.begin():
        filed = database.execute(
            _FILE,
            {
                "id": uuid7(),
                "account": told.account,
                "livemode": told.livemode,
                "event_id": told.id,
                "type": told.type,
                "api_version": told.api_version,
                "object_id": told.object_id,
                "is_thin": told.is_thin,
                "created": told.created,
                "body": body,
                "state": "received" if reason is None else "ignored",
                "detail": reason,
                "received_at": now,
                "processed_at": None if reason is None else now,
            },
        ).scalar()
    connection.meters.received.labels("duplicate" if filed is None else "ignored" if reason else "received").inc()
    return filed is not None


def why_to_ignore(connection: Connection, told: Told) -> str | None:
    """Why nothing is ever done about an event; None if something may have to be."""
    settings = connection.settings
    if told.livemode is not settings.livemode:
        return f"mode: this shop is in {settings.mode} mode"
    if told.account not in ("", settings.account or ""):
        return "account: of another account"
    if told.type not in connection.handlers:
        return "type: nothing is done about such events"
    return None
