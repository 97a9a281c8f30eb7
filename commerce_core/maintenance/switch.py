"""Refusing requests while the shop is closed for maintenance: all but those of staff, and those about its health.

Whether it is, stands in the database; each process reads it twice a second (see pulse.py), so that no request has to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from commerce_core.api.endpoints import problem_response
from commerce_core.api.problems import Problem
from commerce_core.pulse import Connection

LOOK_SECONDS = 0.5
# What is told where nobody has said how long it will take, or where it takes longer.
RETRY_SECONDS = 60
# Served all the same: what watches the shop, what explains it, and the way in for staff.
OPEN_ROUTES = frozenset({"healthz", "readyz", "metrics", "openapi", "docs", "problems", "problem", "login", "logout"})
STAFF_ROLES = frozenset({"staff", "admin"})


class UnderMaintenance(Problem):
    """The shop is closed for maintenance. Nothing was done; try again after Retry-After seconds."""

    slug = "under-maintenance"
    title = "Closed for maintenance"
    status = 503
    example: ClassVar[dict[str, Any]] = {"detail": "We are moving to a larger house."}


@dataclass(frozen=True, slots=True)
class _Closed:
    until: datetime | None
    message: str | None


class MaintenanceSwitch:
    """`registry.maintenance`: what this process knows."""

    def __init__(self) -> None:
        self._closed: _Closed | None = None

    def read(self, connection: Connection) -> None:
        """See how it stands. While the database is away, what was known last goes on."""
        row = connection.execute("SELECT until, message FROM maintenance").fetchone()
        self._closed = None if row is None else _Closed(*row)

    def problem(self, now: datetime) -> UnderMaintenance | None:
        """What to answer; None while the shop is open."""
        closed = self._closed
        if closed is None:
            return None
        left = math.ceil((closed.until - now).total_seconds()) if closed.until is not None else 0
        return UnderMaintenance(closed.message, headers={"Retry-After": str(left if left > 0 else RETRY_SECONDS)})


def closed_for_maintenance(view: Any, info: Any) -> Any:
    """View deriver: answer 503 while the shop is closed, unless staff ask."""
    if info.exception_only:
        return view
    switch: MaintenanceSwitch = info.registry.maintenance

    def open_view(context: Any, request: Any) -> Any:
        problem = switch.problem(request.now)
        if problem is not None and not _may_pass(request):
            return problem_response(problem, request)
        return view(context, request)

    return open_view


def _may_pass(request: Any) -> bool:
    route = request.matched_route
    if route is not None and route.name in OPEN_ROUTES:
        return True
    return request.actor is not None and request.actor.role in STAFF_ROLES
