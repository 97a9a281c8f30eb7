"""What data of a JSON schema may look like: for the reference page."""

from __future__ import annotations

from typing import Any

from commerce_core.api.openapi_parts import EXAMPLE_ID

Json = dict[str, Any]
_FORMATS = {"uuid": EXAMPLE_ID, "date-time": "2026-11-27T08:00:00Z", "date": "2026-11-27"}
_NUMBERS = ("integer", "number")


class Examples:
    """Examples out of a document's schemas: the ones they give, and likely ones where they give none."""

    def __init__(self, schemas: Json) -> None:
        self._schemas = schemas

    def of(self, schema: Json, *, sent: bool = False) -> Any:
        """An example of `schema`. One that is `sent` leaves out what may be left out and has no example."""
        return self._of(schema, "text", sent, ())

    def _of(self, schema: Json, name: str, sent: bool, within: tuple[str, ...]) -> Any:
        if "$ref" in schema:
            target = schema["$ref"].rpartition("/")[2]
            return self._of(self._schemas[target], name, sent, (*within, target))
        if schema.get("examples"):
            return schema["examples"][0]
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][0]
        if schema.get("anyOf"):
            return self._of(schema["anyOf"][0], name, sent, within)
        match schema.get("type"):
            case "object":
                return self._object(schema, sent, within)
            case "array":
                items = schema["items"]
                # A tree ends somewhere.
                endless = items.get("$ref", "").rpartition("/")[2] in within
                return [] if endless else [self._of(items, name, sent, within)]
            case "boolean":
                return bool(schema.get("default", False))
            case kind if kind in _NUMBERS:
                return schema.get("default") or max(1, schema.get("minimum", 1))
            case "string":
                fallback = "USD" if name == "currency" else name.replace("_", " ").capitalize()
                return _FORMATS.get(schema.get("format", ""), fallback)
        return {}

    def _object(self, schema: Json, sent: bool, within: tuple[str, ...]) -> Json:
        required = schema.get("required", ())
        return {
            name: self._of(field, name, sent, within)
            for name, field in schema.get("properties", {}).items()
            if not sent or name in required or self._tells(field)
        }

    def _tells(self, field: Json) -> bool:
        """Whether an optional field has an example to give, or fields of its own."""
        return bool(field.get("examples")) or any("$ref" in choice for choice in field.get("anyOf", ()))
