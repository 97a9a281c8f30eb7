"""Facets: the counts are those that the database would count, whatever is chosen."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from commerce_search.facets import Chosen
from commerce_search.service import Wanted, search
from commerce_search.views import facets
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from commerce_core.demo.bulk import load_bulk
from commerce_core.testing import StoppedClock

BACKENDS = ["whoosh", "tantivy", "postgresql"]
PRODUCTS = 500
BOUNDS = (2_500, 5_000, 10_000, 20_000, 50_000)
_ROWS = """
WITH RECURSIVE tree AS (
    SELECT id AS leaf, id, slug, parent_id FROM category
    UNION ALL
    SELECT tree.leaf, category.id, category.slug, category.parent_id
    FROM tree JOIN category ON category.id = tree.parent_id
)
SELECT product.id, brand.slug AS brand, price_amount AS price, sellable_variants > 0 AS in_stock, facets,
       is_featured, array(SELECT slug FROM tree WHERE leaf = category_id) AS categories
FROM product LEFT JOIN brand ON brand.id = brand_id
WHERE status = 'active' AND deleted_at IS NULL AND published_at IS NOT NULL AND price_amount IS NOT NULL
"""


@pytest.mark.parametrize("search_settings", BACKENDS, indirect=True)
def test_counts_are_those_of_the_database_for_200_combinations_of_filters(
    application: Any, engine: Engine, db: Session, clock: StoppedClock, reindexed: Callable[[], int]
) -> None:
    """Each facet is compared with SQL's count of what all other filters leave."""
    load_bulk(engine, PRODUCTS, seed=3, now=clock.now())
    reindexed()
    rows = db.execute(text(_ROWS)).all()
    names = {name for row in rows for name in row.facets}
    chance = random.Random(99)
    for _ in range(200):
        chosen = some_choice(chance, rows)
        found = search(application.registry.search, db, Wanted(chosen=chosen, per_page=100))
        assert found.counts is not None
        assert found.total == len(matching(rows, chosen))
        assert set(found.ids) <= {row.id for row in matching(rows, chosen)}
        assert found.counts.categories == counted(matching(rows, chosen, "category"), lambda row: row.categories)
        assert found.counts.brands == counted(matching(rows, chosen, "brand"), lambda row: [row.brand])
        prices = counted(matching(rows, chosen, "price"), lambda row: [sum(bound <= row.price for bound in BOUNDS)])
        assert list(found.counts.prices) == [prices.get(place, 0) for place in range(len(BOUNDS) + 1)]
        assert found.counts.attributes.keys() <= names
        for name in names:
            left = matching(rows, chosen, f"attribute:{name}")
            assert found.counts.attributes.get(name, {}) == counted(
                left, lambda row, name=name: row.facets.get(name, ())
            )


def some_choice(chance: random.Random, rows: Any) -> Chosen:
    """Up to five filters, taken from products that there are, so that they mostly leave something."""
    row = chance.choice(rows)
    low = chance.choice([None, chance.randint(0, 20_000)])
    names = chance.sample(sorted(row.facets), chance.randint(0, min(2, len(row.facets))))
    return Chosen(
        category=chance.choice([None, None, *row.categories]),
        brands=[row.brand, chance.choice(rows).brand][: chance.choice([0, 0, 1, 2])],
        min_price=low,
        max_price=chance.choice([None, (low or 0) + chance.randint(1_000, 60_000)]),
        attributes={name: [row.facets[name][0], chance.choice(rows).facets.get(name, ["none"])[0]] for name in names},
        in_stock=chance.choice([None, None, True, False]),
    )


def matching(rows: Any, chosen: Chosen, without: str | None = None) -> list[Any]:
    return [
        row
        for row in rows
        if (without == "category" or chosen.category is None or chosen.category in row.categories)
        and (without == "brand" or not chosen.brands or row.brand in chosen.brands)
        and (without == "price" or chosen.min_price is None or row.price >= chosen.min_price)
        and (without == "price" or chosen.max_price is None or row.price <= chosen.max_price)
        and (chosen.in_stock is None or row.in_stock == chosen.in_stock)
        and all(
            without == f"attribute:{name}" or set(values) & set(row.facets.get(name, ()))
            for name, values in chosen.attributes.items()
        )
    ]


def counted(rows: list[Any], values_of: Callable[[Any], Any]) -> dict[Any, int]:
    counts: dict[Any, int] = {}
    for row in rows:
        for value in values_of(row):
            counts[value] = counts.get(value, 0) + 1
    return counts


@pytest.mark.parametrize("search_settings", BACKENDS, indirect=True)
def test_of_what_a_text_finds_as_many_are_counted_as_are_found(
    application: Any, engine: Engine, db: Session, clock: StoppedClock, reindexed: Callable[[], int]
) -> None:
    load_bulk(engine, PRODUCTS, seed=3, now=clock.now())
    reindexed()
    rows = {row.id: row for row in db.execute(text(_ROWS)).all()}
    for words in ("trail jacket", "nordwind", "workshop bottle", "cotton", "sneeker"):
        everything: list[Any] = []
        for page in range(1, PRODUCTS // 100 + 1):
            found = search(application.registry.search, db, Wanted(text=words, page=page, per_page=100))
            everything += [rows[id_] for id_ in found.ids]
        assert len({row.id for row in everything}) == found.total == len(everything)
        assert found.counts is not None
        assert found.counts.brands == counted(everything, lambda row: [row.brand])
        assert found.counts.categories == counted(everything, lambda row: row.categories)


def test_lists_of_facets_are_trees_and_lists_with_names_and_what_is_chosen_stays() -> None:
    tree = [{"id": 1, "slug": "shoes", "name": "Shoes", "children": [
        {"id": 2, "slug": "boots", "name": "Boots", "children": []},
        {"id": 3, "slug": "clogs", "name": "Clogs", "children": []},
    ]}]  # fmt: skip
    counts = facets.Counts({"shoes": 2, "boots": 2}, {}, [0, 2, 0], {"color": {"red": 1, "blue": 2}})
    chosen = Chosen(category="shoes", attributes={"size": ["XL"]})
    shown = facets.present(counts, chosen, tree, [], (1_000, 2_000))
    [shoes] = shown["categories"]
    assert (shoes["count"], shoes["selected"], [child["slug"] for child in shoes["children"]]) == (2, True, ["boots"])
    assert shown["prices"] == [{"min": 1_000, "max": 1_999, "count": 2}]
    assert [(each["name"], each["values"][0]) for each in shown["attributes"]] == [
        ("size", {"value": "XL", "count": 0, "selected": True}),
        ("color", {"value": "blue", "count": 2, "selected": False}),
    ]
