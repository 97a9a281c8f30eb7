"""Cancels orders that were not paid in time, so that their stock goes back on sale."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from commerce_core.database import transaction
from commerce_core.orders.service import expire_order, lapsed_order_ids

_AT_A_TIME = 200


def expire_orders(engine: Engine, *, now: datetime, stop: Callable[[], bool] = lambda: False) -> int:
    """Cancel every unpaid order that has lapsed by `now`; how many. One transaction each; any number may run."""
    total = 0
    while not stop():
        with Session(engine) as session:
            lapsed = lapsed_order_ids(session, now=now, limit=_AT_A_TIME)
        expired = 0
        for order_id in lapsed:
            with transaction(engine) as session:
                expired += expire_order(session, order_id, now=now)
        total += expired
        if not expired:
            break
    return total
