"""What a plugin's author imports: the declaration, the markers of hooks, and the things that hooks return.

    # commerce_loyalty/__init__.py, named by the entry point `loyalty` of the group `commerce.plugins`
    plugin = Plugin(name="loyalty", hooks="commerce_loyalty.hooks", settings="commerce_loyalty.settings:Settings")

    # commerce_loyalty/hooks.py
    @hookimpl
    def commerce_validate_cart(ctx, cart, stage): ...

The hooks are those of `commerce_core.hookspecs`; docs/plugins/reference.md lists them.
"""

from __future__ import annotations

from commerce_core.plugins.context import Context
from commerce_core.plugins.contributions import (
    AdminResource,
    ExtensionField,
    HealthCheck,
    PluginPermission,
    Process,
    SearchBackend,
    Subscriber,
)
from commerce_core.plugins.declaration import API, Plugin, hookimpl, hookspec
from commerce_core.plugins.facts import CartFacts, CartLineFacts, HoldLine, OrderFacts, OrderLineFacts
from commerce_core.settings import Section

__all__ = [
    "API",
    "AdminResource",
    "CartFacts",
    "CartLineFacts",
    "Context",
    "ExtensionField",
    "HealthCheck",
    "HoldLine",
    "OrderFacts",
    "OrderLineFacts",
    "Plugin",
    "PluginPermission",
    "Process",
    "SearchBackend",
    "Section",
    "Subscriber",
    "hookimpl",
    "hookspec",
]
