"""The OpenAPI 3.1 document: made from the endpoints as they are declared, so it cannot say anything else than they do.

An endpoint belongs to the room whose views declare it, and comes where its route comes in that room's table of
contents. Only what is true of every endpoint (problems, headers, the token) is written down, in `openapi_parts`.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Sequence
from copy import deepcopy
from importlib.metadata import version
from typing import Any

import orjson
from pyramid.interfaces import IRoutesMapper

from commerce_core.accounts.permissions import GUEST, Permission
from commerce_core.api import API_PREFIX
from commerce_core.api import openapi_parts as parts
from commerce_core.api.endpoints import Endpoint
from commerce_core.api.openapi_schemas import Schemas
from commerce_core.api.preconditions import PreconditionFailed, PreconditionRequired
from commerce_core.api.problems import (
    BodyTooLarge,
    Forbidden,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    InvalidInput,
    MalformedRequest,
    NotFound,
    Problem,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)

Json = dict[str, Any]
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_DESCRIPTION = """\
Headless commerce that cannot oversell. Money is whole minor units with a currency, times are UTC, ids are UUIDs, and \
whatever goes wrong is a [problem](/problems) with a stable type. Every `GET` answers `HEAD`, too.
"""


def openapi_bytes(registry: Any) -> bytes:
    """The document as it is served and written to files."""
    return orjson.dumps(openapi_document(registry), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def openapi_document(registry: Any) -> Json:
    """The document of an application, or of a committed configuration; the database is not needed."""
    # What is below a prefix, as plugins' routes are, has no slash before it.
    patterns = {
        route.name: f"/{route.pattern.lstrip('/')}" for route in registry.getUtility(IRoutesMapper).get_routes()
    }
    # The shop first; what machines ask, /healthz and the like, comes last.
    ordered = sorted(patterns, key=lambda name: not patterns[name].startswith(API_PREFIX))
    order = {name: number for number, name in enumerate(ordered)}
    endpoints = sorted(
        (endpoint for endpoint in registry.endpoints if documented(endpoint)),
        key=lambda endpoint: (order[endpoint.route_name], _METHODS.index(endpoint.method)),
    )
    schemas = Schemas(endpoints)
    paths: Json = {}
    problems: dict[str, type[Problem]] = {}
    for endpoint in endpoints:
        # A placeholder may carry a regular expression, `{id:\d+}`, which OpenAPI has no place for.
        path = re.sub(r"{(\w+):[^{}]*}", r"{\1}", patterns[endpoint.route_name])
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, path, schemas)
        problems |= {kind.slug: parts.kind_of_slug(kind) for kind in _problems(endpoint, path)}
    registry.extensions.describe(schemas.components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Commerce",
            "version": version("commerce-core"),
            "summary": "The REST API of a shop",
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": _tags(endpoints),
        "paths": paths,
        "components": {
            "schemas": dict(sorted({**schemas.components, **parts.problem_schemas(problems.values())}.items())),
            "responses": {parts.problem_name(kind): parts.problem_response([kind]) for kind in problems.values()},
            # Copies: whoever gets the document may change it.
            "parameters": deepcopy(parts.PARAMETERS),
            "headers": deepcopy(parts.HEADERS),
            "securitySchemes": deepcopy(parts.SECURITY_SCHEMES),
        },
    }


def documented(endpoint: Endpoint) -> bool:
    """Whether an endpoint is part of the API. One that declares no answer is a page about it."""
    return endpoint.returns is not None or endpoint.status == 204 or endpoint.produces == "text/csv"


def _operation(endpoint: Endpoint, path: str, schemas: Schemas) -> Json:
    summary, description = _explanation(endpoint)
    operation: Json = {
        "operationId": _operation_id(endpoint),
        "tags": [_tag(endpoint)],
        "summary": summary,
        **({"description": description} if description else {}),
        "parameters": _parameters(endpoint, path, schemas),
        "responses": _responses(endpoint, path, schemas),
        "security": [{"bearer": []}] if endpoint.permission not in GUEST else [{}, {"bearer": []}],
        "x-permission": str(endpoint.permission),
    }
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas.ref(endpoint.body, "validation")}},
        }
    if endpoint.upload is not None:
        operation["requestBody"] = {"required": True, "content": {endpoint.upload: {"schema": {"type": "string"}}}}
    return operation


def _parameters(endpoint: Endpoint, path: str, schemas: Schemas) -> list[Json]:
    found = [parts.path_parameter(path, name) for name in _placeholders(path)]
    if endpoint.query is not None:
        found += schemas.query_parameters(endpoint.query)
    headers = {
        "IdempotencyKey": takes_idempotency_key(endpoint),
        "CartToken": endpoint.permission in GUEST - {Permission.PUBLIC} or takes_over_cart(endpoint, schemas),
        "Channel": endpoint.permission in {Permission.CART, Permission.ORDER_CREATE},
        "AcceptLanguage": endpoint.returns is not None and schemas.mentions(endpoint.returns, "Money"),
        "IfNoneMatch": bool(endpoint.cached),
        "IfMatch": endpoint.needs_if_match,
        "RequestID": True,
    }
    return found + [parts.ref("parameters", name) for name, wanted in headers.items() if wanted]


def takes_over_cart(endpoint: Endpoint, schemas: Schemas) -> bool:
    """Whether what a guest had becomes the user's."""
    return endpoint.returns is not None and schemas.mentions(endpoint.returns, "CartMerge")


def takes_idempotency_key(endpoint: Endpoint) -> bool:
    """Whether `Idempotency-Key` counts: also where an endpoint that is not `keyed` sees to its keys itself."""
    return endpoint.keyed or IdempotencyKeyReused in endpoint.problems


def _responses(endpoint: Endpoint, path: str, schemas: Schemas) -> Json:
    success: Json = {"description": "Done; there is nothing to say."}
    headers = ["X-Request-ID", *(parts.LIMIT_HEADERS if endpoint.limit else ())]
    if endpoint.returns is not None:
        schema = schemas.ref(endpoint.returns, "serialization")
        success = {"description": schemas.description(schema), "content": {"application/json": {"schema": schema}}}
    elif endpoint.produces == "text/csv":
        success = {"description": "The file.", "content": {endpoint.produces: {"schema": {"type": "string"}}}}
    responses = {str(endpoint.status): success}
    if endpoint.versioned and endpoint.returns is not None:
        headers += ["ETag"]
    if endpoint.located:
        headers += ["Location"]
    if endpoint.cached:
        headers += ["ETag", "Cache-Control"]
        responses["304"] = {"description": "Nothing has changed since the answer with this ETag."}
    if takes_idempotency_key(endpoint):
        headers += ["Idempotent-Replayed"]
    success["headers"] = {name: parts.ref("headers", name) for name in headers}
    by_status: dict[int, list[type[Problem]]] = {}
    for kind in _problems(endpoint, path):
        by_status.setdefault(kind.status, []).append(kind)
    for status, kinds in sorted(by_status.items()):
        alone = len(kinds) == 1 and kinds[0] is parts.kind_of_slug(kinds[0])
        responses[str(status)] = (
            parts.ref("responses", parts.problem_name(kinds[0])) if alone else parts.problem_response(kinds)
        )
    # Whatever else goes wrong is our fault.
    responses["default"] = responses.pop("500")
    return responses


def _problems(endpoint: Endpoint, path: str) -> list[type[Problem]]:
    """What can go wrong: what the endpoint names, and what follows from how every endpoint behaves. One per type."""
    general: dict[type[Problem], bool] = {
        MalformedRequest: True,  # an address, a query or a body in no encoding
        Unauthorized: True,  # a token that is sent must be good, even where none is needed
        Forbidden: endpoint.permission != Permission.PUBLIC,
        NotFound: bool(_placeholders(path)),
        BodyTooLarge: endpoint.method != "GET",
        UnsupportedMediaType: endpoint.body is not None or endpoint.upload is not None,
        PreconditionRequired: endpoint.needs_if_match,
        PreconditionFailed: endpoint.needs_if_match,
        InvalidInput: True,  # unknown query parameters are refused everywhere
        IdempotencyKeyInUse: endpoint.keyed,
        IdempotencyKeyReused: endpoint.keyed,
        TooManyRequests: endpoint.limit is not None,
        Unavailable: True,
        Problem: True,
    }
    kinds = [*endpoint.problems, *(kind for kind, possible in general.items() if possible)]
    return list({kind.slug: kind for kind in reversed(kinds)}.values())[::-1]


def _tags(endpoints: Sequence[Endpoint]) -> list[Json]:
    rooms = {_tag(endpoint): _room(endpoint) for endpoint in endpoints}
    return [
        {"name": tag, "description": (inspect.getdoc(sys.modules[room]) or tag).partition("\n\n")[0].replace("\n", " ")}
        for tag, room in rooms.items()
    ]


def _operation_id(endpoint: Endpoint) -> str:
    """The function's name; a plugin's with the plugin's package before it, as another may have one of that name."""
    package = _room(endpoint).partition(".")[0]
    name = endpoint.function.__name__
    return name if package == "commerce_core" else f"{package.removeprefix('commerce_')}_{name}"


def _tag(endpoint: Endpoint) -> str:
    return _room(endpoint).rpartition(".")[2].replace("_", " ").capitalize()


def _room(endpoint: Endpoint) -> str:
    """The package whose views declare it: `commerce_core.stock`."""
    module: str = endpoint.function.__module__
    return module.rpartition(".")[0]


def _explanation(endpoint: Endpoint) -> tuple[str, str]:
    """The first sentence of the docstring, and the rest."""
    text = inspect.getdoc(endpoint.function) or endpoint.function.__name__.replace("_", " ").capitalize()
    summary, _, rest = re.sub(r"\s+", " ", text).partition(". ")
    return summary.removesuffix("."), rest


def _placeholders(path: str) -> list[str]:
    return re.findall(r"{(\w+)}", path)
