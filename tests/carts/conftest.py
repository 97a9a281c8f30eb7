"""Guests with carts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from webtest import TestApp

GUEST_TOKEN = "a-guest-of-these-tests"


@pytest.fixture
def guest_of(application: Any) -> Callable[[str], TestApp]:
    """`guest_of(token)`: a client that sends this cart token."""
    return lambda token: TestApp(application, extra_environ={"HTTP_X_CART_TOKEN": token})


@pytest.fixture
def guest(guest_of: Callable[[str], TestApp]) -> TestApp:
    """A guest with the cart token GUEST_TOKEN."""
    return guest_of(GUEST_TOKEN)


@pytest.fixture
def add() -> Callable[..., Any]:
    """`add(client, variant_id, 2)` puts two units into the client's cart; the answer."""

    def put(client: TestApp, variant_id: UUID, quantity: int = 1, **options: Any) -> Any:
        body = {"variant_id": str(variant_id), "quantity": quantity}
        return client.post_json("/api/v1/cart/lines", body, **options)

    return put
