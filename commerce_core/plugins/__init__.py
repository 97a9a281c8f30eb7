"""Plugins: how they are found, checked and called, and what the core keeps of what they bring.

The contract is `commerce_core.hookspecs`; what a plugin imports is `commerce_core.plugin`.
"""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError


def add_search_backend(config: Configurator, backend: Any) -> None:
    """Directive: offer a way to find products. Its code must be unique."""
    backends = config.registry.search_backends
    if backend.code in backends:
        raise ConfigurationError(f"two search backends are called {backend.code!r}")
    backends[backend.code] = backend


def add_root_route(config: Configurator, name: str, pattern: str, **options: Any) -> None:
    """Directive: a route of a plugin that is not below `/api/v1/<plugin>`."""
    prefix, config.route_prefix = config.route_prefix, None
    try:
        config.add_route(name, pattern, **options)
    finally:
        config.route_prefix = prefix


def includeme(config: Configurator) -> None:
    # Not above: a plugin's declaration imports this package, and need not import the shop.
    from commerce_core.api import API_PREFIX
    from commerce_core.plugins.calls import attach
    from commerce_core.plugins.extensions import Extensions, add_extension_field
    from commerce_core.plugins.health import HealthChecks
    from commerce_core.plugins.permissions import PluginPermissions, add_plugin_permission

    registry = config.registry
    registry.search_backends = {}
    registry.admin_resources = []
    registry.extensions = Extensions()
    registry.health_checks = HealthChecks(registry.clock)
    registry.plugin_permissions = PluginPermissions()
    attach(registry.engine, registry.plugins)
    config.add_directive("add_search_backend", add_search_backend)
    config.add_directive("add_root_route", add_root_route)
    config.add_directive("add_extension_field", add_extension_field)
    config.add_directive("add_plugin_permission", add_plugin_permission)
    config.add_route("capabilities", f"{API_PREFIX}/capabilities")
    config.add_route("admin_resources", f"{API_PREFIX}/admin/resources")
    config.scan(".views")
