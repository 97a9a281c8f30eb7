"""The tier in the process: bounded in entries and bytes; what was not asked for longest goes first."""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from commerce_core.cache.entry import EVERYTHING, Entry


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry with its times, on the shop's monotonic clock. From `ends` on it is wrong, and before that only old."""

    entry: Entry
    since: float
    until: float
    ends: float = math.inf


class LocalTier:
    """Not safe between threads by itself: the Cache holds its lock around every call."""

    def __init__(self, most_entries: int, most_bytes: int) -> None:
        self._most_entries = most_entries
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._keys: defaultdict[str, set[str]] = defaultdict(set)
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str) -> Kept | None:
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
        return kept

    def put(self, key: str, kept: Kept) -> None:
        """Keep it, unless it is so large that much else would have to go."""
        self.remove(key)
        size = len(key) + kept.entry.size
        if size > self._most_bytes / 8:
            return
        self._kept[key] = kept
        self.bytes += size
        for tag in kept.entry.tags:
            self._keys[tag].add(key)
        while len(self._kept) > self._most_entries or self.bytes > self._most_bytes:
            self.remove(next(iter(self._kept)))

    def remove(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        if kept is None:
            return
        self.bytes -= len(key) + kept.entry.size
        for tag in kept.entry.tags:
            keys = self._keys[tag]
            keys.discard(key)
            if not keys:
                del self._keys[tag]

    def drop(self, tags: Iterable[str]) -> int:
        """Remove what bears one of `tags`; how many."""
        before = len(self._kept)
        for tag in tags:
            if tag == EVERYTHING:
                self._kept.clear()
                self._keys.clear()
                self.bytes = 0
                break
            for key in tuple(self._keys.get(tag, ())):
                self.remove(key)
        return before - len(self._kept)
