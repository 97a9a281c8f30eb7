"""Traces and reports of errors hold what one looks for, and no secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED
from sqlalchemy import Engine, text
from webtest import TestApp

from commerce_core.application import close, make_configurator
from commerce_core.database import transaction
from commerce_core.jobs.kinds import Fatal, JobContext, job
from commerce_core.jobs.runner import run_due
from commerce_core.settings import CoreSettings, SentrySettings, SettingsError
from commerce_core.testing import StoppedClock
from commerce_core.tracing import Reports, Tracing, outgoing_call, scrubbed

SECRET = "hunter2-hunter2"
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACED = {"tracing.endpoint": "http://127.0.0.1:9/v1/traces", "sentry.dsn": "http://key@127.0.0.1:9/1"}


class Collector:
    """What was sent."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    def export(self, spans: Any) -> Any:
        from opentelemetry.sdk.trace.export import SpanExportResult

        self.spans += spans
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None: ...

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


@job("tests.call_out")
def call_out(context: JobContext) -> None:
    context.session.execute(text("SELECT :secret"), {"secret": SECRET})
    with outgoing_call("POST", f"https://hooks.example/services/{SECRET}?key={SECRET}"):
        pass
    raise Fatal(f"password={SECRET}")


def busy(request: Any) -> Response:
    request.db.execute(text("SELECT :secret"), {"secret": SECRET})
    return Response("done")


def broken(request: Any) -> Response:
    token = SECRET  # a local variable
    request.db.execute(text("SELECT CAST(:secret AS integer)"), {"secret": token})
    return Response("never")


class World:
    """A shop whose traces and reports end here."""

    def __init__(self, settings: CoreSettings, clock: StoppedClock) -> None:
        config = make_configurator(settings, clock=clock)
        self.registry = config.registry
        self.collector, self.reports = Collector(), list[Any]()
        self.registry.tracing.close()
        self.registry.reports.close()
        self.registry.tracing = Tracing(self.collector, settings.tracing)
        self.registry.reports = Reports(settings.sentry, transport=_transport(self.reports))
        config.add_job(call_out)
        for view in (busy, broken):
            config.add_route(view.__name__, f"/{view.__name__}/{{what}}")
            config.add_view(view, route_name=view.__name__, permission=NO_PERMISSION_REQUIRED)
        self.client = TestApp(config.make_wsgi_app())

    def spans(self) -> list[Any]:
        self.registry.tracing.close()
        return self.collector.spans


def _transport(reports: list[Any]) -> Any:
    from sentry_sdk.transport import Transport

    class Kept(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            reports.extend(item.payload.json for item in envelope.items)

    return Kept


@pytest.fixture
def world(settings: CoreSettings, clock: StoppedClock, engine: Engine) -> Iterator[World]:
    made = World(settings, clock)
    yield made
    close(made.registry)


@pytest.mark.commerce(settings=TRACED)
def test_a_request_is_a_trace_with_its_statements(world: World) -> None:
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "Authorization": f"Basic {SECRET}"}
    world.client.get(f"/busy/{SECRET}?token={SECRET}", headers=headers)
    spans = world.spans()
    (request,) = (span for span in spans if span.name == "GET /busy/{what}")
    assert f"{request.context.trace_id:032x}" == TRACE
    assert (request.attributes["http.route"], request.attributes["http.response.status_code"]) == ("/busy/{what}", 200)
    statements = [span for span in spans if span.parent and span.parent.span_id == request.context.span_id]
    assert "SELECT %(secret)s" in {span.attributes["db.query.text"].split("::")[0] for span in statements}
    assert SECRET not in "".join(span.to_json() for span in spans)


@pytest.mark.commerce(settings=TRACED)
def test_a_job_is_a_trace_with_its_calls_and_what_it_dies_of_is_reported(world: World, engine: Engine) -> None:
    with transaction(world.registry.engine) as session:
        call_out.enqueue(session, now=world.registry.clock.now())
    assert run_due(world.registry, world.registry.engine) == 1
    spans = {span.name: span for span in world.spans()}
    ran, called = spans["job tests.call_out"], spans["POST"]
    assert called.parent.span_id == ran.context.span_id
    assert called.attributes["server.address"] == "hooks.example"
    assert ran.attributes["error.type"] == "Fatal"
    (report,) = world.reports
    assert report["tags"]["job"] == "tests.call_out"
    assert report["exception"]["values"][-1]["type"] == "Fatal"
    assert SECRET not in json.dumps(world.reports) + "".join(span.to_json() for span in spans.values())


@pytest.mark.commerce(settings=TRACED)
def test_what_is_our_fault_is_reported_without_what_was_bound_or_asked(world: World) -> None:
    headers = {"X-Request-ID": str(uuid4()), "Authorization": f"Basic {SECRET}"}
    world.client.get(f"/broken/x?token={SECRET}", headers=headers, status=500)
    world.client.get("/nowhere", status=404)
    (report,) = world.reports
    assert report["tags"] == {"request_id": headers["X-Request-ID"], "route": "/broken/{what}"}
    assert "invalid input syntax" in json.dumps(report)
    assert "SELECT CAST(" in json.dumps(report)
    assert SECRET not in json.dumps(report)


def test_without_settings_nothing_is_traced(application: Any) -> None:
    assert (application.registry.tracing, application.registry.reports) == (None, None)
    with outgoing_call("GET", "https://example.com"):
        pass


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("Authorization: Bearer abc.def-1", "abc"),
        ('{"password": "abc", "name": "x"}', "abc"),
        ("client_secret=abc&x=1", "abc"),
        ("key sk_live_abc was refused", "abc"),
        ("postgresql://shop:abc@db/shop", "abc"),
        ("no user ada@example.com", "ada"),
        ("invalid input syntax for type integer: \"abc\"\nCONTEXT:  unnamed portal parameter $1 = 'abc'", "abc"),
        ("duplicate key\nDETAIL: Key (email)=(abc) exists.", "abc"),
        ("error\n[SQL: SELECT %(a)s]\n[parameters: {'a': 'abc\nmore'}]", "abc"),
    ],
)
def test_what_looks_like_a_secret_is_masked(said: str, left: str) -> None:
    assert left not in scrubbed(said)
    assert scrubbed("Order 1001 has no line 3") == "Order 1001 has no line 3"


def test_an_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, settings: CoreSettings) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sentry_sdk", None)
    wanted = settings.model_copy(update={"sentry": SentrySettings.model_validate({"dsn": "http://k@127.0.0.1/1"})})
    with pytest.raises(SettingsError, match=r"commerce-core\[sentry\]"):
        make_configurator(wanted)
