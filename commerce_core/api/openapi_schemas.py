"""The JSON schemas of what endpoints take and answer, as pydantic writes them, tidied for readers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from commerce_core.api.endpoints import Endpoint
from commerce_core.api.schemas import CursorQuery, PageQuery

Json = dict[str, Any]
Mode = Literal["validation", "serialization"]
_PREFIX = "#/components/schemas/"
# Which page of a list: told after what the list is of.
_PAGING = {*PageQuery.model_fields, *CursorQuery.model_fields}


class _Generator(GenerateJsonSchema):
    """Without a title for each field, which says no more than its name; and with names that can be said aloud."""

    def generate_inner(self, schema: Any) -> Json:
        """The limits of a list are those of its items, also where a validator of ours stands before the list."""
        found = super().generate_inner(schema)
        if found.get("type") == "array":
            for wrong, right in (("minLength", "minItems"), ("maxLength", "maxItems")):
                if wrong in found:
                    found[right] = found.pop(wrong)
        return found

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def normalize_name(self, name: str) -> str:
        """`CursorList[HoldOut]` is a `HoldList`, and a `HoldOut` is a `Hold`."""
        name = re.sub(r"^CursorList\[(\w+?)(?:Out)?\]$", r"\1List", name)
        return super().normalize_name(re.sub(r"(?<=[a-z])Out$", "", name))


class Schemas:
    """The schemas of every model of `endpoints`, under the names they have in the document."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        models: dict[tuple[type[BaseModel], Mode], None] = {}
        queries: set[type[BaseModel]] = set()
        for endpoint in endpoints:
            if endpoint.body is not None:
                models[endpoint.body, "validation"] = None
            if endpoint.query is not None:
                models[endpoint.query, "validation"] = None
                queries.add(endpoint.query)
            if endpoint.returns is not None:
                models[endpoint.returns, "serialization"] = None
        refs, found = models_json_schema(list(models), ref_template=f"{_PREFIX}{{model}}", schema_generator=_Generator)
        self._refs = refs
        self.components: dict[str, Json] = found.get("$defs", {})
        # A query is told as parameters; there is no object of its own.
        self._queries = {query: self.components.pop(_name(refs[query, "validation"])) for query in queries}
        for name, schema in self.components.items():
            schema["title"] = name

    def ref(self, model: type[BaseModel], mode: Mode) -> Json:
        return self._refs[model, mode]

    def description(self, ref: Json) -> str:
        """What a schema says of itself, or else its name."""
        name = _name(ref)
        text = str(self.components[name].get("description") or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name) + ".")
        return re.sub(r"\s+", " ", text)

    def mentions(self, model: type[BaseModel], name: str) -> bool:
        """Whether an answer of `model` contains, at any depth, the schema called `name`."""
        seen: set[str] = set()
        waiting = [_name(self._refs[model, "serialization"])]
        while waiting:
            current = waiting.pop()
            if current not in seen:
                seen.add(current)
                waiting += [_name(ref) for ref in _refs_in(self.components[current])]
        return name in seen

    def query_parameters(self, query: type[BaseModel]) -> list[Json]:
        """The fields of a query as parameters; an object is written `name[key]=value`."""
        schema = self._queries[query]
        parameters = []
        for name, field in sorted(schema["properties"].items(), key=lambda item: item[0] in _PAGING):
            field = _without_null(field)
            parameter: Json = {"name": name, "in": "query", "required": name in schema.get("required", ())}
            if "description" in field:
                parameter["description"] = field.pop("description")
            if field.get("type") == "object":
                parameter |= {"style": "deepObject", "explode": True}
            parameters.append({**parameter, "schema": field})
        return parameters


def _without_null(field: Json) -> Json:
    """A parameter is left out rather than null."""
    field = dict(field)
    choices = [choice for choice in field.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        del field["anyOf"]
        field = {**choices[0], **field}
    if field.get("default", ...) is None:
        del field["default"]
    return field


def _name(ref: Json) -> str:
    return str(ref["$ref"]).removeprefix(_PREFIX)


def _refs_in(schema: Any) -> Iterator[Json]:
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema
        for value in schema.values():
            yield from _refs_in(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _refs_in(value)
