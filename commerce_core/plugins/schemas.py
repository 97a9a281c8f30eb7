"""Plugins as clients see them."""

from __future__ import annotations

from pydantic import Field

from commerce_core.api.schemas import Output


class PluginCapabilities(Output):
    plugin: str = Field(examples=["loyalty"])
    capabilities: list[str] = Field(description="What clients may count on.", examples=[["loyalty.points"]])


class Capabilities(Output):
    """What this shop can do beside the core."""

    data: list[PluginCapabilities]


class AdminResourceOut(Output):
    """Something that an interface for staff can offer."""

    plugin: str = Field(examples=["loyalty"])
    name: str = Field(examples=["accounts"])
    title: str = Field(examples=["Points"])
    path: str = Field(description="Where its list or page is.", examples=["/api/v1/loyalty/accounts"])
    permission: str = Field(examples=["loyalty:read"])
    section: str = Field(description="Where it belongs in a menu.", examples=["customers"])


class AdminResources(Output):
    data: list[AdminResourceOut]
