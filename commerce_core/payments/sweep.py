"""What the scheduler does about money: unpaid orders cancelled, refunds carried out, unmatched webhooks tried again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from commerce_core.database import transaction
from commerce_core.log import each_by_itself, first_line
from commerce_core.orders.service import expire_order, lapsed_order_ids
from commerce_core.payments.closing import close_payments
from commerce_core.payments.refunds import claim_due_refund, record_result, record_trouble
from commerce_core.payments.service import cancel_open_payments, provider, retry_event, unmatched_event_ids

_log = structlog.get_logger("commerce.payment")

_AT_A_TIME = 200
# Refunds in a round: providers are slow, and the other tasks wait.
_CALLS_AT_A_TIME = 20


def expire_orders(
    engine: Engine, registry: Any = None, *, now: datetime, stop: Callable[[], bool] = lambda: False
) -> int:
    """Cancel every unpaid order that has lapsed by `now`; how many. One transaction each; any number may run.

    Before that, the providers of `registry` are asked to close what is open of its payments: an order that turns out
    to be paid, or whose payment is on the way, does not lapse.
    """
    total = 0
    while not stop():
        with Session(engine) as session:
            lapsed = lapsed_order_ids(session, now=now, limit=_AT_A_TIME)
        expired = 0
        for order_id in lapsed:
            if registry is not None and not close_payments(engine, registry, order_id, now=now):
                continue
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
    """Try each unmatched event that is due; how many took effect. One transaction each; any number may run."""
    with Session(engine) as session:
        events = unmatched_event_ids(session, now=now, limit=_AT_A_TIME)
    matched = 0
    for event_id in events:
        with each_by_itself("webhook event", event_id), transaction(engine) as session:
            matched += retry_event(session, registry, event_id, now=now)
    return matched


def carry_out_refunds(engine: Engine, registry: Any, *, stop: Callable[[], bool] = lambda: False) -> int:
    """Ask the providers for the refunds that are due; how many succeeded or are under way. Any number may run.

    Each is claimed in one transaction, asked for outside of any, and its result recorded in another: a process that
    dies on the way leaves it to be asked for again with the same key. A provider that has failed is spared for this
    round.
    """
    clock = registry.clock
    done = 0
    troubled: set[str] = set()
    for _ in range(_CALLS_AT_A_TIME):
        if stop():
            break
        with transaction(engine) as session:
            claimed = claim_due_refund(session, now=clock.now(), except_for=troubled)
        if claimed is None:
            break
        code, of_round, request = claimed
        try:
            result = provider(registry, code).refund(request)
        except Exception as error:
            troubled.add(code)
            _log.warning("refund not carried out", refund_id=str(request.id), provider=code, error=first_line(error))
            with each_by_itself("refund", request.id), transaction(engine) as session:
                record_trouble(session, request.id, of_round, first_line(error), now=clock.now())
        else:
            with each_by_itself("refund", request.id), transaction(engine) as session:
                record_result(session, request.id, of_round, result, now=clock.now())
                done += result.status != "failed"
    return done
