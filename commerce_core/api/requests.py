"""What every request has: an id, the time, the client's language, a bounded body; and a log line when it is done."""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog
from pyramid.config import Configurator

from commerce_core.api.limits import limit_headers
from commerce_core.api.problems import BodyTooLarge, MalformedRequest, Problem
from commerce_core.api.proxies import believe_scheme
from commerce_core.api.uploads import upload
from commerce_core.metrics import Metrics
from commerce_core.metrics.statements import counting_statements, shortened
from commerce_core.metrics.traffic import Traffic
from commerce_core.money import negotiate_locale

_log = structlog.get_logger("commerce.request")
# Asked every few seconds by whoever watches; only their failures are worth a line.
_PROBES = ("healthz", "readyz", "metrics")
PROBED = frozenset(f"/{probe}" for probe in _PROBES)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


def _request_id(request: Any) -> str:
    """The client's X-Request-ID if it is a sane one, else a new id; the same for every attempt of a retried request."""
    given = request.environ.get("HTTP_X_REQUEST_ID", "")
    if not _REQUEST_ID.fullmatch(given):
        given = request.environ["HTTP_X_REQUEST_ID"] = os.urandom(16).hex()
    return str(given)


def _now(request: Any) -> datetime:
    """One time for the whole request (UTC)."""
    now: datetime = request.registry.clock.now()
    return now


def _locale(request: Any) -> str:
    return negotiate_locale(request.environ.get("HTTP_ACCEPT_LANGUAGE", ""))


def take_body(request: Any) -> int | None:
    """Read the body before anything else does, and at most as much of it as the setting allows.

    Called by pyramid_retry with each new request, to say how often it may be tried: once if it commits by itself.
    """
    environ = request.environ
    if (request.method, environ["PATH_INFO"]) in request.registry.upload_requests:
        return 1  # received by its endpoint, see uploads.py
    try:
        body = _read_body(environ, request.settings.api.max_body_bytes)
    except Problem as problem:
        environ["commerce.body"] = problem
        return 1
    environ["commerce.body"] = body
    environ["CONTENT_LENGTH"] = str(len(body))
    environ["wsgi.input"] = io.BytesIO(body)
    environ["webob.is_body_seekable"] = True
    return 1 if (request.method, environ["PATH_INFO"]) in request.registry.autocommit_requests else None


def _read_body(environ: dict[str, Any], limit: int) -> bytes:
    given = environ.get("CONTENT_LENGTH") or ("0" if "HTTP_TRANSFER_ENCODING" not in environ else "")
    if given == "0":
        return b""
    if given and not (given.isascii() and given.isdigit()):
        raise MalformedRequest("Content-Length is not a number.")
    length = int(given) if given else None
    too_large = BodyTooLarge(f"At most {limit} bytes, please.", headers={"Connection": "close"})
    if length is not None and length > limit:
        raise too_large
    try:
        body: bytes = environ["wsgi.input"].read(limit + 1 if length is None else length)
    except OSError:
        raise MalformedRequest("The body ended before it was complete.") from None
    if len(body) > limit:
        raise too_large
    if length is not None and len(body) < length:
        raise MalformedRequest("The body ended before it was complete.")
    return body


def _raw_body(request: Any) -> bytes:
    """The body as it came. Raises the problem there was in reading it."""
    body: bytes | Problem = request.environ["commerce.body"]
    if isinstance(body, Problem):
        raise body
    return body


def request_tween_factory(handler: Callable[[Any], Any], registry: Any) -> Callable[[Any], Any]:
    """Echo the request id, tell the rate limit, count and log each request. Outermost: it sees every answer as sent."""
    settings = registry.settings_object.log
    log_requests, slow_ms, repeated = settings.requests, settings.slow_request_ms, settings.repeated_statements
    count = _counting(registry.metrics, registry.traffic)
    if repeated:
        handler = _telling_repeated_statements(handler, repeated)

    def tween(request: Any) -> Any:
        started = time.perf_counter()
        believe_scheme(request)
        response = handler(request)
        response.headers["X-Request-ID"] = request.id
        response.headerlist.extend(limit_headers(request.environ))
        matched = request.matched_route
        route = matched.name if matched is not None else None
        duration = time.perf_counter() - started
        count("other" if matched is None else matched.pattern, request.method, response.status_code, duration)
        if slow_ms and duration * 1000 >= slow_ms:
            _log.warning(
                "slow request",
                request_id=request.id,
                method=request.method,
                route=route,
                status=response.status_code,
                duration_ms=round(duration * 1000, 2),
            )
        if log_requests and not (route in _PROBES and response.status_code < 400):
            _log.info(
                "request",
                request_id=request.id,
                method=request.method,
                path=request.environ.get("PATH_INFO", ""),
                route=route,
                status=response.status_code,
                duration_ms=round(duration * 1000, 2),
                client=request.client_address,
                actor=request.__dict__.get("actor_name"),
            )
        return response

    return tween


def _telling_repeated_statements(handler: Callable[[Any], Any], most: int) -> Callable[[Any], Any]:
    """Warn when a request sends one statement `most` times or more: N rows, and one more statement for each of them."""

    def watched(request: Any) -> Any:
        with counting_statements() as asked:
            response = handler(request)
        for statement, times in asked.items():
            if times >= most:
                matched = request.matched_route
                _log.warning(
                    "statement repeated",
                    request_id=request.id,
                    route=None if matched is None else matched.name,
                    times=times,
                    statement=shortened(statement),
                )
        return response

    return watched


def _counting(metrics: Metrics, traffic: Traffic) -> Callable[[str, str, int, float], None]:
    """What counts a request, given its route's pattern, its method, the status and the seconds it took."""
    requests = metrics.counter("commerce_http_requests_total", "Requests answered.", ("route", "method", "status"))
    seconds = metrics.histogram(
        "commerce_http_request_seconds", "Time until a request was answered.", ("route", "method")
    )
    # To look a label up costs as much as to count.
    known: dict[tuple[str, str, int], tuple[Callable[[], None], Callable[[float], None]]] = {}
    note = traffic.note

    def count(route: str, method: str, status: int, duration: float) -> None:
        key = (route, method if method in _METHODS else "other", status // 100)
        meters = known.get(key)
        if meters is None:
            counter, histogram = requests.labels(key[0], key[1], f"{key[2]}xx"), seconds.labels(key[0], key[1])
            meters = known[key] = (counter.inc, histogram.observe)
        meters[0]()
        meters[1](duration)
        if route not in PROBED:
            note(key[2] == 5, duration)

    return count


def includeme(config: Configurator) -> None:
    config.add_request_method(_request_id, "id", reify=True)
    config.add_request_method(_now, "now", reify=True)
    config.add_request_method(_raw_body, "raw_body", reify=True)
    config.registry.upload_requests = set()
    config.registry.traffic = Traffic()
    config.add_request_method(upload, "upload", reify=True)
    config.add_settings({"retry.activate_hook": take_body})
    config.add_request_method(_locale, "locale", reify=True)
    # From when on what is being answered will be wrong, as far as that is known: it is kept no longer.
    config.add_request_method(lambda request: None, "right_until", reify=True)
    config.add_request_method(lambda request: request.registry.settings_object, "settings", reify=True)
    config.add_tween("commerce_core.api.requests.request_tween_factory", over="pyramid_tm.tm_tween_factory")
