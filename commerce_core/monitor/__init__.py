"""Watching the shop from within: rules, alerts, and who is told. Metrics are for Prometheus; this works without it.

Each process writes down what it has answered and how its host stands (see pulse.py); a job checks the rules.
"""

from __future__ import annotations

from pyramid.config import Configurator

from commerce_core.api import API_PREFIX
from commerce_core.monitor import hosts, traffic


def includeme(config: Configurator) -> None:
    registry = config.registry
    writer = traffic.TrafficWriter(registry.traffic, registry.clock)
    registry.pulse.every(traffic.WRITE_SECONDS, writer.write)
    host = hosts.HostWriter(registry.settings_object.monitor.disks, registry.clock)
    registry.pulse.every(hosts.WRITE_SECONDS, host.write)
    registry.figures.add(
        "commerce_alerts",
        "Alerts that are open.",
        ("rule",),
        "SELECT rule, count(*) FROM alert WHERE recovered_at IS NULL GROUP BY rule",
    )
    config.add_route("admin_stats", f"{API_PREFIX}/admin/stats")
    config.include(".jobs")
    config.scan(".views")
