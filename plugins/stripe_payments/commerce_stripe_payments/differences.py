"""What the books of the shop and Stripe's do not agree in, for staff. How it is found is reconcile.py's."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from pydantic import Field
from pyramid.config import Configurator
from sqlalchemy import select

from commerce_core.accounts.permissions import Permission
from commerce_core.api import API_PREFIX
from commerce_core.api.endpoints import api_view
from commerce_core.api.schemas import Input, Output
from commerce_stripe_payments.models import StripeDifference


class DifferenceQuery(Input):
    resolved: bool = Field(
        default=False, strict=False, description="Those that are no more, instead of those that are."
    )
    limit: int = Field(default=50, ge=1, le=200, strict=False)


class DifferenceOut(Output):
    """One difference. It is resolved by what resolves it, and not by hand."""

    kind: str = Field(examples=["paid-there-only"])
    reference: str = Field(description="What it is about, at Stripe or here.", examples=["pi_3Q0"])
    detail: str
    happened_at: datetime = Field(description="When what it is about was made.")
    first_seen_at: datetime
    last_seen_at: datetime
    resolved_at: datetime | None = Field(description="When a comparison did not see it any more.")

    @classmethod
    def of(cls, row: StripeDifference) -> Self:
        return cls.model_construct(**{name: getattr(row, name) for name in cls.model_fields})


class DifferenceList(Output):
    data: list[DifferenceOut]


@api_view(
    route_name="stripe_admin_differences",
    request_method="GET",
    permission=Permission.ORDER_READ_ALL,
    query=DifferenceQuery,
    returns=DifferenceList,
)
def list_differences(request: Any, query: DifferenceQuery) -> DifferenceList:
    """Differences between the shop and Stripe, as the daily comparison has found them, the newest first."""
    wanted = StripeDifference.resolved_at.is_not(None) if query.resolved else StripeDifference.resolved_at.is_(None)
    rows = select(StripeDifference).where(wanted).order_by(StripeDifference.id.desc()).limit(query.limit)
    return DifferenceList.model_construct(data=[DifferenceOut.of(row) for row in request.db.scalars(rows)])


def includeme(config: Configurator) -> None:
    config.add_root_route("stripe_admin_differences", f"{API_PREFIX}/admin/stripe/differences")
    config.scan(__name__)
