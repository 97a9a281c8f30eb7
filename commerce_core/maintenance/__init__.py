"""Maintenance: the shop is closed to all but staff, in every process at once. `commerce maintenance on|off|status`."""

from __future__ import annotations

from pyramid.config import Configurator

from commerce_core.maintenance.switch import LOOK_SECONDS, MaintenanceSwitch, closed_for_maintenance


def includeme(config: Configurator) -> None:
    registry = config.registry
    registry.maintenance = MaintenanceSwitch()
    registry.pulse.every(LOOK_SECONDS, registry.maintenance.read)
    # After the limits, so that a flood is refused as cheaply as ever.
    config.add_view_deriver(closed_for_maintenance, under="limited", over="secured_view")
