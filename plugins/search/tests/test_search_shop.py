"""Search over HTTP, in the demo shop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from commerce_core.database import transaction
from commerce_core.demo.shop import load_shop
from commerce_core.testing import StoppedClock

EVERY_BACKEND = pytest.mark.parametrize("search_settings", ["whoosh", "tantivy", "postgresql"], indirect=True)
Search = Callable[..., Any]


@pytest.fixture
def shop(application: Any, engine: Engine, clock: StoppedClock, reindexed: Callable[[], int]) -> Any:
    with transaction(engine) as session:
        load_shop(session, now=clock.now())
    assert reindexed() == 30
    return application


@EVERY_BACKEND
def test_products_are_found_by_what_people_type(shop: Any, search: Search) -> None:
    page = search("alpine jackets")
    assert page["data"][0]["name"] == "Alpine Shell Jacket"
    assert (page["meta"]["total"], page["relaxed"], page["corrected"]) == (1, False, None)
    assert page["highlights"][page["data"][0]["id"]]["name"] == "<mark>Alpine</mark> Shell <mark>Jacket</mark>"
    assert page["facets"]["categories"][0]["slug"] == "clothing"
    misspelt = search("headphnes")
    assert misspelt["data"][0]["name"] == "Kestrel Over-Ear Headphones"
    assert misspelt["corrected"] == "headphones"
    assert search("SKIL 26")["data"][0]["name"] == "Cast Iron Skillet"
