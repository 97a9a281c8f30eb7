"""Traces (OpenTelemetry) and reports of errors (Sentry), where the extra is installed and a setting says where to.

`pip install commerce-core[otel]` and `tracing.endpoint`; `pip install commerce-core[sentry]` and `sentry.dsn`. What
leaves the shop holds no secrets: addresses without query, statements with placeholders, errors without what was bound.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

import structlog
from pyramid.config import Configurator

from commerce_core.settings import CoreSettings, SentrySettings, SettingsError, TracingSettings

_log = structlog.get_logger("commerce.tracing")
_active: ContextVar[Tracing | None] = ContextVar("active", default=None)
_EXPORT_SECONDS = 5
LONGEST_TEXT = 2_000
MASK = "***"
_SECRETS = (
    # What SQLAlchemy adds to an error: everything that was bound.
    (re.compile(r"\[parameters: .*?(?=\n\(Background|\Z)", re.DOTALL), "[parameters: ***]"),
    # What PostgreSQL adds: the row, the value.
    (re.compile(r"\b(DETAIL|CONTEXT|LINE \d+): .*"), r"\1: ***"),
    (re.compile(r"(invalid input[^:\n]*: )\"[^\"\n]*\""), r"\1***"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), r"\1 ***"),
    (re.compile(r"\b(?:sk|rk|pk|whsec)_[\w+/=]+"), MASK),
    (re.compile(r"(?i)(\w*(?:password|secret|token|api_?key|authorization|signature)\w*['\"]?\s*[:=]\s*['\"]?)[^\s'\",&}]+"),
     r"\1***"),
    (re.compile(r"(\w+://)[^/\s@]+@"), r"\1***@"),
    (re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"), MASK),
)  # fmt: skip


def scrubbed(text: str) -> str:
    """A text without what looks like a secret, an e-mail address, or what was bound to a statement."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text[:LONGEST_TEXT]


class Tracing:
    """`registry.tracing`. `exporter` is where spans go; a thread sends them, from the first on."""

    def __init__(self, exporter: Any, settings: TracingSettings) -> None:
        self._exporter = exporter
        self._settings = settings
        self._made: tuple[Any, Any] | None = None

    @contextmanager
    def request(self, request: Any) -> Iterator[Any]:
        """A span for an HTTP request, within the trace that its `traceparent` names."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        names = {"traceparent": "HTTP_TRACEPARENT", "tracestate": "HTTP_TRACESTATE"}
        given = {name: request.environ[key] for name, key in names.items() if key in request.environ}
        context = TraceContextTextMapPropagator().extract(given)
        attributes = {"http.request.method": request.method, "commerce.request_id": request.id}
        with self._span(request.method, SpanKind.SERVER, attributes, context) as span:
            yield span

    @contextmanager
    def job(self, name: str, job_id: str, attempt: int, queue: str) -> Iterator[Any]:
        """A span for a run of a job, which is a trace of its own."""
        from opentelemetry.trace import SpanKind

        attributes = {
            "commerce.job.id": job_id,
            "commerce.job.attempt": attempt,
            "messaging.destination.name": queue,
        }
        with self._span(f"job {name}", SpanKind.CONSUMER, attributes) as span:
            yield span

    @contextmanager
    def outgoing(self, method: str, url: str) -> Iterator[Any]:
        """A span for a call to somebody else. Only the host is told: paths and queries may be secrets."""
        from opentelemetry.trace import SpanKind

        parts = urlsplit(url)
        attributes: dict[str, Any] = {"http.request.method": method, "server.address": parts.hostname or ""}
        with self._span(method, SpanKind.CLIENT, attributes) as span:
            yield span

    def statement(self, pool: str, statement: str, seconds: float) -> None:
        """A span for a SQL statement that has just ended."""
        from opentelemetry.trace import SpanKind

        ended = time.time_ns()
        name = statement.lstrip().partition(" ")[0].upper()[:20]
        attributes = {"db.system.name": "postgresql", "db.query.text": statement[:LONGEST_TEXT], "commerce.pool": pool}
        span = self._tracer().start_span(
            name, kind=SpanKind.CLIENT, attributes=attributes, start_time=ended - int(seconds * 1e9)
        )
        span.end(ended)

    def close(self) -> None:
        """Send what is left."""
        if self._made is not None:
            self._made[0].shutdown()
            self._made = None

    @contextmanager
    def _span(self, name: str, kind: Any, attributes: Mapping[str, Any], context: Any = None) -> Iterator[Any]:
        from opentelemetry.trace import Status, StatusCode

        token = _active.set(self)
        try:
            with self._tracer().start_as_current_span(
                name,
                context=context,
                kind=kind,
                attributes=attributes,
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                try:
                    yield span
                except Exception as error:
                    span.set_attribute("error.type", type(error).__name__)
                    span.set_status(Status(StatusCode.ERROR, scrubbed(str(error))))
                    raise
        finally:
            _active.reset(token)

    def _tracer(self) -> Any:
        """Made when it is first used, and so by the process that uses it: threads do not outlive a fork."""
        if self._made is None:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

            provider = TracerProvider(
                sampler=ParentBased(TraceIdRatioBased(self._settings.sample)),
                resource=Resource.create({"service.name": self._settings.service}),
                shutdown_on_exit=False,
            )
            provider.add_span_processor(BatchSpanProcessor(self._exporter))
            self._made = (provider, provider.get_tracer("commerce_core"))
        return self._made[1]


class Reports:
    """`registry.reports`: tells Sentry of errors that are our fault."""

    def __init__(self, settings: SentrySettings, transport: Any = None) -> None:
        import sentry_sdk

        assert settings.dsn is not None
        self._client = sentry_sdk.Client(
            dsn=settings.dsn.get_secret_value(),
            environment=settings.environment,
            sample_rate=settings.sample,
            default_integrations=False,
            include_local_variables=False,
            max_request_body_size="never",
            before_send=_without_secrets,
            transport=transport,
        )

    def error(self, error: BaseException, **tags: str) -> None:
        """Tell of it. Sent by a thread; that it cannot be is no error of its own."""
        from sentry_sdk.utils import event_from_exception

        event, hint = event_from_exception(error, client_options=self._client.options)
        event["tags"] = dict(tags)
        self._client.capture_event(event, hint)

    def close(self) -> None:
        self._client.close(timeout=2.0)


def _without_secrets(event: Any, _hint: Any) -> Any:
    """Every text of a report, scrubbed; no request, no local variables."""
    event.pop("request", None)
    return _walked(event)


def _walked(value: Any) -> Any:
    if isinstance(value, str):
        return scrubbed(value)
    if isinstance(value, dict):
        return {key: _walked(part) for key, part in value.items() if key != "vars"}
    return [_walked(part) for part in value] if isinstance(value, (list, tuple)) else value


@contextmanager
def outgoing_call(method: str, url: str) -> Iterator[None]:
    """Around a call to somebody else: a span of its trace, where the request or job that makes it is traced."""
    tracing = _active.get()
    if tracing is None:
        yield
        return
    with tracing.outgoing(method, url):
        yield


def note_statement(pool: str, statement: str, seconds: float) -> None:
    """A statement has ended: a span, where the request or job that it is for is traced."""
    tracing = _active.get()
    if tracing is not None:
        tracing.statement(pool, statement, seconds)


def tracing_tween_factory(handler: Callable[[Any], Any], registry: Any) -> Callable[[Any], Any]:
    """A span for each request, where traces are wanted."""
    if registry.tracing is None:
        return handler

    def tween(request: Any) -> Any:
        with registry.tracing.request(request) as span:
            response = handler(request)
            matched = request.matched_route
            if matched is not None:
                span.update_name(f"{request.method} {matched.pattern}")
                span.set_attribute("http.route", matched.pattern)
            span.set_attribute("http.response.status_code", response.status_code)
            if response.status_code >= 500:
                span.set_attribute("error.type", str(response.status_code))
            return response

    return tween


def includeme(config: Configurator) -> None:
    registry = config.registry
    settings: CoreSettings = registry.settings_object
    registry.tracing = registry.reports = None
    if settings.tracing.endpoint is not None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        except ImportError:
            raise SettingsError(["tracing.endpoint: needs `pip install commerce-core[otel]`"]) from None
        exporter = OTLPSpanExporter(settings.tracing.endpoint, timeout=_EXPORT_SECONDS)
        registry.tracing = Tracing(exporter, settings.tracing)
        config.add_tween(
            "commerce_core.tracing.tracing_tween_factory",
            under="commerce_core.api.requests.request_tween_factory",
            over="pyramid_tm.tm_tween_factory",
        )
    if settings.sentry.dsn is not None:
        try:
            registry.reports = Reports(settings.sentry)
        except ImportError:
            raise SettingsError(["sentry.dsn: needs `pip install commerce-core[sentry]`"]) from None
