"""CORS: which web pages may use this API from a browser (`api.allowed_origins`, by default none).

Without credentials: a browser adds no cookies of its own, and there are none. What a page sends, it must have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyramid.config import Configurator
from pyramid.exceptions import URLDecodeError
from pyramid.interfaces import IRoutesMapper
from pyramid.response import Response

REQUEST_HEADERS = (
    "Accept-Language, Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Cart-Token,"
    " X-Channel, X-Request-ID"
)
EXPOSED_HEADERS = (
    "ETag, Idempotent-Replayed, Location, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, "
    "X-Request-ID"
)
# Browsers keep the answer to a preflight for this long; some no longer than two hours.
PREFLIGHT_SECONDS = 7_200


def cors_tween_factory(handler: Callable[[Any], Any], registry: Any) -> Callable[[Any], Any]:
    """Answer preflights, and tell browsers which pages may read an answer, be it an error."""
    allowed = registry.settings_object.api.allowed_origins
    if not allowed:
        return handler
    anybody = "*" in allowed

    def tween(request: Any) -> Any:
        environ = request.environ
        is_preflight = request.method == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
        methods = _methods(request) if is_preflight else None
        response = handler(request) if methods is None else _preflight(methods)
        if anybody:
            response.headers["Access-Control-Allow-Origin"] = "*"
        else:
            # Also without an Origin, or a cache would give that answer to a page.
            response.vary = (*(response.vary or ()), "Origin")
            if environ.get("HTTP_ORIGIN") in allowed:
                response.headers["Access-Control-Allow-Origin"] = environ["HTTP_ORIGIN"]
        if methods is None:
            response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
        return response

    return tween


def _methods(request: Any) -> str | None:
    """The methods of the route at this address; None if there is none."""
    try:
        route = request.registry.getUtility(IRoutesMapper)(request)["route"]
    except URLDecodeError:
        return None
    if route is None:
        return None
    methods = {endpoint.method for endpoint in request.registry.endpoints if endpoint.route_name == route.name}
    return ", ".join(sorted(methods)) or None


def _preflight(methods: str) -> Response:
    """What a page may send. Costs neither the database nor a count."""
    response = Response(status=204)
    response.headers.update(
        {
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Allow-Headers": REQUEST_HEADERS,
            "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
        }
    )
    return response


def includeme(config: Configurator) -> None:
    config.add_tween(
        "commerce_core.api.cors.cors_tween_factory",
        under="commerce_core.api.requests.request_tween_factory",
        over="pyramid_tm.tm_tween_factory",
    )
