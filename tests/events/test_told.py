"""What happens to a cart and to an order is told, each thing once, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from webtest import TestApp

from commerce_core.events import CartUpdated, Event, FulfillmentCancelled, OrderCompleted, RefundRequested
from tests.support.till import ADMIN, Till, states


def test_the_life_of_an_order(
    application: Any,
    staff: TestApp,
    make_variant: Callable[..., UUID],
    happened: list[Event],
    run_jobs: Callable[[], int],
) -> None:
    till = Till(application, staff)
    variant_id = make_variant(price_amount=1_000)
    happened.clear()

    bought = till.buy({variant_id: 2})
    parcel = till.fulfil(bought, 1)
    staff.post_json(f"{ADMIN}/{bought['id']}/fulfillments/{parcel['id']}/cancel", {})
    till.fulfil(bought)
    till.refund(bought, 1)
    run_jobs()
    assert states(till.show(bought)) == ("completed", "partially_refunded", "fulfilled")

    topics = [event.topic for event in happened if event.topic != "stock.changed"]
    assert topics == [
        "cart.updated",
        "order.placed",
        "order.paid",
        "payment.webhook_received",
        "order.fulfilled",
        "order.fulfillment_cancelled",
        "order.fulfilled",
        "order.completed",
        "refund.requested",
        "refund.succeeded",
    ]
    of = {type(event): event for event in happened}
    cart, cancelled = of[CartUpdated], of[FulfillmentCancelled]
    completed, refund = of[OrderCompleted], of[RefundRequested]
    assert isinstance(cart, CartUpdated)
    assert (cart.lines, cart.units, cart.user_id) == (1, 2, None)
    assert isinstance(cancelled, FulfillmentCancelled)
    assert str(cancelled.fulfillment_id) == parcel["id"]
    assert isinstance(completed, OrderCompleted)
    assert (str(completed.order_id), completed.is_returned) == (bought["id"], False)
    assert isinstance(refund, RefundRequested)
    assert (str(refund.order_id), refund.currency) == (bought["id"], "USD")
