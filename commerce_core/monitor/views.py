"""How the shop does, over REST, for dashboards."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view
from commerce_core.monitor.queries import statistics
from commerce_core.monitor.schemas import StatsOut, StatsQuery


@api_view(
    route_name="admin_stats",
    request_method="GET",
    permission=Permission.JOB_READ,
    query=StatsQuery,
    returns=StatsOut,
)
def show_stats(request: Any, query: StatsQuery) -> StatsOut:
    """How the shop does: requests and orders of the last `minutes`; stock, queues, alerts and hosts as they are now."""
    found = statistics(request.db, now=request.now, window=timedelta(minutes=query.minutes))
    return StatsOut.model_validate({"minutes": query.minutes, **found}, from_attributes=True)
