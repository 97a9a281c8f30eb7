"""What is kept: the bytes of an answer, its ETag, and the tags under which it is dropped."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import orjson

# Dropped with this: everything. Every answer bears it, unsaid.
EVERYTHING = "*"


@dataclass(frozen=True, slots=True)
class Entry:
    """A finished answer. `cost`: the seconds it took to build. From `ends_at` on, if known, it is wrong."""

    body: bytes
    etag: str
    tags: frozenset[str]
    cost: float
    ends_at: datetime | None = None

    @classmethod
    def of(cls, body: bytes, tags: Iterable[str], cost: float, ends_at: datetime | None = None) -> Self:
        return cls(body, hashlib.blake2b(body, digest_size=16).hexdigest(), frozenset(tags), cost, ends_at)

    def seconds_left(self, now: datetime) -> float:
        """For how long it is right; infinity if nobody knows that it will not be."""
        return math.inf if self.ends_at is None else (self.ends_at - now).total_seconds()

    @property
    def size(self) -> int:
        """Roughly the memory it takes, in bytes."""
        return len(self.body) + 500 + 150 * len(self.tags)

    def bears(self, tags: Iterable[str]) -> bool:
        """Whether it is dropped with one of `tags`."""
        return any(tag in self.tags or tag == EVERYTHING for tag in tags)

    def is_due(self, left: float) -> bool:
        """Whether to build it anew with `left` seconds to go: the likelier the nearer its end, and the dearer it is.

        So a popular answer is refreshed by one of those who ask, and never lapses for all of them at once (XFetch:
        Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", 2015).
        """
        return left + self.cost * math.log(1.0 - random.random()) <= 0

    def pack(self) -> bytes:
        """As Redis keeps it: never a pickle, which would run whatever it is told to."""
        return orjson.dumps([self.etag, sorted(self.tags), self.cost, self.ends_at]) + b"\n" + self.body

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Raises ValueError for what is no entry."""
        head, _, body = packed.partition(b"\n")
        etag, tags, cost, ends_at = orjson.loads(head)
        return cls(body, etag, frozenset(tags), cost, ends_at and datetime.fromisoformat(ends_at))
