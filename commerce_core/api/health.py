"""Whether the process is alive, and whether the shop can serve."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import structlog
from sqlalchemy import text

from commerce_core import migrations
from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view
from commerce_core.api.problems import Problem
from commerce_core.api.schemas import Output
from commerce_core.log import first_line

_log = structlog.get_logger("commerce.health")


class NotReady(Problem):
    """The shop cannot serve. `checks` says what is missing."""

    slug = "not-ready"
    title = "The shop is not ready"
    status = 503
    example: ClassVar[dict[str, Any]] = {"checks": {"database": "unreachable", "migrations": "unknown"}}

    def __init__(self, checks: dict[str, str]) -> None:
        super().__init__(headers={"Retry-After": "1"}, checks=checks)


class Alive(Output):
    """The process is alive."""

    status: Literal["ok"]


class Ready(Output):
    """The shop can serve."""

    status: Literal["ready"]
    checks: dict[str, str]


@api_view(route_name="healthz", request_method="GET", permission=Permission.PUBLIC, returns=Alive, limit=None)
def healthz(_request: Any) -> dict[str, Any]:
    """Whether the process is alive. Touches nothing else."""
    return {"status": "ok"}


@api_view(
    route_name="readyz",
    request_method="GET",
    permission=Permission.PUBLIC,
    returns=Ready,
    limit=None,
    problems=(NotReady,),
)
def readyz(request: Any) -> dict[str, Any]:
    """Whether the shop can serve. Asks the database, and whether its schema is the one this version needs.

    What plugins check is shown with it: `ok`, `failing` or `slow`; and `not loaded` for one that the shop can do
    without.
    """
    checks = {"database": "ok", "migrations": "ok"}
    try:
        with request.registry.engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            request.registry.check_schema(connection)
    except migrations.MigrationsError as problem:
        checks["migrations"] = str(problem)
    except Exception as error:
        _log.warning("not ready", error=first_line(error))
        checks.update(database="unreachable", migrations="unknown")
    serves = set(checks.values()) == {"ok"}
    of_plugins, plugins_serve = request.registry.health_checks.outcomes()
    checks |= of_plugins | dict.fromkeys(request.registry.plugins.missing, "not loaded")
    if not (serves and plugins_serve):
        raise NotReady(checks)
    return {"status": "ready", "checks": checks}
