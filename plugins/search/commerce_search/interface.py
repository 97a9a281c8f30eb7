"""What a search engine has to be able to do for us, and the words in which it is spoken to.

A backend keeps documents and finds them: exactly what it is asked for, no more. What people mean (stems, typing errors,
synonyms, what comes first) is worked out before it is asked, so that all backends find the same things. To write one,
implement `Backend`, return it from `commerce_register_search_backends`, and hold it to
`commerce_search.contract.BackendContract`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.orm import Session

Sort = Literal["relevance", "price_asc", "price_desc", "newest", "popular"]

# The fields that are searched, and what a word found in each is worth.
WEIGHTS: Mapping[str, float] = {
    "name": 3.0,
    "sku": 2.0,
    "brand": 1.5,
    "category": 1.2,
    "attributes": 1.0,
    "description": 0.5,
}
TEXT_FIELDS = tuple(WEIGHTS)


class BackendError(Exception):
    """The engine cannot be reached, or does not work."""


class IndexMissing(BackendError):
    """There is no index yet: it has to be built."""


class IndexCorrupt(BackendError):
    """What is on the disk is no index any more: it has to be built again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A product as it is kept in an index. Two documents of one fingerprint are the same.

    `words` are the stems of each of TEXT_FIELDS, in order. `spoken` are the words of its short fields as people write
    them (folded, not stemmed): what typing errors are corrected to. `beginnings` are the beginnings of such words.
    `tags` are what lists are filtered and counted by, `keys` exact names: `id:<uuid>`, `sku:<folded>`. The price is in
    minor units, `published` in milliseconds since 1970.
    """

    id: UUID
    fingerprint: str
    words: Mapping[str, Sequence[str]]
    spoken: Sequence[str]
    beginnings: Sequence[str]
    tags: Sequence[str]
    keys: Sequence[str]
    title: str
    price: int
    in_stock: bool
    published: int
    popularity: int


@dataclass(frozen=True, slots=True)
class Word:
    """A stem to look for in the text fields; or, `is_beginning`, the beginning of a word, looked for among those."""

    text: str
    boost: float = 1.0
    is_beginning: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """A thing that was asked for: any of these alternatives, each of which is all of its words."""

    alternatives: tuple[tuple[Word, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What is left out. Each of `any_of` is a group of tags, of which a document must have one."""

    any_of: tuple[frozenset[str], ...] = ()
    min_price: int | None = None
    max_price: int | None = None
    in_stock: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to find.

    Without `slots` everything matches; otherwise what matches at least `least` of them. Documents with a key in `first`
    match in any case and, by relevance, come first, in that order; those with a key in `without` never do. `offset` and
    `limit` say which of the hits to answer, `tags` whether to count what matches by tag, `price_bounds` to count it by
    price as well: below the first, from each to below the next, from the last on.
    """

    slots: tuple[Slot, ...] = ()
    least: int = 0
    first: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    filters: Filters = Filters()
    sort: Sort = "relevance"
    offset: int = 0
    limit: int = 24
    tags: bool = False
    price_bounds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that was found. `score` grows with how well it matches; it is nothing to compare between queries."""

    id: UUID
    score: float
    title: str
    popularity: int
    in_stock: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """`total` and the counts are exact, of all that matches. `prices` has one more than there are bounds."""

    hits: Sequence[Hit]
    total: int
    tags: Mapping[str, int] = field(default_factory=dict)
    prices: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """What an index has of a document."""

    fingerprint: str
    in_stock: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """`version` changes with everything that changes in the index; `size` is in bytes."""

    documents: int
    size: int
    version: str


class Reader(Protocol):
    """The index as it is at one moment. Safe to use from the thread that asked for it. Raises BackendError."""

    version: str
    """Changes with everything that changes in the index."""

    def search(self, query: Query) -> Result: ...

    def frequency(self, word: str) -> int:
        """How many documents have this stem in a text field, about; 0 exactly if none has."""
        ...

    def terms(self, prefix: str, limit: int) -> Sequence[tuple[str, int]]:
        """Spoken words that begin so, by frequency, each with the number of documents, about; all of them for ""."""
        ...

    def entries(self, ids: Iterable[UUID]) -> Mapping[UUID, Entry]:
        """What is there of these."""
        ...

    def scan(self) -> Iterator[UUID]:
        """All ids, in any order."""
        ...

    def stats(self) -> Stats: ...


class Build(Protocol):
    """An index that is being made beside the live one."""

    is_resumed: bool
    """Whether there is something in it that was committed before."""

    def add(self, documents: Sequence[Document], *, again: bool = False) -> None:
        """Add documents; with `again` some of them may be there already, and are replaced."""
        ...

    def delete(self, ids: Sequence[UUID]) -> None: ...

    def commit(self) -> None:
        """What was added is on the disk: after a crash the build can go on from here."""
        ...

    def publish(self) -> None:
        """Commit, and put it in the place of the live index, in one step. The former one stays for who reads it."""
        ...

    def close(self) -> None:
        """Let go of it. What is not committed is lost."""
        ...


class Backend(Protocol):
    """An engine with one index, in one process. Threads may share it."""

    code: str

    def reading(self, session: Session) -> AbstractContextManager[Reader]:
        """The newest state. `session` is the caller's, for backends that live in the shop's database.

        Raises IndexMissing, IndexCorrupt or BackendError.
        """
        ...

    def apply(self, documents: Sequence[Document], deleted: Sequence[UUID], session: Session) -> None:
        """Write into the live index; visible to every process when this returns (with the session's commit, where the
        index is in the shop's database). The caller sees to it that one process writes at a time. Raises as `reading`.
        """
        ...

    def build(self, name: str) -> Build:
        """The build of this name: what an interrupted one has committed is still there. Raises IndexCorrupt."""
        ...

    def live(self) -> str | None:
        """The name of the build that is live; None if there is no index."""
        ...

    def abandon(self, name: str) -> None:
        """Remove the build of this name; nothing if there is none."""
        ...

    def tidy(self, building: str | None) -> None:
        """Remove indexes that were live more than a minute ago, and builds but for the one called `building`."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a backend may keep its index: a folder of its own, the shop's database; and the plugin's settings."""

    folder: Path
    engine: Engine
    settings: Any


class BackendFactory(Protocol):
    """What `commerce_register_search_backends` returns: makes the backend of its code when a shop has chosen it."""

    code: str

    def open(self, place: Place) -> Backend:
        """Cheap, and without touching the index: that comes with the first use."""
        ...
