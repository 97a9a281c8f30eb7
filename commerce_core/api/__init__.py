"""How every JSON endpoint behaves: schemas, problems, pages, idempotency, limits, request ids, OpenAPI."""

from __future__ import annotations

from pyramid.config import Configurator

API_PREFIX = "/api/v1"


def includeme(config: Configurator) -> None:
    config.include(".proxies")
    config.include(".requests")
    config.include(".cors")
    config.include(".limits")
    config.include(".errors")
    config.include(".endpoints")
    config.include(".preconditions")
    config.include(".views")
    config.include(".metrics")
