"""`extensions.<plugin>.<name>`: what plugins show in resources of the core. Loaded once for all that is shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import Field
from pyramid.config import Configurator

from commerce_core.plugins.calls import Implementation
from commerce_core.plugins.context import Context
from commerce_core.plugins.contributions import RESOURCES, ExtensionField, Resource

if TYPE_CHECKING:
    from commerce_core.plugins.host import PluginHost

# Answered out of a cache, the same for everybody.
_CACHED = ("product", "variant", "category", "brand")
_MARK = "x-extensions"


@dataclass(frozen=True, slots=True)
class OwnedField:
    """A field with the plugin whose it is, and its function as a thing to call."""

    plugin: str
    field: ExtensionField
    loader: Implementation


class Extensions:
    """The fields of a shop, by resource: `registry.extensions`."""

    def __init__(self) -> None:
        self.fields: dict[str, list[OwnedField]] = {resource: [] for resource in RESOURCES}

    def extend(self, request: Any, resource: Resource, shown: Sequence[Any]) -> None:
        """Put the values into what is about to be answered: models or dicts with an `id`. Raises PluginFailed."""
        fields = self.fields[resource]
        if fields and shown:
            ctx = _context(request, resource)
            self._extend(ctx, fields, shown)
            if ctx.right_until is not None:
                request.right_until = min(filter(None, (ctx.right_until, request.right_until)))

    def _extend(self, ctx: Context, fields: Iterable[OwnedField], shown: Sequence[Any]) -> None:
        ids = [_id_of(thing) for thing in shown]
        values: list[dict[str, dict[str, Any]]] = [defaultdict(dict) for _ in shown]
        for owned in fields:
            loaded = owned.loader.call(ctx, {"ctx": ctx, "ids": ids}, dict)
            for id_, value in zip(ids, values, strict=True):
                value[owned.plugin][owned.field.name] = (loaded or {}).get(id_)
        for thing, value in zip(shown, values, strict=True):
            if isinstance(thing, dict):
                thing["extensions"] = dict(value)
            else:
                thing.extensions = dict(value)

    def describe(self, components: Mapping[str, Any]) -> None:
        """Put the fields' own schemas into the schemas of an OpenAPI document."""
        for schema in components.values():
            extensions = schema.get("properties", {}).get("extensions", {})
            by_plugin: dict[str, dict[str, Any]] = defaultdict(dict)
            for owned in self.fields.get(extensions.pop(_MARK, ""), ()):
                by_plugin[owned.plugin][owned.field.name] = dict(owned.field.schema)
            if by_plugin:
                extensions["properties"] = {
                    plugin: {"type": "object", "properties": fields} for plugin, fields in by_plugin.items()
                }


def extensions_of(resource: Resource) -> Any:
    """The field `extensions` of a model of answers."""
    return Field(
        default={}, description="What plugins add, by plugin.", examples=[{}], json_schema_extra={_MARK: resource}
    )


def add_extension_field(config: Configurator, plugin: str, field: ExtensionField) -> None:
    """Directive: show a field of a plugin."""
    host: PluginHost = config.registry.plugins
    fields = config.registry.extensions.fields[field.resource]
    if any((owned.plugin, owned.field.name) == (plugin, field.name) for owned in fields):
        raise ValueError(f"two fields of {field.resource} are called {field.name!r}")
    fields.append(OwnedField(plugin, field, host.loader_of(plugin, field)))


def _context(request: Any, resource: str) -> Context:
    host = request.registry.plugins
    if resource in _CACHED:
        return Context(host, session=request.db, now=request.now, locale=request.locale)
    return Context(host, session=request.db, request=request)


def _id_of(thing: Any) -> UUID:
    found = thing["id"] if isinstance(thing, dict) else thing.id
    return found if isinstance(found, UUID) else UUID(found)
