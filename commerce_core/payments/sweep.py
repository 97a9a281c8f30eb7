"""Tries webhook events again whose order was unknown when they came."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from commerce_core.database import transaction
from commerce_core.payments.service import retry_event, unmatched_event_ids

_AT_A_TIME = 100


def retry_unmatched(engine: Engine, registry: Any, *, now: datetime) -> int:
    """Try each young unmatched event once; how many found their order. One transaction each; any number may run."""
    with Session(engine) as session:
        events = unmatched_event_ids(session, now=now, limit=_AT_A_TIME)
    matched = 0
    for event_id in events:
        with transaction(engine) as session:
            matched += retry_event(session, registry, event_id, now=now)
    return matched
