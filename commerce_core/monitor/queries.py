"""How the shop does, in figures. Nothing here locks; each figure is one query that an index answers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from commerce_core.jobs.models import QUEUES
from commerce_core.maintenance.service import get_maintenance
from commerce_core.monitor.hosts import SILENT_AFTER
from commerce_core.monitor.models import HostState
from commerce_core.monitor.service import open_alerts
from commerce_core.monitor.traffic import read_load

_ORDERS = text("""
SELECT currency, count(*) AS placed, count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
       coalesce(sum(total) FILTER (WHERE status <> 'cancelled'), 0) AS total,
       coalesce(sum(total) FILTER (
           WHERE status <> 'cancelled' AND payment_status IN ('paid', 'partially_refunded')
       ), 0) AS paid
FROM orders WHERE created_at >= :since GROUP BY currency ORDER BY currency
""")
_STOCK = text("""
SELECT (SELECT count(*) FROM hold WHERE state = 'active') AS active_holds,
       (SELECT coalesce(sum(quantity), 0) FROM hold WHERE state = 'active') AS held_units,
       (SELECT count(*) FROM stock_signal WHERE state = 'low') AS low,
       (SELECT count(*) FROM stock_signal WHERE state = 'out') AS out
""")
_QUEUES = text("""
SELECT queue,
       count(*) FILTER (WHERE state = 'waiting' AND waits_for IS NULL AND run_at <= :now) AS waiting,
       count(*) FILTER (WHERE state = 'running') AS running,
       count(*) FILTER (WHERE state = 'dead') AS dead,
       coalesce(extract(epoch FROM :now - min(run_at)
           FILTER (WHERE state = 'waiting' AND waits_for IS NULL AND run_at <= :now)), 0) AS oldest_wait_seconds
FROM job WHERE state IN ('waiting', 'running', 'dead') GROUP BY queue
""")
_WAITING = text("""
SELECT (SELECT count(*) FROM mail WHERE state = 'waiting') AS mails,
       (SELECT count(*) FROM webhook_event WHERE state IN ('received', 'unmatched')) AS webhook_events,
       (SELECT count(*) FROM webhook_delivery WHERE state = 'waiting') AS webhook_deliveries
""")
_NOTHING = {"waiting": 0, "running": 0, "dead": 0, "oldest_wait_seconds": 0.0}


def statistics(session: Session, *, now: datetime, window: timedelta) -> dict[str, Any]:
    """Requests and orders within `window`; stock, queues, alerts and hosts as they are now."""
    load = read_load(session, now=now, window=window)
    orders = session.execute(_ORDERS, {"since": now - window}).mappings().all()
    queues = {row["queue"]: {**row} for row in session.execute(_QUEUES, {"now": now}).mappings()}
    hosts = select(HostState).where(HostState.seen_at > now - SILENT_AFTER).order_by(HostState.host, HostState.what)
    return {
        "is_open": get_maintenance(session) is None,
        "requests": {
            "requests": load.requests,
            "errors": load.errors,
            "error_percent": load.error_percent,
            **{f"p{share}_ms": _milliseconds(load.quantile(share / 100)) for share in (50, 95, 99)},
        },
        "orders": {
            "placed": sum(row["placed"] for row in orders),
            "cancelled": sum(row["cancelled"] for row in orders),
            "turnover": [{**row, "orders": row["placed"] - row["cancelled"]} for row in orders],
        },
        "stock": {**session.execute(_STOCK).mappings().one()},
        "queues": {queue: queues.get(queue, _NOTHING) for queue in QUEUES},
        "waiting": {**session.execute(_WAITING).mappings().one()},
        "alerts": open_alerts(session),
        "hosts": session.scalars(hosts).all(),
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
