"""What every request has: an id, the time, the client's language; and a log line when it is done."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog
from pyramid.config import Configurator

from commerce_core.database import uuid7
from commerce_core.money import negotiate_locale

_log = structlog.get_logger("commerce.request")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


def _request_id(request: Any) -> str:
    """The client's X-Request-ID if it is a sane one, else a new id; the same for every attempt of a retried request."""
    given = request.environ.get("HTTP_X_REQUEST_ID", "")
    if not _REQUEST_ID.fullmatch(given):
        given = request.environ["HTTP_X_REQUEST_ID"] = uuid7().hex
    return str(given)


def _now(request: Any) -> datetime:
    """One time for the whole request (UTC)."""
    now: datetime = request.registry.clock.now()
    return now


def _locale(request: Any) -> str:
    return negotiate_locale(request.environ.get("HTTP_ACCEPT_LANGUAGE", ""))


def request_tween_factory(handler: Callable[[Any], Any], registry: Any) -> Callable[[Any], Any]:
    """Echo the request id and log one line per request. Outermost, so it sees every answer as it is sent."""
    log_requests = registry.settings_object.log.requests

    def tween(request: Any) -> Any:
        started = time.perf_counter()
        response = handler(request)
        response.headers["X-Request-ID"] = request.id
        if log_requests:
            route = request.matched_route
            _log.info(
                "request",
                request_id=request.id,
                method=request.method,
                path=request.environ.get("PATH_INFO", ""),
                route=route.name if route is not None else None,
                status=response.status_code,
                duration_ms=round((time.perf_counter() - started) * 1000, 2),
                actor=request.__dict__.get("actor_name"),
            )
        return response

    return tween


def includeme(config: Configurator) -> None:
    config.add_request_method(_request_id, "id", reify=True)
    config.add_request_method(_now, "now", reify=True)
    config.add_request_method(_locale, "locale", reify=True)
    config.add_request_method(lambda request: request.registry.settings_object, "settings", reify=True)
    config.add_tween("commerce_core.api.requests.request_tween_factory", over="pyramid_tm.tm_tween_factory")
