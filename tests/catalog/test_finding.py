"""`q` of the list of products: answered by whoever finds products by text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from pyramid.exceptions import ConfigurationError
from webtest import TestApp

from commerce_core.api.problems import Unavailable
from commerce_core.catalog.finding import FoundProducts, set_product_finder
from tests.support.problems import assert_problem


class Finder:
    """Finds what it was given, and remembers what it was asked."""

    def __init__(self) -> None:
        self.found: list[UUID] = []
        self.asked: list[Any] = []

    def find(self, request: Any, text: str, filters: Any, *, sort: str | None, page: int, per_page: int) -> Any:
        if text == "away":
            raise Unavailable("The index is away.")
        self.asked.append((text, filters.category, filters.in_stock, sort, page, per_page))
        return FoundProducts(self.found, 77)


@pytest.fixture
def finder(application: Any) -> Finder:
    application.registry.product_finder = Finder()
    return application.registry.product_finder  # type: ignore[no-any-return]


def test_what_a_text_finds_is_listed_in_its_order_and_not_kept_for_others(
    client: TestApp,
    finder: Finder,
    make_variant: Callable[..., UUID],
    product_of: Callable[[UUID], UUID],
) -> None:
    first, hidden, second = (product_of(make_variant(status=status)) for status in ("active", "draft", "active"))
    finder.found = [second, hidden, first]
    page = client.get("/api/v1/products?q=red+boot&in_stock=true&per_page=3&include=variants")
    assert [product["id"] for product in page.json["data"]] == [str(second), str(first)]
    assert page.json["data"][0]["variants"][0]["stock"]["available"] == 10
    assert page.json["meta"] == {"page": 1, "per_page": 3, "total": 77, "last_page": 26}
    assert "q=red+boot" in page.json["links"]["next"]
    client.get("/api/v1/products?q=red+boot&in_stock=true&per_page=3&include=variants")
    client.get("/api/v1/categories/shoes/products?q=boot&sort=price_asc&page=2")
    assert finder.asked == [
        ("red boot", None, True, None, 1, 3),
        ("red boot", None, True, None, 1, 3),
        ("boot", "shoes", None, "price_asc", 2, 24),
    ]


def test_an_empty_text_is_no_text_and_a_finders_problem_is_told(client: TestApp, finder: Finder) -> None:
    assert client.get("/api/v1/products?q=+").json["meta"]["total"] == 0
    assert finder.asked == []
    assert_problem(client.get("/api/v1/products?q=away", status=503), 503, "unavailable")


def test_without_a_finder_a_text_is_refused(client: TestApp) -> None:
    problem = assert_problem(client.get("/api/v1/products?q=boot", status=422), 422, "invalid-input")
    assert problem["errors"][0]["field"] == "q"


def test_there_is_one_finder_at_most(application: Any, finder: Finder) -> None:
    class Config:
        registry = application.registry

    with pytest.raises(ConfigurationError, match="already"):
        set_product_finder(Config(), Finder())  # type: ignore[arg-type]
