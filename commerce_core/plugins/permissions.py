"""What plugins let people do, or not: `registry.plugin_permissions`."""

from __future__ import annotations

from typing import get_args

from pyramid.config import Configurator

from commerce_core.plugins.contributions import PluginPermission, RoleName

_ROLES = get_args(RoleName)


class PluginPermissions(dict[str, PluginPermission]):
    """The permissions of all plugins, by name."""

    def __init__(self) -> None:
        super().__init__()
        self._of_role: dict[str | None, frozenset[str]] = dict.fromkeys((None, *_ROLES), frozenset())

    def add(self, permission: PluginPermission) -> None:
        """Raises ValueError when there is one of that name, or no such role."""
        if permission.name in self:
            raise ValueError(f"two permissions are called {permission.name!r}")
        if permission.role is not None and permission.role not in _ROLES:
            raise ValueError(f"{permission.role!r} is no role; there are {', '.join(_ROLES)}")
        self[permission.name] = permission
        # Administrators may everything.
        least = _ROLES.index(permission.role or "admin")
        for role in _ROLES[least:]:
            self._of_role[None if role == "guest" else role] |= {permission.name}

    def of_role(self, role: str | None) -> frozenset[str]:
        """What a role has of them; None for guests."""
        return self._of_role[role]

    def principals_for(self, permission: str) -> frozenset[str]:
        """The groups that have a permission, whatever their role."""
        found = self.get(permission)
        return frozenset() if found is None else found.principals


def add_plugin_permission(config: Configurator, permission: PluginPermission) -> None:
    """Directive: let views name this permission, and tokens be narrowed to it."""
    config.registry.plugin_permissions.add(permission)
