"""Every list of a large catalogue is read from an index; docs/catalogue.md shows the plans in full."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from commerce_core.catalog.queries import list_products
from commerce_core.catalog.schemas import ProductFilters
from commerce_core.clock import Clock
from commerce_core.demo.bulk import load_bulk

pytestmark = pytest.mark.usefixtures("catalogue")


@pytest.fixture
def catalogue(engine: Engine) -> None:
    load_bulk(engine, 3_000, seed=1, now=Clock().now())


@pytest.fixture
def explained(engine: Engine) -> Iterator[list[str]]:
    """Collects the plan of every statement that finds products."""
    plans: list[str] = []

    def explain(connection, cursor, statement, parameters, context, _many) -> None:  # type: ignore[no-untyped-def]
        if "OFFSET" in statement:
            with connection.connection.cursor() as explaining:
                explaining.execute("SET LOCAL enable_seqscan = off")
                explaining.execute(f"EXPLAIN {statement}", parameters)
                plans.append("\n".join(line for (line,) in explaining))

    event.listen(engine, "before_cursor_execute", explain)
    yield plans
    event.remove(engine, "before_cursor_execute", explain)


def plan_of(engine: Engine, explained: list[str], filters: ProductFilters, sort: str, page: int = 1) -> str:
    with Session(engine) as session:
        list_products(session, filters, sort=sort, page=page)
    return explained.pop()


def test_sorts_read_an_index_and_nothing_else(engine: Engine, explained: list[str], subtests: pytest.Subtests) -> None:
    for sort, index in {
        "newest": "ix_product_newest",
        "price_asc": "ix_product_price",
        "price_desc": "ix_product_price",
        "name": "ix_product_name",
        "popular": "ix_product_popular",
    }.items():
        for page in (1, 100):
            with subtests.test(sort=sort, page=page):
                plan = plan_of(engine, explained, ProductFilters(), sort, page)
                assert f"using {index} " in plan
                assert "Sort" not in plan
                assert_only_indexes_are_read(plan)


def test_filters_count_from_an_index_and_nothing_else(
    engine: Engine, explained: list[str], subtests: pytest.Subtests
) -> None:
    for filters, index in [
        (ProductFilters(category="clothing-jackets"), "ix_product_category"),
        (ProductFilters(brand="nordwind"), "ix_product_brand"),
        (ProductFilters(min_price=2_000, max_price=3_000), "ix_product_price"),
        (ProductFilters(featured=True), "ix_product_featured"),
        (ProductFilters(in_stock=True), "ix_product_in_stock"),
    ]:
        with subtests.test(index):
            plan = plan_of(engine, explained, filters, "newest")
            count = plan[plan.index("InitPlan") :]
            assert index in count
            assert "Index Only Scan" in count


def test_attributes_are_found_by_their_index(engine: Engine, explained: list[str]) -> None:
    plan = plan_of(engine, explained, ProductFilters(attributes={"capacity": ["64 GB"]}), "newest")
    assert "Bitmap Index Scan on ix_product_facets" in plan


def assert_only_indexes_are_read(plan: str) -> None:
    scans = [line for line in plan.splitlines() if "Scan" in line]
    assert scans
    assert all("Index Only Scan" in line for line in scans), plan
