"""How every JSON endpoint behaves: schemas, problems, pages, idempotency, request ids, OpenAPI."""

from __future__ import annotations

from pyramid.config import Configurator

API_PREFIX = "/api/v1"


def includeme(config: Configurator) -> None:
    config.include(".requests")
    config.include(".limits")
    config.include(".errors")
    config.include(".endpoints")
    config.include(".views")
