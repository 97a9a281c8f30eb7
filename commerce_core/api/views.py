"""The addresses of the API about itself: health, the OpenAPI document, its page, and what each problem means."""

from __future__ import annotations

from typing import Any

import structlog
from pyramid.config import Configurator
from pyramid.response import Response
from sqlalchemy import text

from commerce_core import migrations
from commerce_core.api.endpoints import json_response, render

_log = structlog.get_logger("commerce.health")


def healthz(_request: Any) -> Response:
    """The process is alive. Touches nothing else."""
    return json_response(b'{"status":"ok"}', 200)


def readyz(request: Any) -> Response:
    """Whether the shop can serve: 503 names what is missing."""
    checks = {"database": "ok", "migrations": "ok"}
    try:
        with request.registry.engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            migrations.check(connection)
    except migrations.MigrationsPending as pending:
        checks["migrations"] = str(pending)
    except Exception as error:
        _log.warning("not ready", error=str(error).splitlines()[0])
        checks.update(database="unreachable", migrations="unknown")
    ready = set(checks.values()) == {"ok"}
    response = json_response(
        render({"status": "ready" if ready else "unavailable", "checks": checks}), 200 if ready else 503
    )
    response.headers["Cache-Control"] = "no-store"
    return response


def includeme(config: Configurator) -> None:
    for name, view in (("healthz", healthz), ("readyz", readyz)):
        config.add_route(name, f"/{name}")
        config.add_view(view, route_name=name, request_method="GET", permission="public")
