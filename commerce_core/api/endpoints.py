"""`api_view`: a view as one sentence. It validates what comes in, calls the function, and presents what it returns.

    @api_view(route_name="holds", request_method="POST", permission=Permission.HOLD_CREATE,
              body=HoldIn, returns=HoldOut, status=201)
    def create_hold(request, body): ...

The function gets the request, then the parsed body and the parsed query where they are declared. It returns a model
of `returns` or a dict in its shape, or a finished Response. What is declared here is also the OpenAPI document.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

import orjson
import venusian
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pyramid.config import Configurator
from pyramid.response import Response

from commerce_core.accounts.permissions import CUSTOMER
from commerce_core.api import idempotency
from commerce_core.api.kept import json_response, kept_answer, render
from commerce_core.api.preconditions import etag_of, require_if_match
from commerce_core.api.problems import (
    InvalidInput,
    MalformedRequest,
    NotFound,
    Problem,
    UnsupportedMediaType,
)
from commerce_core.api.uploads import receive_upload

View = TypeVar("View", bound=Callable[..., Any])
_NESTED = re.compile(r"([a-z_]+)\[([^\[\]]{1,64})\]")
PUBLIC_CACHE = "public, max-age=0, must-revalidate"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one route, as declared: what the OpenAPI document and the route checks are made of."""

    route_name: str
    method: str
    permission: str
    function: Callable[..., Any]
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    returns: type[BaseModel] | None = None
    status: int = 200
    cached: bool | Callable[..., Iterable[str]] = False
    keyed: bool = False
    guard: Callable[[Any], None] | None = None
    audited: bool = False
    limit: str | None = "default"
    versioned: bool = False
    located: bool = False
    upload: str | None = None
    produces: str = "application/json"
    problems: tuple[type[Problem], ...] = field(default=())

    @property
    def needs_if_match(self) -> bool:
        """Whether it changes something of which there are versions."""
        return self.versioned and self.method != "GET" and self.status != 201


def api_view(
    *,
    route_name: str,
    request_method: str,
    permission: str,
    body: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    returns: type[BaseModel] | None = None,
    status: int = 200,
    cached: bool | Callable[..., Iterable[str]] = False,
    keyed: bool | None = None,
    guard: Callable[[Any], None] | None = None,
    audited: bool | None = None,
    limit: str | None = "default",
    versioned: bool = False,
    located: bool = False,
    upload: str | None = None,
    produces: str = "application/json",
    problems: tuple[type[Problem], ...] = (),
) -> Callable[[View], View]:
    """Declare an endpoint.

    A POST takes idempotency keys unless `keyed` is False (it then sees to them itself). `guard(request)` is called
    before anything of the request is parsed; it may raise a Problem. What needs a permission that customers do not have
    and is no GET must call `request.audit`, unless `audited` is False. `limit` is the rate limit that a request counts
    for, one of the settings `limits.*`, or None for none.

    An answer that is `cached` has an ETag and may be kept by anybody. Where `cached` is a function, it is the same for
    everybody who asks for it in one language, and is kept here, too, under the tags that the function says, given what
    the view returns and the parsed query: see kept.py. A query that is not `is_kept` is answered afresh.

    What is `versioned` answers with its `version` as the ETag, and is changed with `If-Match` only: see
    preconditions.py. What is new and `located`, as is all that is versioned, can be read at this address and its id:
    that is its Location. With `upload`, a media type, the body is received into a file: see
    uploads.py. `produces` names an answer that is not JSON.
    """

    def decorate(function: View) -> View:
        endpoint = Endpoint(
            route_name=route_name,
            method=request_method,
            permission=permission,
            function=function,
            body=body,
            query=query,
            returns=returns,
            status=status,
            cached=cached,
            keyed=request_method == "POST" if keyed is None else keyed,
            guard=guard,
            audited=request_method != "GET" and permission not in CUSTOMER if audited is None else audited,
            limit=limit,
            versioned=versioned,
            located=located or (versioned and status == 201),
            upload=upload,
            produces=produces,
            problems=problems,
        )

        def register(scanner: Any, _name: str, _function: Any) -> None:
            scanner.config.add_endpoint(endpoint)

        venusian.attach(function, register, category="pyramid")
        return function

    return decorate


def add_endpoint(config: Configurator, endpoint: Endpoint) -> None:
    """Directive: serve `endpoint`, and list it in `registry.endpoints`."""
    config.add_view(
        view_of(endpoint),
        route_name=endpoint.route_name,
        request_method=endpoint.method,
        permission=endpoint.permission,
        limit=endpoint.limit,
    )
    config.action(None, config.registry.endpoints.append, args=(endpoint,))


def view_of(endpoint: Endpoint) -> Callable[[Any, Any], Response]:
    """The Pyramid view of an endpoint."""
    function = endpoint.function

    def view(_context: Any, request: Any) -> Response:
        try:
            return answer(request)
        except Problem as problem:
            # Known before anything is committed. Answered here, because Pyramid's exception views cost as much again.
            if "tm.active" in request.environ:
                request.tm.doom()
            return problem_response(problem, request)

    def answer(request: Any) -> Response:
        if request.method not in ("GET", "HEAD") and endpoint.upload is None:
            assert request.raw_body is not None  # raises if it could not be read
        if endpoint.guard is not None:
            endpoint.guard(request)
        if endpoint.needs_if_match:
            require_if_match(request)
        arguments = []
        if endpoint.body is not None:
            arguments.append(validated(endpoint.body, read_json(request)))
        if endpoint.query is not None:
            arguments.append(validated(endpoint.query, read_query(request), whole="query"))
        elif request.environ.get("QUERY_STRING"):
            unknown = read_query(request)
            raise InvalidInput([_unknown(name) for name in unknown])
        if endpoint.upload is not None:
            receive_upload(request, endpoint.upload, request.settings.imports.max_bytes)
        keyed = idempotency.KeyedRequest.of(request) if endpoint.keyed else None
        if keyed is None:
            return work(request, arguments)
        stored = idempotency.claim(request.db, keyed)
        if stored is not None:
            return labelled(endpoint, request, replay(request, stored))
        response = work(request, arguments)
        if response.status_code < 300:
            idempotency.remember(request.db, keyed, response.status_code, response.body)
        return response

    def work(request: Any, arguments: list[Any]) -> Response:
        if callable(endpoint.cached) and all(argument.is_kept for argument in arguments):
            return kept_answer(request, function, arguments, endpoint.cached)
        result = function(request, *arguments)
        if endpoint.audited and not request.is_audited:
            raise RuntimeError(f"{function.__qualname__} has not called request.audit(...)")
        return present(endpoint, request, result)

    view.__doc__ = function.__doc__
    view.__name__ = function.__name__
    return view


def present(endpoint: Endpoint, request: Any, result: Any) -> Response:
    """The response for what an endpoint's function returned."""
    if isinstance(result, Response):
        return labelled(endpoint, request, result) if endpoint.located else result
    if result is None:
        return Response(status=204)
    response = labelled(endpoint, request, json_response(render(result), endpoint.status))
    if endpoint.cached:
        response.headers["Cache-Control"] = PUBLIC_CACHE
        response.headers["Vary"] = "Accept-Language"
        response.etag = hashlib.blake2b(response.body, digest_size=16).hexdigest()
        response.conditional_response = True
    else:
        response.headers["Cache-Control"] = "no-store"
    return response


def labelled(endpoint: Endpoint, request: Any, response: Response) -> Response:
    """The response with the ETag of what is `versioned`, and with where to find what is new."""
    if endpoint.versioned or endpoint.located:
        shown = orjson.loads(response.body)
        if endpoint.versioned:
            response.headers["ETag"] = etag_of(shown["version"])
        if endpoint.located:
            response.headers["Location"] = f"{request.path}/{shown['id']}"
    return response


def problem_response(problem: Problem, request: Any) -> Response:
    """`problem` as application/problem+json."""
    response = Response(
        body=orjson.dumps(problem.body(f"urn:request:{request.id}")),
        status=problem.status,
        content_type="application/problem+json",
        charset=None,
    )
    response.headers.update({"Cache-Control": "no-store", **problem.headers})
    return response


def replay(request: Any, stored: idempotency.StoredAnswer) -> Response:
    """The answer to a repeated request: the same, and marked as such."""
    request.registry.replays.inc()
    response = json_response(stored.body, stored.status)
    response.headers.update({"Cache-Control": "no-store", "Idempotent-Replayed": "true"})
    return response


def read_json(request: Any) -> Any:
    """The body, which must be JSON. Raises UnsupportedMediaType or MalformedRequest."""
    media_type = request.environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise UnsupportedMediaType(f"Send application/json, not {media_type or 'a body without a Content-Type'}.")
    try:
        return orjson.loads(request.raw_body)
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"The body is not valid JSON: {error}.") from None


def read_query(request: Any) -> dict[str, Any]:
    """Query parameters: repeated ones as lists, `attributes[color]=red` as {"attributes": {"color": ["red"]}}."""
    try:
        pairs = parse_qsl(
            request.environ.get("QUERY_STRING", ""), keep_blank_values=True, errors="strict", max_num_fields=100
        )
    except UnicodeDecodeError:
        raise MalformedRequest("The query is not valid UTF-8.") from None
    except ValueError:
        raise MalformedRequest("There are too many query parameters.") from None
    parsed: dict[str, Any] = {}
    for name, value in pairs:
        nested = _NESTED.fullmatch(name)
        if nested:
            group = parsed.setdefault(nested[1], {})
            if not isinstance(group, dict):
                raise InvalidInput([_unknown(name)])
            group.setdefault(nested[2], []).append(value)
        elif name not in parsed:
            parsed[name] = value
        elif isinstance(parsed[name], list):
            parsed[name].append(value)
        else:
            parsed[name] = [parsed[name], value]
    return parsed


def validated(schema: type[BaseModel], data: Any, whole: str = "body") -> Any:
    """`data` as a `schema`. Raises InvalidInput with every field at fault; `whole` is the name of all of it."""
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        raise InvalidInput(
            [
                {
                    "field": ".".join(_place(detail, data)) or whole,
                    "code": detail["type"],
                    "message": _message(detail),
                }
                for detail in error.errors(include_url=False, include_input=False)
            ]
        ) from None


def _place(detail: ErrorDetails, data: Any) -> list[str]:
    """The way through `data` to what is wrong: pydantic's, without the alternatives of a union that it has tried.

    Those are no part of what was sent: `attributes.size`, not `attributes.size.constrained-str` and so on.
    """
    way: list[str] = []
    last = len(detail["loc"]) - 1
    for number, part in enumerate(detail["loc"]):
        if isinstance(part, int):
            data = data[part] if isinstance(data, list) and part < len(data) else None
        elif isinstance(data, dict) and part in data:
            data = data[part]
        elif not (number == last and detail["type"] == "missing"):
            continue
        way.append(str(part))
    return way


def _message(detail: ErrorDetails) -> str:
    """pydantic's own, except where it speaks of Python."""
    if detail["type"] == "model_type":
        return "Input should be an object"
    context = detail.get("ctx", {})
    if context.get("field_type") == "Value":  # a text whose length is looked at after a validator of ours
        few = detail["type"] == "too_short"
        limit = f"at least {context['min_length']}" if few else f"at most {context['max_length']}"
        return f"String should have {limit} character{'' if limit.endswith(' 1') else 's'}"
    return detail["msg"]


def path_id(request: Any, name: str = "id") -> UUID:
    """A UUID from the path. Raises NotFound when it is none: there is nothing at such an address."""
    try:
        return UUID(request.matchdict[name])
    except ValueError:
        raise NotFound() from None


def _unknown(name: str) -> dict[str, str]:
    return {"field": name, "code": "extra_forbidden", "message": "is not a parameter of this address"}


def includeme(config: Configurator) -> None:
    config.registry.endpoints = []
    config.registry.replays = config.registry.metrics.counter(
        "commerce_idempotent_replays_total", "Requests that got the answer that was given to their key before."
    )
    config.add_directive("add_endpoint", add_endpoint)
