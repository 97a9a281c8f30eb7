"""What orders show as `extensions.${name}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from commerce_core.plugin import Context, ExtensionField

from commerce_${name} import service


def _points(ctx: Context, ids: Sequence[UUID]) -> Mapping[UUID, int]:
    return service.points_of(ctx.session, ids)


POINTS = ExtensionField(
    resource="order",
    name="points",
    load_many=_points,
    schema={"type": ["integer", "null"]},
)
