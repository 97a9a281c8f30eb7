"""Counting what was found by category, brand, price and attribute.

A facet's own filter does not count for it: whoever has chosen red sees how many blue ones there would be as well. So
there is one more query for each facet that something is chosen of; all others are counted with the hits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from commerce_search.documents import attribute_of, attribute_tag, brand_tag, category_tag
from commerce_search.interface import Filters, Query, Result

_MOST_BRANDS = 100
_MOST_ATTRIBUTES = 40
_MOST_VALUES = 100


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a shopper has chosen, by facet. Prices in minor units, bounds included."""

    category: str | None = None
    brands: Sequence[str] = ()
    min_price: int | None = None
    max_price: int | None = None
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    in_stock: bool | None = None
    tags: Sequence[frozenset[str]] = ()
    """What else has to be so, and is no facet."""

    def filters(self, *, without: str | None = None) -> Filters:
        """What is left; `without` names a facet whose own filter does not count."""
        groups = [*self.tags]
        if self.category is not None and without != "category":
            groups.append(frozenset({category_tag(self.category)}))
        if self.brands and without != "brand":
            groups.append(frozenset(map(brand_tag, self.brands)))
        groups += [
            frozenset(attribute_tag(name, value) for value in values)
            for name, values in self.attributes.items()
            if without != f"attribute:{name}"
        ]
        priced = without != "price"
        return Filters(
            any_of=tuple(groups),
            min_price=self.min_price if priced else None,
            max_price=self.max_price if priced else None,
            in_stock=self.in_stock,
        )

    def facets(self) -> list[str]:
        """The facets of which something is chosen."""
        chosen = [f"attribute:{name}" for name in self.attributes]
        chosen += ["category"] if self.category is not None else []
        chosen += ["brand"] if self.brands else []
        chosen += ["price"] if self.min_price is not None or self.max_price is not None else []
        return chosen


@dataclass(frozen=True, slots=True)
class Counts:
    """How many products there are of each slug and value, whatever is chosen of the same facet."""

    categories: Mapping[str, int]
    brands: Mapping[str, int]
    prices: Sequence[int]
    attributes: Mapping[str, Mapping[str, int]]


def count(query: Query, chosen: Chosen, result: Result, search: Callable[[Query], Result]) -> Counts:
    """The counts of a query that was counted itself, as `result`; `search` is asked for what is still to be counted."""
    counted = {
        facet: search(
            replace(
                query,
                filters=chosen.filters(without=facet),
                offset=0,
                limit=0,
                tags=facet != "price",
                price_bounds=query.price_bounds if facet == "price" else (),
            )
        )
        for facet in chosen.facets()
    }

    def tags(facet: str) -> Mapping[str, int]:
        return counted.get(facet, result).tags

    attributes: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for facet, counts in [("", result.tags), *((name, each.tags) for name, each in counted.items())]:
        for tag, number in counts.items():
            if tag.startswith("a:"):
                name, value = attribute_of(tag)
                if facet == f"attribute:{name}" or (facet == "" and f"attribute:{name}" not in counted):
                    attributes[name][value] = number
    return Counts(
        categories={tag[2:]: number for tag, number in tags("category").items() if tag.startswith("c:")},
        brands={tag[2:]: number for tag, number in tags("brand").items() if tag.startswith("b:")},
        prices=counted.get("price", result).prices,
        attributes=dict(attributes),
    )


def present(
    counts: Counts,
    chosen: Chosen,
    categories: Sequence[Mapping[str, Any]],
    brands: Sequence[Any],
    bounds: Sequence[int],
) -> dict[str, Any]:
    """The facets as they are answered: trees and lists with names; of long lists the commonest. What is chosen is there
    even if there is nothing of it."""
    return {
        "categories": _tree(categories, counts.categories, chosen.category),
        "brands": _brands(counts.brands, chosen, brands),
        "prices": _prices(counts.prices, bounds),
        "attributes": _attributes(counts.attributes, chosen.attributes),
    }


def _tree(nodes: Sequence[Mapping[str, Any]], counts: Mapping[str, int], chosen: str | None) -> list[dict[str, Any]]:
    shown = []
    for node in nodes:
        children = _tree(node["children"], counts, chosen)
        number, is_chosen = counts.get(node["slug"], 0), node["slug"] == chosen
        if number or is_chosen or children:
            names = {name: node[name] for name in ("id", "slug", "name")}
            shown.append({**names, "count": number, "selected": is_chosen, "children": children})
    return shown


def _brands(counts: Mapping[str, int], chosen: Chosen, brands: Sequence[Any]) -> list[dict[str, Any]]:
    shown = [
        {
            "id": brand.id,
            "slug": brand.slug,
            "name": brand.name,
            "count": counts.get(brand.slug, 0),
            "selected": brand.slug in chosen.brands,
        }
        for brand in brands
        if brand.slug in counts or brand.slug in chosen.brands
    ]
    shown.sort(key=lambda each: (not each["selected"], -each["count"], each["name"]))
    return shown[:_MOST_BRANDS]


def _prices(counts: Sequence[int], bounds: Sequence[int]) -> list[dict[str, Any]]:
    """A range's bounds are as `min_price` and `max_price` take them: both included."""
    edges: list[int | None] = [None, *bounds, None]
    return [
        {"min": low, "max": None if edges[place + 1] is None else edges[place + 1] - 1, "count": counts[place]}  # type: ignore[operator]
        for place, low in enumerate(edges[:-1])
        if counts[place]
    ]


def _attributes(counts: Mapping[str, Mapping[str, int]], chosen: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    for name in {**dict.fromkeys(chosen), **counts}:
        of_name = chosen.get(name, ())
        numbers = {**dict.fromkeys(of_name, 0), **counts.get(name, {})}
        best = sorted(numbers.items(), key=lambda each: (each[0] not in of_name, -each[1], each[0]))
        values = [{"value": value, "count": number, "selected": value in of_name} for value, number in best]
        shown.append({"name": name, "values": values[:_MOST_VALUES]})
    total = {name: sum(values.values()) for name, values in counts.items()}
    shown.sort(key=lambda each: (each["name"] not in chosen, -total.get(each["name"], 0), each["name"]))
    return shown[:_MOST_ATTRIBUTES]
