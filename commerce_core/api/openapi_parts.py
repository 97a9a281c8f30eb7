"""The parts of the OpenAPI document that are the same for every endpoint: headers, the token, and problems."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

from commerce_core.api.problems import InvalidInput, Problem

Json = dict[str, Any]
PROBLEM_JSON = "application/problem+json"
EXAMPLE_ID = "01932c07-209c-7e3a-b6f4-5d2a8c9e1f70"
EXAMPLE_REQUEST = "01932c0721b47c01a1e59b6a30d4c8ef"

SECURITY_SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API token: `Authorization: Bearer cmt_...`."}
}

PARAMETERS: Json = {
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Makes a repeat safe: the same key with the same request gets the same answer, and no second "
        "effect. Choose a new random one, such as a UUID, for each thing to be done.",
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$", "examples": ["7f1c3a1e-5d0c-4b8e-9f53-2f6f0a4b8c11"]},
    },
    "CartToken": {
        "name": "X-Cart-Token",
        "in": "header",
        "description": "Whose cart, holds and orders these are, for a guest: the token of the cart, or any secret that "
        "the client has chosen. Who is signed in, or is signing in, takes over what was the guest's where the answer "
        "has `cart_merge`; elsewhere it is not looked at beside a bearer token.",
        "schema": {"type": "string", "minLength": 16, "maxLength": 256, "examples": ["guest-3f9a1c5e7b2d4860"]},
    },
    "Channel": {
        "name": "X-Channel",
        "in": "header",
        "description": "Where the customer comes from, such as `app` or `fair-2026`: prices may go by it. 1 to 50 "
        "letters, digits and . _ - are taken where something is priced.",
        "schema": {"type": "string", "examples": ["app"]},
    },
    "AcceptLanguage": {
        "name": "Accept-Language",
        "in": "header",
        "description": "How `formatted` money is written.",
        "schema": {"type": "string", "default": "en-US", "examples": ["de-DE, en;q=0.8"]},
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "description": "The ETag of the answer that you have; 304 when it is still good.",
        "schema": {"type": "string"},
    },
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "required": True,
        "description": "The ETag of what you have read and are changing; `*` for whatever it is by now.",
        "schema": {"type": "string", "pattern": r'^(\*|"[0-9]+")$', "examples": ['"3"', "*"]},
    },
    "RequestID": {
        "name": "X-Request-ID",
        "in": "header",
        "description": "A name for this request in the logs: up to 128 letters, digits and `._:/+=@-`. One is made up "
        "where there is none that can be used.",
        "schema": {"type": "string"},
    },
}

HEADERS: Json = {
    "X-Request-ID": {"description": "The name of this request in the logs.", "schema": {"type": "string"}},
    "ETag": {
        "description": "The name of this version. Send it as If-None-Match the next time you read it, or as If-Match "
        "when you change it.",
        "schema": {"type": "string"},
    },
    "Location": {"description": "Where it is from now on.", "schema": {"type": "string"}},
    "Cache-Control": {"description": "May be kept, and must be asked about.", "schema": {"type": "string"}},
    "Idempotent-Replayed": {
        "description": "`true` on the answer to a repeat.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "RateLimit-Limit": {
        "description": "How many requests of this kind the tightest of the limits allows in its time.",
        "schema": {"type": "string"},
    },
    "RateLimit-Remaining": {
        "description": "How many more are allowed just now. Absent with the other two where nobody counts.",
        "schema": {"type": "string"},
    },
    "RateLimit-Reset": {"description": "Seconds until one more is allowed.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "`Bearer`.", "schema": {"type": "string"}},
}
LIMIT_HEADERS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
_HEADERS_OF_STATUS = {
    401: ("WWW-Authenticate",),
    429: ("Retry-After", *LIMIT_HEADERS),
    503: ("Retry-After",),
}

# Paths whose placeholder is more than the UUID of what stands before it.
_PATH_PARAMETERS: dict[str, tuple[str, Json]] = {
    "/orders/{id}": ("Id or number of the order.", {"type": "string", "examples": [EXAMPLE_ID, "K7QX2-M9T4R"]}),
    "/products/{id}": ("Id or slug of the product.", {"type": "string", "examples": [EXAMPLE_ID, "canvas-tote"]}),
    "/admin/stock/{id}": ("Id of the variant.", {"type": "string", "format": "uuid", "examples": [EXAMPLE_ID]}),
}


def ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def path_parameter(path: str, name: str) -> Json:
    """The parameter for a placeholder of a path: `{id}` is a UUID, unless the table above knows better."""
    before, _, _ = path.partition(f"/{{{name}}}")
    thing = before.rpartition("/")[2].removesuffix("s").replace("-", " ").replace("categorie", "category")
    description = f"{name.replace('_', ' ').capitalize()} of the {thing}."
    schema: Json = {"type": "string"}
    if name == "id":
        schema |= {"format": "uuid", "examples": [EXAMPLE_ID]}
    for pattern, known in _PATH_PARAMETERS.items():
        if f"{before}/{{{name}}}".endswith(pattern):
            description, schema = known
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def kind_of_slug(kind: type[Problem]) -> type[Problem]:
    """The class that gave `kind` its slug: UnknownVariant is a NotFound to clients."""
    return next(base for base in kind.__mro__ if "slug" in base.__dict__)


def problem_name(kind: type[Problem]) -> str:
    """What a problem is called among the components."""
    named = kind_of_slug(kind)
    plugin, slash, _ = named.slug.partition("/")
    if slash:  # two plugins may call theirs the same
        return f"{plugin.capitalize()}{named.__name__}Problem"
    return "InternalErrorProblem" if named is Problem else f"{named.__name__}Problem"


def problem_explanation(kind: type[Problem]) -> str:
    return re.sub(r"\s+", " ", inspect.getdoc(kind) or kind.title)


def problem_example(kind: type[Problem]) -> Json:
    """A problem document as a client may get it."""
    return {
        "type": f"/problems/{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": f"{kind.title}.",
        "instance": f"urn:request:{EXAMPLE_REQUEST}",
        **kind.example,
    }


def problem_response(kinds: Sequence[type[Problem]]) -> Json:
    """The response for one status: any of `kinds`, told apart by their type."""
    schemas = [ref("schemas", problem_name(kind)) for kind in kinds]
    lines = [f"[{kind.slug}](/problems/{kind.slug}): {problem_explanation(kind)}" for kind in kinds]
    response: Json = {
        "description": lines[0] if len(lines) == 1 else "\n".join(f"- {line}" for line in lines),
        "content": {
            PROBLEM_JSON: {
                "schema": schemas[0] if len(schemas) == 1 else {"oneOf": schemas},
                "examples": {kind.slug: {"summary": kind.title, "value": problem_example(kind)} for kind in kinds},
            }
        },
    }
    headers = _HEADERS_OF_STATUS.get(kinds[0].status)
    if headers:
        response["headers"] = {name: ref("headers", name) for name in headers}
    return response


def problem_schemas(kinds: Iterable[type[Problem]]) -> dict[str, Json]:
    """`Problem`, and a schema for each kind, which fixes its type and status."""
    return {"Problem": _PROBLEM} | {problem_name(kind): _problem_schema(kind) for kind in kinds}


def _problem_schema(kind: type[Problem]) -> Json:
    members: Json = {"type": {"const": f"/problems/{kind.slug}"}, "status": {"const": kind.status}}
    required = ["type", "status"]
    if issubclass(kind, InvalidInput):
        members["errors"] = {"type": "array", "minItems": 1, "items": _ERROR}
        required.append("errors")
    return {
        "title": problem_name(kind),
        "description": problem_explanation(kind),
        "allOf": [ref("schemas", "Problem"), {"type": "object", "properties": members, "required": required}],
    }


_PROBLEM: Json = {
    "title": "Problem",
    "type": "object",
    "description": "What went wrong (RFC 9457). Some types have members of their own besides these.",
    "properties": {
        "type": {"type": "string", "description": "Which kind of problem: stable, and the address of its page."},
        "title": {"type": "string", "description": "The kind in a few words; always the same for a type."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "detail": {"type": "string", "description": "What happened this time, for people."},
        "instance": {"type": "string", "description": "The request, by its X-Request-ID."},
    },
    "required": ["type", "title", "status", "detail", "instance"],
}
_ERROR: Json = {
    "type": "object",
    "properties": {
        "field": {"type": "string", "description": "Where: `customer.email`, a query parameter, or a header."},
        "code": {"type": "string", "description": "What is wrong, for programs."},
        "message": {"type": "string", "description": "What is wrong, for people."},
    },
    "required": ["field", "code", "message"],
}
