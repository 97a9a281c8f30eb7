"""What the tests of orders do over and over: buy, pay, and let the staff ship and give back."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from webtest import TestApp

from commerce_core.payments.provider import ManualProvider
from commerce_core.testing import WEBHOOK_SECRET

API = "/api/v1"
ADMIN = f"{API}/admin/orders"
CUSTOMER = {"email": "Ada@example.com", "name": "Ada Lovelace"}
ADDRESS = {"name": "Ada Lovelace", "line1": "27 Long Acre", "city": "London", "country": "GB"}
_numbers = itertools.count(1)


class Till:
    """One guest after the other, and one member of the staff."""

    def __init__(self, application: Any, staff: TestApp) -> None:
        self.application = application
        self.staff = staff

    def order(self, units: Mapping[UUID, int], *, extra_environ: Mapping[str, str] | None = None, **body: Any) -> Any:
        """A guest's order of these units, from a cart, not yet paid."""
        token = f"a-guest-of-the-till-{next(_numbers)}"
        guest = TestApp(self.application, extra_environ={"HTTP_X_CART_TOKEN": token, **(extra_environ or {})})
        for variant_id, quantity in units.items():
            guest.post_json(f"{API}/cart/lines", {"variant_id": str(variant_id), "quantity": quantity})
        body = {"cart": True, "customer": CUSTOMER, "shipping_address": ADDRESS, **body}
        return guest.post_json(f"{API}/orders", body, status=201).json

    def buy(self, units: Mapping[UUID, int], **body: Any) -> Any:
        """The same, paid."""
        placed = self.order(units, **body)
        self.pay(placed)
        return self.show(placed)

    def pay(self, order: Any, **more: Any) -> Any:
        event = {"event_id": f"evt-{next(_numbers)}", "order_id": order["id"], "status": "paid", **more}
        body = json.dumps(event).encode()
        signature = f"sha256={ManualProvider.signature(WEBHOOK_SECRET, body)}"
        return (
            TestApp(self.application)
            .post(
                f"{API}/payments/webhook",
                body,
                headers={"X-Webhook-Signature": signature},
                content_type="application/json",
            )
            .json
        )

    def show(self, order: Any) -> Any:
        return self.staff.get(f"{ADMIN}/{order['id']}").json

    def fulfil(self, order: Any, *quantities: int, status: Any = 201, **body: Any) -> Any:
        """Ship so many of each line; all that is left without any."""
        if quantities:
            body["lines"] = lines(order, *quantities)
        return self.staff.post_json(f"{ADMIN}/{order['id']}/fulfillments", body, status=status).json

    def refund(self, order: Any, *quantities: int, status: Any = 201, restock: bool = True, **body: Any) -> Any:
        """Refund so many of each line."""
        if any(quantities):
            body["lines"] = [{**line, "restock": restock} for line in lines(order, *quantities)]
        body.setdefault("reason", "a test")
        return self.staff.post_json(f"{ADMIN}/{order['id']}/refunds", body, status=status).json

    def level(self, variant_id: UUID) -> tuple[int, int]:
        """On hand, and reserved."""
        level = self.staff.get(f"{API}/admin/stock/{variant_id}").json
        return level["on_hand"], level["reserved"]


def lines(order: Any, *quantities: int) -> list[dict[str, Any]]:
    return [
        {"line_id": line["id"], "quantity": quantity}
        for line, quantity in zip(order["lines"], quantities, strict=False)
        if quantity
    ]


def states(order: Any) -> tuple[str, str, str]:
    return order["status"], order["payment_status"], order["fulfillment_status"]
