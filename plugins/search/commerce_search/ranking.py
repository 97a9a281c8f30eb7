"""What comes first of what was found: how well it matches, and a little, how popular it is and whether it is there."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from uuid import UUID

from commerce_search.interface import Hit

# So many hits are looked at together; a page within them is sorted by all of this, the rest by the engine alone.
WINDOW = 100
_POPULARITY = 0.15
_SOLD_OUT = 0.85
_SAME_TITLE = 1.5
_ALL_IN_TITLE = 1.3
# The scores of what was to come first, above all others.
_FIRST = 100_000.0


def is_first(hit: Hit) -> bool:
    """Whether it was to come first: it is pinned, or its SKU is what was asked for."""
    return hit.score >= _FIRST


def ranked(hits: Sequence[Hit], title: str, best: Collection[UUID] = ()) -> list[Hit]:
    """The hits by relevance, `title` being what was asked for. What was to come first does; then those in `best`."""
    most = math.log1p(max((hit.popularity for hit in hits), default=0)) or 1.0

    typed = title.split()

    def worth(hit: Hit) -> float:
        if is_first(hit):
            return hit.score
        score = hit.score * (1 + _POPULARITY * math.log1p(max(0, hit.popularity)) / most)
        if not hit.in_stock:
            score *= _SOLD_OUT
        if title and hit.title == title:
            score *= _SAME_TITLE
        elif typed and _begins(hit.title.split(), typed):
            score *= _ALL_IN_TITLE
        return score

    scored = [replace(hit, score=worth(hit)) for hit in hits]
    return sorted(scored, key=lambda hit: (not is_first(hit), hit.id not in best, -hit.score, -hit.popularity, hit.id))


def _begins(words: Sequence[str], typed: Sequence[str]) -> bool:
    """Whether each word typed is the beginning of one of these words."""
    return all(any(word.startswith(each) for word in words) for each in typed)
