"""What can go wrong with a search."""

from __future__ import annotations

from typing import Any, ClassVar

from commerce_core.api.problems import Problem


class SearchUnavailable(Problem):
    """The search index cannot be reached, or is being built. Lists and products are there all the same; try again."""

    slug = "search/unavailable"
    title = "Search is not available just now"
    status = 503

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": "5"})


class TooDeep(Problem):
    """The page lies beyond what search goes through, `deepest` products. Narrow it down, or use a list by filter."""

    slug = "search/too-deep"
    title = "The page is too far from the first"
    status = 422
    example: ClassVar[dict[str, Any]] = {"deepest": 10_000}
