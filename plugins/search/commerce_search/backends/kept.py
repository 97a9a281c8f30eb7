"""Counts of everything, kept in the process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from commerce_search.interface import Filters, Query, Result


class KeptCounts:
    """How many documents there are of everything, for as long as the index's version stays.

    To count all tags of all documents takes long, and it is what most pages without words ask for: whoever has chosen a
    category sees what there would be in the others. Threads may share it: at worst two of them count the same.
    """

    def __init__(self) -> None:
        self._known: tuple[str, dict[Query, Result]] = ("", {})

    def search(self, version: str, query: Query, search: Callable[[Query], Result]) -> Result:
        """What `search` finds, but counts of everything are those that are known of this version."""
        if not _counts_everything(query):
            return search(query)
        known_version, results = self._known
        if known_version != version:
            results = {}
            self._known = (version, results)
        counting = replace(query, sort="relevance", offset=0, limit=0)
        if counting not in results:
            results[counting] = search(counting)
        if query.limit == 0:
            return results[counting]
        return replace(results[counting], hits=search(replace(query, tags=False, price_bounds=())).hits)


def _counts_everything(query: Query) -> bool:
    """Whether it counts all documents, or all that are in stock: so few different queries that all can be kept."""
    chosen = query.slots or query.first or query.without or replace(query.filters, in_stock=None) != Filters()
    return not chosen and (query.tags or bool(query.price_bounds))
