"""The pages for people: the reference of the API, and what each problem means.

Rendered here, once per process, out of the OpenAPI document: no script, no other host. The templates are Mako's, which
Alembic brings along anyway: a page of HTML is read and changed more easily as such than as Python that escapes its
parts. Everything is escaped unless it is `Markup`, which only this module makes.
"""

from __future__ import annotations

import inspect
import json
import re
import shlex
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from mako.lookup import TemplateLookup
from markupsafe import Markup, escape

from commerce_core.api import openapi_parts as parts
from commerce_core.api.examples import Examples
from commerce_core.api.problems import Problem

Json = dict[str, Any]
_JSON = "application/json"
_TEMPLATES = Path(__file__).with_name("templates")
_LOOKUP = TemplateLookup([str(_TEMPLATES)], default_filters=["h"], input_encoding="utf-8", strict_undefined=True)
_JSON_TOKEN = re.compile(r'(?P<key>"(?:[^"\\]|\\.)*")(?=:)|(?P<text>"(?:[^"\\]|\\.)*")|(?P<value>\b[\w.+-]+\b)')
# What fits into a column of the database is no limit that a reader would care about.
_NO_LIMIT = 2**31 - 1
_FORMATS = {"uuid": "UUID", "date-time": "time", "date": "date"}


@dataclass(frozen=True, slots=True)
class Field:
    """A row of a table: a parameter, or a field of a body."""

    name: str
    type: Markup
    required: bool
    place: str
    told: Markup
    limits: list[Markup]


@dataclass(frozen=True, slots=True)
class Reason:
    """A problem that an operation may answer with."""

    slug: str
    title: str
    told: Markup


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: its status, and either what it brings or the reasons for it."""

    status: str
    phrase: str
    told: Markup
    type: Markup | None
    reasons: list[Reason]


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation as the reference shows it."""

    id: str
    title: str
    method: str
    path: str
    summary: Markup
    told: Markup
    permission: str
    needs_token: bool
    parameters: list[Field]
    body: list[Field]
    body_type: Markup | None
    answers: list[Answer]
    usual: list[Answer]
    curl: Markup
    example: Markup | None


def reference_page(document: Json) -> str:
    """The whole reference, as one page."""
    reference = Reference(document)
    return _render(
        "reference.mako",
        title=f"{document['info']['title']} API",
        info=document["info"],
        told=prose(document["info"]["description"]),
        tags=[(tag, reference.operations(tag["name"])) for tag in document["tags"]],
        common=[reference.field_of_parameter(parameter) for parameter in reference.common],
        schemas=reference.schemas(),
    )


def problems_page(kinds: list[type[Problem]]) -> str:
    """Every problem type."""
    return _render(
        "problems.mako", title="Problems", problems=[(kind, prose(parts.problem_explanation(kind))) for kind in kinds]
    )


def problem_page(kind: type[Problem]) -> str:
    """What one problem type means."""
    return _render(
        "problem.mako",
        title=kind.title,
        kind=kind,
        phrase=HTTPStatus(kind.status).phrase,
        paragraphs=[prose(paragraph) for paragraph in (inspect.getdoc(kind) or kind.title).split("\n\n")],
        example=highlighted(parts.problem_example(kind)),
    )


class Reference:
    """Reads an OpenAPI document and puts it in the words of the page."""

    def __init__(self, document: Json) -> None:
        self._document = document
        self._examples = Examples(document["components"]["schemas"])
        self._operations = [
            (method.upper(), path, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        ]
        count = len(self._operations)
        seen: dict[str, int] = {}
        for _, _, operation in self._operations:
            for name in [*map(_ref, operation["parameters"]), *map(_ref, operation["responses"].values())]:
                seen[name] = seen.get(name, 0) + 1
        # What nearly every operation has is told once, or in small print.
        self.common = [
            self._resolved({"$ref": name}) for name in seen if "/parameters/" in name and seen[name] == count
        ]
        self._usual = {name for name in seen if "/responses/" in name and seen[name] > count / 2}

    def operations(self, tag: str) -> list[Operation]:
        return [self._operation(*known) for known in self._operations if tag in known[2]["tags"]]

    def schemas(self) -> list[tuple[str, Markup, list[Field]]]:
        """Name, description and fields of what bodies are made of; problems have pages of their own."""
        return [
            (name, prose(schema.get("description", "")), self._fields(schema))
            for name, schema in self._document["components"]["schemas"].items()
            if not name.endswith("Problem")
        ]

    def field_of_parameter(self, parameter: Json) -> Field:
        schema = parameter["schema"]
        return Field(
            name=parameter["name"],
            type=self._type(schema),
            required=parameter.get("required", False),
            place=parameter["in"],
            told=prose(parameter.get("description", "")),
            limits=_limits(schema),
        )

    def _operation(self, method: str, path: str, operation: Json) -> Operation:
        parameters = [self._resolved(parameter) for parameter in operation["parameters"]]
        body = operation.get("requestBody", {}).get("content", {}).get(_JSON, {}).get("schema")
        answers = [(self._answer(status, given), _ref(given)) for status, given in operation["responses"].items()]
        success = self._resolved(next(iter(operation["responses"].values())))
        returned = success.get("content", {}).get(_JSON, {}).get("schema")
        return Operation(
            id=operation["operationId"],
            title=operation["operationId"].replace("_", " ").capitalize(),
            method=method,
            path=path,
            summary=prose(operation["summary"] + "."),
            told=prose(operation.get("description", "")),
            permission=operation["x-permission"],
            needs_token={} not in operation["security"],
            parameters=[self.field_of_parameter(known) for known in parameters if known not in self.common],
            body=self._fields(body) if body else [],
            body_type=self._type(body) if body else None,
            answers=[answer for answer, name in answers if name not in self._usual],
            usual=[answer for answer, name in answers if name in self._usual],
            curl=self._curl(method, path, operation, parameters, body),
            example=highlighted(self._examples.of(returned)) if returned else None,
        )

    def _answer(self, status: str, response: Json) -> Answer:
        response = self._resolved(response)
        content: Json = response.get("content", {})
        reasons = []
        if parts.PROBLEM_JSON in content:
            told = dict(re.findall(r"\[([\w/-]+)\]\(\S+\): (.*)", response["description"]))
            reasons = [
                Reason(slug, example["summary"], prose(told[slug]))
                for slug, example in content[parts.PROBLEM_JSON]["examples"].items()
            ]
        return Answer(
            status="500" if status == "default" else status,
            phrase=HTTPStatus(500 if status == "default" else int(status)).phrase,
            told=prose("" if reasons else response["description"]),
            type=self._type(content[_JSON]["schema"]) if _JSON in content else None,
            reasons=reasons,
        )

    def _fields(self, schema: Json) -> list[Field]:
        schema = self._resolved(schema)
        required = schema.get("required", ())
        return [
            Field(
                name=name,
                type=self._type(field),
                required=name in required,
                place="body",
                told=prose(field.get("description", "")),
                limits=_limits(field),
            )
            for name, field in schema.get("properties", {}).items()
        ]

    def _type(self, schema: Json) -> Markup:
        """A type in words, with links to the schemas it is made of."""
        if "$ref" in schema:
            name = _ref(schema).rpartition("/")[2]
            return Markup('<a href="#schema-{0}">{0}</a>').format(name)
        if "anyOf" in schema:
            return Markup(" or ").join(self._type(choice) for choice in schema["anyOf"])
        if schema.get("type") == "array":
            return Markup("list of {}").format(self._type(schema["items"]))
        if "const" in schema:
            return Markup("<code>{}</code>").format(json.dumps(schema["const"]))
        return escape(_FORMATS.get(schema.get("format", ""), str(schema.get("type", "anything"))))

    def _curl(self, method: str, path: str, operation: Json, parameters: list[Json], body: Json | None) -> Markup:
        """A command to try it with. `$SHOP` and `$TOKEN` are the reader's."""
        for parameter in parameters:
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", str(self._examples.of(parameter["schema"])))
        lines = [f'curl "$SHOP{path}"' if method in ("GET", "POST") else f'curl -X {method} "$SHOP{path}"']
        if method == "POST" and body is None:
            lines[0] = f'curl -X POST "$SHOP{path}"'
        if {} not in operation["security"]:
            lines.append('-H "Authorization: Bearer $TOKEN"')
        if any(parameter["name"] == "Idempotency-Key" for parameter in parameters):
            lines.append('-H "Idempotency-Key: $(uuidgen)"')
        if any(parameter["name"] == "If-Match" for parameter in parameters):
            lines.append("-H 'If-Match: \"3\"'")
        if "text/csv" in operation.get("requestBody", {}).get("content", {}):
            lines.append('-H "Content-Type: text/csv" --data-binary @file.csv')
        if body is not None:
            text = json.dumps(self._examples.of(body, sent=True), indent=2, ensure_ascii=False)
            lines.append(f"--json {shlex.quote(text)}")
        return escape(" \\\n  ".join(lines))

    def _resolved(self, thing: Json) -> Json:
        while "$ref" in thing:
            found: Any = self._document
            for part in _ref(thing).removeprefix("#/").split("/"):
                found = found[part]
            thing = found
        return thing


def prose(text: str) -> Markup:
    """Text with `code` and [links](/there) as HTML."""
    html = str(escape(re.sub(r"\s+", " ", text).strip()))
    html = re.sub(r"`([^`]+)`", r"<code>\1</code>", html)
    return Markup(re.sub(r"\[([^\]]+)\]\((/[\w/.-]*)\)", r'<a href="\2">\1</a>', html))


def highlighted(data: Any) -> Markup:
    """JSON with its keys, texts and values marked for the style sheet."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    pieces, end = [], 0
    for match in _JSON_TOKEN.finditer(text):
        pieces += [
            escape(text[end : match.start()]),
            Markup('<span class="{}">{}</span>').format(match.lastgroup, match.group()),
        ]
        end = match.end()
    return Markup("").join([*pieces, escape(text[end:])])


def _limits(schema: Json) -> list[Markup]:
    """What a value must obey, in words."""
    schema = next((choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}), {}) | schema
    limits = []
    if "enum" in schema:
        values = Markup(", ").join(Markup("<code>{}</code>").format(value) for value in schema["enum"])
        limits.append(Markup("one of {}").format(values))
    for unit, low, high in (
        ("", "minimum", "maximum"),
        (" characters", "minLength", "maxLength"),
        (" of them", "minItems", "maxItems"),
    ):
        bounded = schema.get(high, _NO_LIMIT) < _NO_LIMIT
        if low in schema and bounded:
            limits.append(escape(f"{schema[low]:,} to {schema[high]:,}{unit}"))
        elif bounded:
            limits.append(escape(f"at most {schema[high]:,}{unit}"))
        elif low in schema:
            limits.append(escape(f"at least {schema[low]:,}{unit}"))
    if "pattern" in schema:
        limits.append(Markup("matches <code>{}</code>").format(schema["pattern"]))
    if schema.get("default") is not None:
        limits.append(Markup("default <code>{}</code>").format(json.dumps(schema["default"]).strip('"')))
    return limits


def _ref(thing: Json) -> str:
    return str(thing.get("$ref", ""))


def _render(template: str, **values: Any) -> str:
    style = Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8"))
    return str(_LOOKUP.get_template(template).render_unicode(style=style, **values))
