"""The exception views: whatever goes wrong, the client gets a problem document, and nothing internal leaks."""

from __future__ import annotations

from typing import Any

import psycopg
import structlog
from pyramid.config import Configurator
from pyramid.exceptions import PredicateMismatch, URLDecodeError
from pyramid.httpexceptions import HTTPException, HTTPForbidden, HTTPNotFound
from pyramid.response import Response
from pyramid_retry import IBeforeRetry, is_error_retryable
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from commerce_core.api.endpoints import problem_response
from commerce_core.api.problems import (
    Forbidden,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    Problem,
    Unauthorized,
    Unavailable,
)
from commerce_core.log import first_line

_log = structlog.get_logger("commerce.error")

# The database is away, restarting, out of connections, or cannot serve us in time: it is not the request's fault.
# Classes 08 (connection), 53 (resources), 57 (operator intervention, statement time-out), and 55P03 (lock time-out).
_UNAVAILABLE_SQLSTATES = ("08", "53", "57", "55P03")
# What a conflict looks like when its last attempt has failed, too.
_CONFLICT_SQLSTATES = ("40001", "40P01")


def is_unavailable(error: BaseException | None) -> bool:
    """Whether a database error means "not now" rather than "never"."""
    if isinstance(error, PoolTimeout):
        return True
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        error = error.orig
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is not None:
        return error.sqlstate.startswith(_UNAVAILABLE_SQLSTATES + _CONFLICT_SQLSTATES)
    return isinstance(error, psycopg.OperationalError)


def on_problem(problem: Problem, request: Any) -> Response:
    return problem_response(problem, request)


def on_unreadable_address(_error: Exception, request: Any) -> Response:
    return problem_response(MalformedRequest("The address is not valid UTF-8."), request)


def on_not_found(error: HTTPNotFound, request: Any) -> Response:
    route = request.matched_route
    if isinstance(error, PredicateMismatch) and route is not None:
        methods = sorted({e.method for e in request.registry.endpoints if e.route_name == route.name})
        if methods:
            allow = ", ".join([*methods, "HEAD"] if "GET" in methods else methods)
            return problem_response(
                MethodNotAllowed(f"{request.method} is not one of {allow}.", headers={"Allow": allow}), request
            )
    return problem_response(NotFound("There is nothing at this address."), request)


def on_forbidden(_error: HTTPForbidden, request: Any) -> Response:
    if request.actor is None:
        return problem_response(Unauthorized(request.authentication_failure), request)
    return problem_response(Forbidden(), request)


def on_http_exception(error: HTTPException, request: Any) -> Response:
    problem = Problem(error.detail or error.title)
    problem.__dict__.update(slug=f"http-{error.code}", title=error.title, status=error.code)
    return problem_response(problem, request)


def on_error(error: Exception, request: Any) -> Response:
    """Anything else. A database that is away is 503; the rest is our fault, logged in full and told in general."""
    if is_unavailable(error):
        if not is_error_retryable(request, error):
            _log.warning("unavailable", request_id=request.id, error=first_line(error))
        return problem_response(Unavailable(), request)
    _log.error("unexpected error", request_id=request.id, exc_info=error)
    reports = request.registry.reports
    if reports is not None:
        matched = request.matched_route
        reports.error(error, request_id=request.id, route="" if matched is None else matched.pattern)
    return problem_response(Problem(), request)


def log_retry(event: IBeforeRetry) -> None:
    _log.info("retry", request_id=event.request.id, error=first_line(event.exception))
    event.request.registry.retries.inc()


def includeme(config: Configurator) -> None:
    config.registry.retries = config.registry.metrics.counter(
        "commerce_transaction_retries_total", "Requests tried again after a conflict in the database."
    )
    config.add_exception_view(on_problem, context=Problem)
    config.add_exception_view(on_unreadable_address, context=URLDecodeError)
    config.add_exception_view(on_unreadable_address, context=UnicodeDecodeError)
    config.add_exception_view(on_http_exception, context=HTTPException)
    config.add_exception_view(on_error, context=Exception)
    config.add_notfound_view(on_not_found)
    config.add_forbidden_view(on_forbidden)
    config.add_subscriber(log_retry, IBeforeRetry)
