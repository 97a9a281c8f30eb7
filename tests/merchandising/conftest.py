"""Things of the catalogue, made the way staff make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from webtest import TestApp

ADMIN = "/api/v1/admin"


@pytest.fixture
def add(staff: TestApp) -> Callable[..., Any]:
    """`add("products", slug="tee", name="Tee")`: what staff get for it."""

    def add(path: str, **fields: Any) -> Any:
        return staff.post_json(f"{ADMIN}/{path}", fields, status=201).json

    return add


@pytest.fixture
def tee(add: Callable[..., Any]) -> Any:
    """An active product without variants."""
    return add("products", slug="tee", name="Tee", status="active")


@pytest.fixture
def add_variant(add: Callable[..., Any], tee: Any) -> Callable[..., Any]:
    """`add_variant("TEE-1")`: a variant of the tee."""

    def make(sku: str, **fields: Any) -> Any:
        return add(f"products/{tee['id']}/variants", **{"sku": sku, "currency": "USD", "price_amount": 1_500, **fields})

    return make
