"""REST, for everybody."""

from __future__ import annotations

from typing import Any

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view
from commerce_core.api.schemas import Output
from pydantic import Field

from commerce_${name} import service


class TotalOut(Output):
    points: int = Field(description="All points that have been earned.", examples=[1200])


@api_view(
    route_name="${name}_total",
    request_method="GET",
    permission=Permission.PUBLIC,
    returns=TotalOut,
)
def show_total(request: Any) -> TotalOut:
    """How many points have been earned."""
    return TotalOut(points=service.total(request.db))
