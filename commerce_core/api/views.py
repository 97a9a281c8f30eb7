"""The addresses of the API about itself: its OpenAPI document."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.response import Response

from commerce_core.accounts.permissions import Permission
from commerce_core.api import API_PREFIX
from commerce_core.api.endpoints import api_view, json_response
from commerce_core.api.openapi import openapi_bytes


@api_view(route_name="openapi", request_method="GET", permission=Permission.PUBLIC)
def openapi(request: Any) -> Response:
    """This API as an OpenAPI 3.1 document."""
    return json_response(openapi_bytes(request.registry), 200)


def includeme(config: Configurator) -> None:
    config.add_route("healthz", "/healthz")
    config.add_route("readyz", "/readyz")
    config.add_route("openapi", f"{API_PREFIX}/openapi.json")
    config.scan(".health")
    config.scan(".views")
