"""Imports: products and stock in and out as CSV files, all of a file or nothing of it."""

from __future__ import annotations

from pyramid.config import Configurator

from commerce_core.api import API_PREFIX


def includeme(config: Configurator) -> None:
    for thing in ("products", "stock"):
        path = f"{API_PREFIX}/admin/{thing}/import"
        config.add_route(f"admin_{thing}_import", path)
        config.add_route(f"admin_{thing}_export", f"{API_PREFIX}/admin/{thing}/export")
        config.registry.upload_requests.add(("POST", path))
    config.scan(".views")
