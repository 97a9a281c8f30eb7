"""`GET /metrics`: everything that is counted, for Prometheus. Closed, unless the settings say who may read it.

It is none of the JSON endpoints: it needs no database, so that it answers when that is away, and its token is a
setting. See docs/operations.md.
"""

from __future__ import annotations

import hmac
import platform
from importlib.metadata import version
from typing import Any

from pyramid.config import Configurator
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED

from commerce_core.api.endpoints import problem_response
from commerce_core.api.problems import Forbidden
from commerce_core.api.proxies import TrustedProxies, is_in, read_address
from commerce_core.metrics import Metrics
from commerce_core.settings import MetricsSettings


def may_read(settings: MetricsSettings, address: str | None, authorization: str) -> bool:
    """Whether somebody at `address` (None: nobody knows where) with this Authorization header may read the metrics."""
    if settings.token is not None:
        wanted = f"Bearer {settings.token.get_secret_value()}"
        if hmac.compare_digest(authorization.encode(errors="replace"), wanted.encode()):
            return True
    return address is not None and is_in(address, settings.allowed)


def show_metrics(request: Any) -> Response:
    """What all processes of this server have counted."""
    address, authorization = _address(request), request.environ.get("HTTP_AUTHORIZATION", "")
    if not may_read(request.settings.metrics, address, authorization):
        return problem_response(Forbidden("See metrics.allowed and metrics.token in the settings."), request)
    metrics: Metrics = request.registry.metrics
    media_type, body = metrics.text(request.environ.get("HTTP_ACCEPT", ""))
    response = Response(body=body)
    response.headers.update({"Content-Type": media_type, "Cache-Control": "no-store"})
    return response


def _address(request: Any) -> str | None:
    """The client's address; None if it came through a proxy that is none of ours, which may have hidden anybody."""
    proxies: TrustedProxies = request.registry.trusted_proxies
    peer = request.environ.get("REMOTE_ADDR") or ""
    if "HTTP_X_FORWARDED_FOR" in request.environ and not proxies.trusts(read_address(peer) or peer):
        return None
    address: str = request.client_address
    return address


def includeme(config: Configurator) -> None:
    build = config.registry.metrics.gauge(
        "commerce_build_info", "Always 1: the version that runs.", ("version", "python"), of_processes="max"
    )
    build.labels(version("commerce-core"), platform.python_version()).set(1)
    config.add_route("metrics", "/metrics")
    config.add_view(show_metrics, route_name="metrics", request_method="GET", permission=NO_PERMISSION_REQUIRED)
