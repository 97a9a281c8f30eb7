"""What the tests of prices do over and over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from webtest import TestApp

API = "/api/v1"
ADMIN = f"{API}/admin/pricing"
ADDRESS = {"name": "Ada Lovelace", "line1": "27 Long Acre", "city": "London", "country": "GB"}
MakeRule = Callable[..., Any]
CUSTOMER = {"email": "ada@example.com", "name": "Ada Lovelace"}


class Shopper:
    """A guest, or whoever `client` is, with a cart."""

    def __init__(self, application: Any, client: TestApp | None = None, *, token: str = "a-guest-who-shops") -> None:
        if client is None:
            client = TestApp(application, extra_environ={"HTTP_X_CART_TOKEN": token})
        self.client = client

    def put(self, variant_id: UUID | str, quantity: int = 1) -> Any:
        line = {"variant_id": str(variant_id), "quantity": quantity}
        return self.client.post_json(f"{API}/cart/lines", line, status=201).json

    def use(self, code: str, *, status: int = 200) -> Any:
        return self.client.post_json(f"{API}/cart/coupons", {"code": code}, status=status).json

    def quote(self, query: str = "") -> Any:
        return self.client.get(f"{API}/cart/quote{query}").json

    def order(self, *, status: int = 201, **body: Any) -> Any:
        body = {"cart": True, "customer": CUSTOMER, "shipping_address": ADDRESS, **body}
        return self.client.post_json(f"{API}/orders", body, status=status).json


def amounts(shown: Any, *names: str) -> list[int]:
    return [shown[name]["amount"] for name in names]


def entries(shown: Any, rule: Any) -> list[Any]:
    """What a trace says of a rule."""
    return [entry for entry in shown["trace"] if entry["code"] == rule["id"]]
