"""The addresses of the API about itself: its OpenAPI document, its reference, and what each problem means.

They are rendered when they are first asked for, and kept: nothing of them changes while the process lives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import orjson
from pyramid.config import Configurator
from pyramid.response import Response

from commerce_core.accounts.permissions import Permission
from commerce_core.api import API_PREFIX, docs_page
from commerce_core.api import openapi_parts as parts
from commerce_core.api.endpoints import PUBLIC_CACHE, api_view
from commerce_core.api.openapi import openapi_bytes
from commerce_core.api.problems import NotFound, Problem, all_problems

_HTML, _JSON = "text/html", "application/json"
# The pages hold one style sheet and nothing else that a browser would fetch or run.
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


@api_view(route_name="home", request_method="GET", permission=Permission.PUBLIC)
def home(request: Any) -> Response:
    """Nothing to see here: whoever opens the address in a browser is sent to the reference."""
    return Response(status=302, location=request.route_path("docs"))


@api_view(route_name="openapi", request_method="GET", permission=Permission.PUBLIC)
def openapi(request: Any) -> Response:
    """This API as an OpenAPI 3.1 document."""
    return _kept(request, _JSON, lambda: openapi_bytes(request.registry))


@api_view(route_name="docs", request_method="GET", permission=Permission.PUBLIC)
def docs(request: Any) -> Response:
    """The reference of this API, for people."""
    document = _kept(request, _JSON, lambda: openapi_bytes(request.registry), name="openapi")
    return _kept(request, _HTML, lambda: docs_page.reference_page(orjson.loads(document.body)).encode())


@api_view(route_name="problems", request_method="GET", permission=Permission.PUBLIC)
def problems(request: Any) -> Response:
    """Every problem type."""
    kinds = _problems_by_slug()
    if _wants_json(request):
        return _answer(_JSON, orjson.dumps({"data": [_described(kind) for kind in kinds.values()]}))
    return _answer(_HTML, docs_page.problems_page(list(kinds.values())).encode())


@api_view(route_name="problem", request_method="GET", permission=Permission.PUBLIC)
def problem(request: Any) -> Response:
    """What one problem type means: the page that its `type` is the address of."""
    kind = _problems_by_slug().get(request.matchdict["slug"])
    if kind is None:
        raise NotFound("There is no such problem type.")
    if _wants_json(request):
        return _answer(_JSON, orjson.dumps(_described(kind)))
    return _answer(_HTML, docs_page.problem_page(kind).encode())


def _kept(request: Any, content_type: str, make: Callable[[], bytes], *, name: str | None = None) -> Response:
    """The answer that `make` made the first time."""
    pages: dict[str, bytes] = request.registry.kept_pages
    name = name or request.matched_route.name
    if name not in pages:
        pages[name] = make()
    return _answer(content_type, pages[name])


def _answer(content_type: str, body: bytes) -> Response:
    response = Response(body=body, content_type=content_type, charset="utf-8" if content_type == _HTML else None)
    response.headers["Cache-Control"] = PUBLIC_CACHE
    response.headers["Vary"] = "Accept"
    response.etag = hashlib.blake2b(body, digest_size=16).hexdigest()
    response.conditional_response = True
    if content_type == _HTML:
        response.headers["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
    return response


def _wants_json(request: Any) -> bool:
    """A browser asks for HTML; what asks for nothing in particular is likely to be a person with a link, too."""
    preferred = request.accept.acceptable_offers([_HTML, _JSON])
    return bool(preferred) and preferred[0][0] == _JSON


def _problems_by_slug() -> dict[str, type[Problem]]:
    """Every kind that has a slug of its own, by status and slug."""
    kinds = {parts.kind_of_slug(kind) for kind in all_problems()}
    return {kind.slug: kind for kind in sorted(kinds, key=lambda kind: (kind.status, kind.slug))}


def _described(kind: type[Problem]) -> dict[str, Any]:
    return {
        "type": f"/problems/{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "description": parts.problem_explanation(kind),
        "example": parts.problem_example(kind),
    }


def includeme(config: Configurator) -> None:
    config.registry.kept_pages = {}
    config.add_route("home", "/")
    config.add_route("healthz", "/healthz")
    config.add_route("readyz", "/readyz")
    config.add_route("openapi", f"{API_PREFIX}/openapi.json")
    config.add_route("docs", f"{API_PREFIX}/docs")
    config.add_route("problems", "/problems")
    config.add_route("problem", "/problems/{slug:[^/]+(?:/[^/]+)?}")
    config.scan(".health")
    config.scan(".views")
