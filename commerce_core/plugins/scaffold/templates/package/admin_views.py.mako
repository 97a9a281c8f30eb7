"""REST, for staff."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from commerce_core.api.endpoints import api_view
from commerce_core.api.problems import Conflict, NotFound
from commerce_core.api.schemas import Input, Output
from commerce_core.orders.models import Order
from commerce_core.plugin import AdminResource, PluginPermission
from pydantic import Field

from commerce_${name} import service

CREDIT = PluginPermission(name="${name}:credit", description="Give points for an order.")
ENTRIES = AdminResource(
    name="entries",
    title="${title}",
    path="/api/v1/${name}/entries",
    permission=CREDIT.name,
)


class AlreadyCredited(Conflict):
    """The order has earned its points already."""

    slug = "${name}/already-credited"
    title = "Already credited"


class EntryIn(Input):
    order_id: UUID = Field(strict=False)
    points: int = Field(ge=1, le=1_000_000, examples=[50])


class EntryOut(Output):
    order_id: UUID
    points: int


@api_view(
    route_name="${name}_entries",
    request_method="POST",
    permission=CREDIT.name,
    body=EntryIn,
    returns=EntryOut,
    status=201,
    problems=(AlreadyCredited, NotFound),
)
def create_entry(request: Any, body: EntryIn) -> EntryOut:
    """Give points for an order that has earned none."""
    if request.db.get(Order, body.order_id) is None:
        raise NotFound("There is no such order.")
    if not service.credit(request.db, body.order_id, body.points, now=request.now):
        raise AlreadyCredited
    request.audit("${name}.credit", f"order:{body.order_id}", after={"points": body.points})
    return EntryOut(order_id=body.order_id, points=body.points)
