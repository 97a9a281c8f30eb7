"""What people meant to type: the words that the shop knows, by how far they are from what was typed.

Only words that no product has are corrected, and the other words only if nothing at all was found: to be generous with
every word finds worse things first. An edit is a letter too many, too few, wrong, or two that changed places.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz.distance import OSA
from rapidfuzz.process import extract

_MOST = 4
_CANDIDATES = 60


@dataclass(frozen=True, slots=True)
class Correction:
    """A word that may have been meant. `distance` in edits."""

    word: str
    distance: int
    documents: int

    @property
    def boost(self) -> float:
        """How much less it is worth to find this than what was typed."""
        return 0.8**self.distance


def allowed_edits(word: str) -> int:
    """None in very short words, in which everything is near everything."""
    if len(word) < 3:
        return 0
    return 1 if len(word) <= 5 else 2


class Vocabulary:
    """The words of an index, as people write them, each with the number of documents that have it."""

    def __init__(self, terms: Iterable[tuple[str, int]]) -> None:
        self.documents = dict(terms)
        by_length: defaultdict[int, list[str]] = defaultdict(list)
        for word in self.documents:
            by_length[len(word)].append(word)
        self._by_length = dict(by_length)
        self.corrections = lru_cache(5_000)(self._corrections)
        self.corrected_beginning = lru_cache(5_000)(self._corrected_beginning)
        self._beginnings = lru_cache(16)(self._cut)

    def _corrections(self, word: str, edits: int | None = None) -> Sequence[Correction]:
        """The likeliest words within the edits that are allowed, likeliest first, without the word itself."""
        edits = allowed_edits(word) if edits is None else edits
        if edits == 0:
            return ()
        found = [
            Correction(near, distance, self.documents[near])
            for near, distance in self._near(word, self._of_lengths(len(word) - edits, len(word) + edits), edits)
            if near != word
        ]
        found.sort(key=lambda each: _unlikelihood(word, each))
        # What is farther than the nearest is hardly ever meant where there are several that near.
        nearest = [each for each in found if each.distance == found[0].distance]
        return tuple((nearest if len(nearest) > 1 else found)[:_MOST])

    def _corrected_beginning(self, beginning: str) -> Sequence[str]:
        """Beginnings of known words that are one edit away, and have the same first letter; the commonest first."""
        if len(beginning) < 3:
            return ()
        near: dict[str, int] = {}
        for length in range(len(beginning) - 1, len(beginning) + 2):
            known = self._beginnings(length)
            same = [each for each in known if each[0] == beginning[0]]
            near.update((each, known[each]) for each, _ in self._near(beginning, same, 1))
        return tuple(sorted(near, key=lambda each: (len(each) != len(beginning), -near[each], each))[:_MOST])

    def split(self, word: str) -> tuple[str, str] | None:
        """The two known words that this one is made of, if it is: `watertight` of `water` and `tight`."""
        parts = [
            (word[:at], word[at:])
            for at in range(3, len(word) - 2)
            if word[:at] in self.documents and word[at:] in self.documents
        ]
        return max(parts, key=lambda pair: min(self.documents[part] for part in pair), default=None)

    def _of_lengths(self, shortest: int, longest: int) -> list[str]:
        return [word for length in range(shortest, longest + 1) for word in self._by_length.get(length, ())]

    def _cut(self, length: int) -> dict[str, int]:
        """The beginnings of this length, each with the documents of its words."""
        found: defaultdict[str, int] = defaultdict(int)
        for word, documents in self.documents.items():
            if len(word) >= length:
                found[word[:length]] += documents
        return found

    @staticmethod
    def _near(word: str, words: Sequence[str], edits: int) -> list[tuple[str, int]]:
        found = extract(word, words, scorer=OSA.distance, score_cutoff=edits, limit=_CANDIDATES)
        return [(near, int(distance)) for near, distance, _ in found]


def _unlikelihood(word: str, correction: Correction) -> float:
    """Of two that are as near, the likelier has the same first letter, and is the commoner word."""
    other_start = 0.0 if word[0] == correction.word[0] else 0.6
    return correction.distance + other_start - 0.1 * math.log10(1 + correction.documents)
