"""The shop keeps to its OpenAPI document, whatever is sent: schemathesis makes up the requests."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import schemathesis
from schemathesis.engine import events, from_schema
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from webtest import TestApp

from commerce_core.api.openapi import openapi_document
from commerce_core.catalog.models import Brand, Category
from commerce_core.database import transaction
from commerce_core.payments.provider import ManualProvider
from commerce_core.testing import WEBHOOK_SECRET, SignedIn, assert_stock_adds_up
from commerce_core.webhooks.models import WebhookEndpoint
from commerce_core.webhooks.service import ping
from commerce_core.webhooks.signing import make_secret

# For each operation, besides those made from its examples and from the limits of each parameter and field.
EXAMPLES = 300 if os.environ.get("COMMERCE_SOAK") else 1
UUID_SCHEMA = {"type": "string", "format": "uuid"}
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
]


class Signing:
    """Does for the requests what their maker cannot, so that they get as far as their content.

    The manual provider's part: each webhook is signed. And whoever signs out does so with a token of their own.
    """

    def __init__(self, application: Any, sign_in: Callable[..., SignedIn]) -> None:
        self.application = application
        self.sign_in = sign_in

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/api/v1/payments/webhook":
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = io.BytesIO(body)
            environ["HTTP_X_WEBHOOK_SIGNATURE"] = "sha256=" + ManualProvider.signature(WEBHOOK_SECRET, body)
        if environ["PATH_INFO"].startswith("/api/v1/auth/logout"):
            environ["HTTP_AUTHORIZATION"] = " ".join(self.sign_in("staff").client.authorization)
        return self.application(environ, start_response)


def webhooks(session: Session) -> dict[str, list[str]]:
    """An endpoint, and what it was told."""
    now = datetime.now(UTC)
    endpoint = WebhookEndpoint(url="https://erp.example", topics=["*"], secret=make_secret(), created_at=now)
    session.add(endpoint)
    session.flush()
    deliveries = [ping(session, endpoint, now=now) for _ in range(3)]
    return {"webhook-endpoints": [str(endpoint.id)], "deliveries": [str(delivery.id) for delivery in deliveries]}


@pytest.fixture
def known_ids(
    engine: Engine, application: Any, make_variant: Callable[..., UUID], product_of: Callable[[UUID], UUID]
) -> dict[str, list[str]]:
    """What there is in the shop, by the part of a path or the field that may hold its id."""
    category, brand = Category(slug="jackets", name="Jackets"), Brand(slug="kestrel", name="Kestrel")
    with transaction(engine) as session:
        session.add_all([category, brand])
        session.flush()
        groups = {"categories": ["jackets", str(category.id)], "brands": [str(brand.id)]}
        groups |= webhooks(session)
    variants = [str(make_variant(stock=stock)) for stock in (0, 5, 1_000_000)]
    client = TestApp(application)

    def hold() -> str:
        answer = client.post_json("/api/v1/holds", {"variant_id": variants[-1], "quantity": 1})
        return str(answer.json["id"])

    orders = [client.post_json("/api/v1/orders", {"hold_id": hold()}).json for _ in range(3)]
    return {
        "products": [str(product_of(UUID(variants[0]))), "product-2"],
        **groups,
        "variants": variants[:1],
        "holds": [hold() for _ in range(20)],
        "stock": variants,
        "orders": [orders[0]["id"], orders[1]["number"], orders[2]["id"]],
        "variant_id": variants,
        "hold_id": [hold() for _ in range(20)],
        "order_id": [order["id"] for order in orders],
    }


@pytest.fixture
def api(application: Any, known_ids: dict[str, list[str]], sign_in: Callable[..., SignedIn]) -> Any:
    """The document, in which ids are likely to be those of something, and a member of staff to ask."""
    document = openapi_document(application.registry)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for parameter in operation["parameters"]:
                if parameter.get("in") == "path":
                    thing = path.partition(f"/{{{parameter['name']}}}")[0].rpartition("/")[2]
                    parameter["schema"] = {
                        "anyOf": [*({"enum": ids} for ids in [known_ids.get(thing)] if ids), UUID_SCHEMA]
                    }
    for body in document["components"]["schemas"].values():
        if body.get("additionalProperties") is False:  # only what is sent is closed
            for name in body["properties"].keys() & known_ids.keys():
                body["properties"][name] = {"anyOf": [{"enum": known_ids[name]}, body["properties"][name]]}
    # Staff have a bearer token, and then this is not looked at.
    document["components"]["parameters"]["CartToken"]["schema"] = {"type": "string"}

    schema = schemathesis.openapi.from_dict(document)
    schema.app = Signing(application, sign_in)
    scheme, token = sign_in("staff").client.authorization
    schema.config.update(headers={"Authorization": f"{scheme} {token}"})
    schema.config.generation.update(max_examples=EXAMPLES, deterministic=True, database="none")
    schema.config.checks.update(included_check_names=CHECKS)
    return schema


def test_every_answer_is_as_documented(api: Any, engine: Engine) -> None:
    asked: Counter[str] = Counter()
    failures: dict[tuple[str, str], str] = {}
    for event in from_schema(api).execute():
        if isinstance(event, events.ScenarioFinished):
            asked[event.recorder.label] += len(event.recorder.cases)
            for results in event.recorder.checks.values():
                for check in results:
                    if found := check.failure_info:
                        report = f"{found.failure.title}: {found.failure.message}\n{found.code_sample}"
                        failures.setdefault((event.recorder.label, check.name), report)
        elif isinstance(event, (events.NonFatalError, events.FatalError)):
            failures[str(event), "error"] = "schemathesis could not go on"
    assert not failures, "\n\n".join(f"{label} {check}\n{report}" for (label, check), report in failures.items())
    assert len(asked) >= len(list(api.get_all_operations()))
    assert sum(asked.values()) > 1_000
    assert_stock_adds_up(engine)
