"""Who is told of what happens in the shop. A subscriber that is a job runs at least once, whatever dies."""

from __future__ import annotations

from commerce_core.events import OrderPaid
from commerce_core.jobs.kinds import JobContext, job
from commerce_core.orders.models import Order

from commerce_${name} import service


@job("${name}.credit")
def credit(context: JobContext, event: OrderPaid) -> None:
    """A paid order earns points."""
    settings = context.registry.plugins.settings_of("${name}")
    order = context.session.get_one(Order, event.order_id)
    service.credit(context.session, order.id, order.total // settings.units_per_point, now=context.now)
