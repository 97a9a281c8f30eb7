"""Search: finds products by what people type, in an index beside the database. See the plugin's README."""

from __future__ import annotations

from commerce_core.plugin import Plugin

plugin = Plugin(
    name="search",
    hooks="commerce_search.hooks",
    settings="commerce_search.settings:Settings",
    models="commerce_search.models",
    migrations="commerce_search.migrations",
    capabilities=("search", "search.suggest", "search.facets"),
)
