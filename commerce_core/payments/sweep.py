"""What the scheduler does about money: unpaid orders are cancelled, unmatched webhooks tried again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from commerce_core.database import transaction
from commerce_core.log import each_by_itself
from commerce_core.orders.service import expire_order, lapsed_order_ids
from commerce_core.payments.service import cancel_open_payments, retry_event, unmatched_event_ids

_AT_A_TIME = 200


def expire_orders(engine: Engine, *, now: datetime, stop: Callable[[], bool] = lambda: False) -> int:
    """Cancel every unpaid order that has lapsed by `now`; how many. One transaction each; any number may run."""
    total = 0
    while not stop():
        with Session(engine) as session:
            lapsed = lapsed_order_ids(session, now=now, limit=_AT_A_TIME)
        expired = 0
        for order_id in lapsed:
            with each_by_itself("order", order_id), transaction(engine) as session:
                order = expire_order(session, order_id, now=now)
                if order is not None:
                    cancel_open_payments(session, order)
                    expired += 1
        total += expired
        if not expired:
            break
    return total


def retry_unmatched(engine: Engine, registry: Any, *, now: datetime) -> int:
    """Try each young unmatched event once; how many found their order. One transaction each; any number may run."""
    with Session(engine) as session:
        events = unmatched_event_ids(session, now=now, limit=_AT_A_TIME)
    matched = 0
    for event_id in events:
        with each_by_itself("webhook event", event_id), transaction(engine) as session:
            matched += retry_event(session, registry, event_id, now=now)
    return matched
