"""What clients can learn about the plugins of a shop: what it can do with them; not which there are, or how old."""

from __future__ import annotations

from typing import Any

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view
from commerce_core.plugins.schemas import AdminResourceOut, AdminResources, Capabilities, PluginCapabilities


@api_view(
    route_name="capabilities",
    request_method="GET",
    permission=Permission.PUBLIC,
    returns=Capabilities,
    cached=True,
)
def show_capabilities(request: Any) -> Capabilities:
    """What this shop can do beside the core, so that a client need not try."""
    return Capabilities(
        data=[
            PluginCapabilities(plugin=plugin.name, capabilities=list(plugin.capabilities))
            for plugin in request.registry.plugins.plugins
            if plugin.capabilities
        ]
    )


@api_view(route_name="admin_resources", request_method="GET", permission=Permission.USER_READ, returns=AdminResources)
def list_admin_resources(request: Any) -> AdminResources:
    """What plugins offer to staff: as much of it as you may see."""
    return AdminResources(
        data=[
            AdminResourceOut(
                plugin=plugin,
                name=resource.name,
                title=resource.title,
                path=resource.path,
                permission=resource.permission,
                section=resource.section,
            )
            for plugin, resource in request.registry.admin_resources
            if request.has_permission(resource.permission)
        ]
    )
