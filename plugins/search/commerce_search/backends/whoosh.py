"""Search with Whoosh: pure Python, nothing to run, nothing to compile. For shops of some ten thousand products.

Whoosh keeps the index: segments, postings, commits. What matches is worked out here, over arrays: Whoosh's own matchers
visit document after document in Python, and its filters and facets take a hundred times as long. Segments never change,
but for what is deleted in them, so what is read of one is kept for as long as it is there.

An index holds pickled objects: whoever can write to its folder can run code in the shop.
"""

from __future__ import annotations

import math
import pickle
import struct
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import orjson
from sqlalchemy.orm import Session
from whoosh import fields
from whoosh.analysis import RegexTokenizer
from whoosh.columns import VarBytesColumn
from whoosh.index import FileIndex, IndexError, LockError, create_in, open_dir
from whoosh.reading import SegmentReader
from whoosh.writing import IndexingError

from commerce_search.backends.folders import Folders
from commerce_search.interface import (
    TEXT_FIELDS,
    WEIGHTS,
    BackendError,
    Document,
    Entry,
    Hit,
    IndexCorrupt,
    IndexMissing,
    Place,
    Query,
    Result,
    Slot,
    Stats,
    Word,
)

# What goes wrong when files are not what they should be.
_BROKEN = (OSError, IndexError, IndexingError, EOFError, ValueError, KeyError, struct.error, pickle.UnpicklingError)
_FIRST_SCORE = 1_000_000.0
# BM25; long names and descriptions are not much worse than short ones.
_K1, _B = 1.2, 0.4
# So many postings are kept of a segment.
_MOST_POSTINGS = 5_000_000
_WRITER = {"limitmb": 128, "timeout": 30.0}

Array = np.ndarray[Any, Any]


def _schema() -> fields.Schema:
    words = {name: fields.TEXT(analyzer=RegexTokenizer(r"\S+"), phrase=False) for name in TEXT_FIELDS}
    lists = {name: fields.KEYWORD() for name in ("spoken", "beginnings", "keys")}
    return fields.Schema(id=fields.ID(unique=True), facts=fields.COLUMN(VarBytesColumn()), **words, **lists)


class WhooshBackendFactory:
    code = "whoosh"

    def open(self, place: Place) -> WhooshBackend:
        return WhooshBackend(place.folder)


class WhooshBackend:
    """The index in a folder."""

    code = "whoosh"

    def __init__(self, folder: Path) -> None:
        self._folders = Folders(folder)
        self._lock = threading.Lock()
        self._snapshot: WhooshReader | None = None

    @contextmanager
    def reading(self, session: Session) -> Iterator[WhooshReader]:
        snapshot = self._newest()
        try:
            yield snapshot
        except _BROKEN as error:
            raise IndexCorrupt(f"{type(error).__name__}: {error}") from error

    def _newest(self) -> WhooshReader:
        live = self._folders.live()
        with self._lock:
            for last in (False, True):
                try:
                    self._snapshot = _snapshot(live, self._folders.of(live), self._snapshot)
                    return self._snapshot
                except _BROKEN as error:
                    # A writer may have replaced what was about to be read; what stays broken is broken.
                    if last:
                        raise IndexCorrupt(f"{type(error).__name__}: {error}") from error
        raise AssertionError

    def apply(self, documents: Sequence[Document], deleted: Sequence[UUID], session: Session) -> None:
        index = self._open(self._folders.of(self._folders.live()))
        try:
            writer = index.writer(**_WRITER)
        except LockError as error:
            raise BackendError("another process writes to the index") from error
        except _BROKEN as error:
            raise IndexCorrupt(f"{type(error).__name__}: {error}") from error
        with _cancelled_on_failure(writer):
            for id_ in (*deleted, *(document.id for document in documents)):
                writer.delete_by_term("id", str(id_))
            _write(writer, documents)
            writer.commit()

    def _open(self, folder: Path) -> FileIndex:
        if not folder.is_dir():
            raise IndexMissing(f"there is no index in {folder}")
        try:
            return open_dir(str(folder))
        except _BROKEN as error:
            raise IndexCorrupt(f"{type(error).__name__}: {error}") from error

    def build(self, name: str) -> WhooshBuild:
        folder = self._folders.make(name)
        try:
            is_resumed = any(folder.iterdir())
            index = open_dir(str(folder)) if is_resumed else create_in(str(folder), _schema())
        except _BROKEN as error:
            raise IndexCorrupt(f"{type(error).__name__}: {error}") from error
        return WhooshBuild(self._folders, name, index, is_resumed)

    def live(self) -> str | None:
        return self._folders.name()

    def abandon(self, name: str) -> None:
        self._folders.remove(name)

    def tidy(self, building: str | None) -> None:
        self._folders.tidy(building)

    def close(self) -> None:
        with self._lock:
            self._snapshot = None


class WhooshBuild:
    """Writes into a folder of its own."""

    def __init__(self, folders: Folders, name: str, index: FileIndex, is_resumed: bool) -> None:
        self.is_resumed = is_resumed
        self._folders = folders
        self._name = name
        self._index = index
        self._writer: Any = None

    def add(self, documents: Sequence[Document], *, again: bool = False) -> None:
        if again:
            self.delete([document.id for document in documents])
        _write(self._open(), documents)

    def delete(self, ids: Sequence[UUID]) -> None:
        # A writer deletes what is committed, and not what it has been given itself.
        self.commit()
        writer = self._open()
        for id_ in ids:
            writer.delete_by_term("id", str(id_))

    def commit(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with _cancelled_on_failure(writer):
                writer.commit(merge=False)

    def publish(self) -> None:
        self.commit()
        self._folders.publish(self._name)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.cancel()
            self._writer = None

    def _open(self) -> Any:
        if self._writer is None:
            self._writer = self._index.writer(**_WRITER)
        return self._writer


class _Segment:
    """A segment as arrays. Only `live` may differ between two readers of it."""

    def __init__(self, reader: SegmentReader) -> None:
        self.reader = reader
        self.lock = threading.Lock()
        self.count = reader.doc_count_all()
        column = reader.column_reader("facts")
        empty = orjson.dumps(["", "", "", 0, False, 0, 0, [], [0] * len(TEXT_FIELDS)])
        facts = [orjson.loads(column[number] or empty) for number in range(self.count)]
        self.ids: list[str] = [fact[0] for fact in facts]
        self.fingerprints: list[str] = [fact[1] for fact in facts]
        self.titles: list[str] = [fact[2] for fact in facts]
        self.price = np.array([fact[3] for fact in facts], dtype=np.int64)
        self.in_stock = np.array([fact[4] for fact in facts], dtype=bool)
        self.published = np.array([fact[5] for fact in facts], dtype=np.int64)
        self.popularity = np.array([fact[6] for fact in facts], dtype=np.int64)
        lengths = np.array([fact[8] for fact in facts], dtype=np.float32).reshape(self.count, len(TEXT_FIELDS))
        self.lengths = {name: lengths[:, place] for place, name in enumerate(TEXT_FIELDS)}
        # Every tag of every document, as the number of the tag and that of the document.
        self.tag_numbers: dict[str, int] = {}
        numbers, owners = [], []
        for document, fact in enumerate(facts):
            for tag in fact[7]:
                numbers.append(self.tag_numbers.setdefault(tag, len(self.tag_numbers)))
                owners.append(document)
        self._tags = np.array(numbers, dtype=np.int32)
        self._owners = np.array(owners, dtype=np.int32)
        self._postings: dict[tuple[str, str], tuple[Array, Array]] = {}
        self._kept = 0

    def postings(self, field: str, word: str) -> tuple[Array, Array]:
        """The documents with a word in a field, and how often it is there."""
        key = (field, word)
        known = self._postings.get(key)
        if known is None:
            with self.lock:
                known = self._read(field, word)
                if self._kept > _MOST_POSTINGS:
                    self._postings.clear()
                    self._kept = 0
                self._postings[key] = known
                self._kept += len(known[0]) + 1
        return known

    def _read(self, field: str, word: str) -> tuple[Array, Array]:
        ids, weights = [], []
        if (field, word) in self.reader:
            matcher = self.reader.postings(field, word)
            while matcher.is_active():
                ids.append(matcher.id())
                weights.append(matcher.weight())
                matcher.next()
        return np.array(ids, dtype=np.int32), np.array(weights, dtype=np.float32)

    def with_tags(self, tags: Iterable[str]) -> Array:
        """A mask of the documents that have one of these tags."""
        mask = np.zeros(self.count, dtype=bool)
        for tag in tags:
            number = self.tag_numbers.get(tag)
            if number is not None:
                mask[self._owners[self._tags == number]] = True
        return mask

    def counts(self, mask: Array) -> dict[str, int]:
        """How many documents of the mask have each tag."""
        counts = np.bincount(self._tags[mask[self._owners]], minlength=len(self.tag_numbers)).tolist()
        return {tag: counts[number] for tag, number in self.tag_numbers.items() if counts[number]}


class WhooshReader:
    """The segments of one commit."""

    def __init__(self, version: str, folder: Path, segments: Sequence[tuple[_Segment, Array]]) -> None:
        self.version = version
        self._folder = folder
        self.segments = segments
        self.documents = sum(int(live.sum()) for _, live in segments)
        self._averages = {name: self._average(name) for name in TEXT_FIELDS}
        self._terms: list[tuple[str, int]] | None = None

    def _average(self, name: str) -> float:
        total: float = sum(float(segment.lengths[name].sum()) for segment, _ in self.segments)
        documents = sum(segment.count for segment, _ in self.segments)
        return max(1.0, total / documents) if documents else 1.0

    def search(self, query: Query) -> Result:
        found = [self._matches(segment, live, query) for segment, live in self.segments]
        total = sum(int(mask.sum()) for mask, _ in found)
        tags: Counter[str] = Counter()
        prices = np.zeros(len(query.price_bounds) + 1 if query.price_bounds else 0, dtype=np.int64)
        for (segment, _), (mask, _) in zip(self.segments, found, strict=True):
            if query.tags:
                tags.update(segment.counts(mask))
            if query.price_bounds:
                places = np.searchsorted(np.array(query.price_bounds), segment.price[mask], side="right")
                prices += np.bincount(places, minlength=len(prices))
        return Result(hits=self._hits(query, found), total=total, tags=dict(tags), prices=prices.tolist())

    def _hits(self, query: Query, found: Sequence[tuple[Array, Array]]) -> list[Hit]:
        if query.limit == 0:
            return []
        wanted = query.offset + query.limit
        best: list[tuple[Any, str, int, int]] = []
        for place, ((segment, _), (mask, scores)) in enumerate(zip(self.segments, found, strict=True)):
            numbers = np.flatnonzero(mask)
            keys, descending = _sort_keys(segment, query, scores)
            order = keys[numbers]
            if len(numbers) > wanted:
                # Everything that is as good as the last one wanted, because of those the id decides.
                kth = wanted - 1
                if descending:
                    numbers = numbers[order >= -np.partition(-order, kth)[kth]]
                else:
                    numbers = numbers[order <= np.partition(order, kth)[kth]]
            sign = -1 if descending else 1
            best += [(sign * keys[number].item(), segment.ids[number], place, number) for number in numbers.tolist()]
        newest_first = query.sort in ("price_desc", "newest", "popular")
        best.sort(key=lambda each: each[1], reverse=newest_first)
        best.sort(key=lambda each: each[0])
        hits = []
        for _, id_, place, number in best[query.offset : wanted]:
            segment, scores = self.segments[place][0], found[place][1]
            hits.append(
                Hit(
                    UUID(id_),
                    float(scores[number]),
                    segment.titles[number],
                    int(segment.popularity[number]),
                    bool(segment.in_stock[number]),
                )
            )
        return hits

    def _matches(self, segment: _Segment, live: Array, query: Query) -> tuple[Array, Array]:
        """The mask of what matches, and the scores."""
        scores = np.zeros(segment.count, dtype=np.float32)
        if query.slots:
            matched = np.zeros(segment.count, dtype=np.int16)
            for slot in query.slots:
                has, score = self._slot(segment, slot)
                matched += has
                scores += score
            mask = matched >= max(1, query.least)
        else:
            mask = np.ones(segment.count, dtype=bool)
        for place, key in enumerate(query.first):
            ids, _ = segment.postings("keys", key)
            mask[ids] = True
            scores[ids] = np.maximum(scores[ids], _FIRST_SCORE - place)
        mask &= live
        for key in query.without:
            mask[segment.postings("keys", key)[0]] = False
        filters = query.filters
        for group in filters.any_of:
            mask &= segment.with_tags(group)
        if filters.min_price is not None:
            mask &= segment.price >= filters.min_price
        if filters.max_price is not None:
            mask &= segment.price <= filters.max_price
        if filters.in_stock is not None:
            mask &= segment.in_stock == filters.in_stock
        return mask, scores

    def _slot(self, segment: _Segment, slot: Slot) -> tuple[Array, Array]:
        has = np.zeros(segment.count, dtype=bool)
        best = np.zeros(segment.count, dtype=np.float32)
        for alternative in slot.alternatives:
            scores = [self._word(segment, word) for word in alternative]
            all_of_them = np.logical_and.reduce([score > 0 for score in scores])
            has |= all_of_them
            np.maximum(best, np.where(all_of_them, np.add.reduce(scores) / len(scores), 0), out=best)
        return has, best

    def _word(self, segment: _Segment, word: Word) -> Array:
        scores = np.zeros(segment.count, dtype=np.float32)
        fields = {"beginnings": WEIGHTS["name"]} if word.is_beginning else WEIGHTS
        for name, weight in fields.items():
            ids, often = segment.postings(name, word.text)
            if len(ids):
                rarity = self._rarity(name, word.text)
                if name in segment.lengths:
                    norm = _K1 * (1 - _B + _B * segment.lengths[name][ids] / self._averages[name])
                    often = often * (_K1 + 1) / (often + norm)
                scores[ids] += weight * rarity * word.boost * often
        return scores

    def _rarity(self, field: str, word: str) -> float:
        among = sum(len(segment.postings(field, word)[0]) for segment, _ in self.segments)
        return math.log(1 + (self.documents - min(among, self.documents) + 0.5) / (among + 0.5))

    def frequency(self, word: str) -> int:
        return max(
            sum(int(live[segment.postings(name, word)[0]].sum()) for segment, live in self.segments)
            for name in TEXT_FIELDS
        )

    def terms(self, prefix: str, limit: int) -> Sequence[tuple[str, int]]:
        if self._terms is None:
            counts: Counter[str] = Counter()
            for segment, _ in self.segments:
                with segment.lock:
                    for term in segment.reader.lexicon("spoken"):
                        word = term.decode()
                        counts[word] += segment.reader.doc_frequency("spoken", word)
            self._terms = counts.most_common()
        return [each for each in self._terms if each[0].startswith(prefix)][:limit]

    def entries(self, ids: Iterable[UUID]) -> Mapping[UUID, Entry]:
        found = {}
        for id_ in ids:
            for segment, live in self.segments:
                for number in segment.postings("keys", f"id:{id_}")[0].tolist():
                    if live[number]:
                        found[id_] = Entry(segment.fingerprints[number], bool(segment.in_stock[number]))
        return found

    def scan(self) -> Iterator[UUID]:
        for segment, live in self.segments:
            for number in np.flatnonzero(live).tolist():
                yield UUID(segment.ids[number])

    def stats(self) -> Stats:
        return Stats(documents=self.documents, size=Folders.size(self._folder), version=self.version)


def _sort_keys(segment: _Segment, query: Query, scores: Array) -> tuple[Array, bool]:
    """What hits are sorted by, and whether the greatest come first."""
    if query.sort == "price_asc":
        return segment.price, False
    if query.sort == "price_desc":
        return segment.price, True
    if query.sort == "newest":
        return segment.published, True
    if query.sort == "popular":
        return segment.popularity, True
    # Of what matches as well, the more popular.
    return scores.astype(np.float64) + segment.popularity / 1e9, True


def _snapshot(name: str, folder: Path, before: WhooshReader | None) -> WhooshReader:
    """The newest commit, with the segments that the reader before it has open already."""
    if not folder.is_dir():
        raise IndexMissing(f"there is no index in {folder}")
    index = open_dir(str(folder))
    toc = index._read_toc()
    version = f"{name}.{toc.generation}"
    if before is not None and before.version == version:
        return before
    known = {segment.reader.segment().segment_id(): segment for segment, _ in before.segments} if before else {}
    segments = []
    for found in toc.segments:
        segment = known.get(found.segment_id())
        if segment is None:
            segment = _Segment(SegmentReader(index.storage, toc.schema, found, toc.generation))
        live = np.ones(segment.count, dtype=bool)
        live[list(found.deleted_docs())] = False
        segments.append((segment, live))
    return WhooshReader(version, folder, segments)


def _write(writer: Any, documents: Sequence[Document]) -> None:
    for document in documents:
        facts = [
            str(document.id), document.fingerprint, document.title, document.price, document.in_stock,
            document.published, document.popularity, list(document.tags),
            [len(document.words[name]) for name in TEXT_FIELDS],
        ]  # fmt: skip
        writer.add_document(
            id=str(document.id),
            facts=orjson.dumps(facts),
            spoken=list(document.spoken),
            beginnings=list(document.beginnings),
            keys=list(document.keys),
            **{name: list(words) for name, words in document.words.items()},
        )


@contextmanager
def _cancelled_on_failure(writer: Any) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if not writer.is_closed:
            writer.cancel()
        if isinstance(error, _BROKEN):
            raise IndexCorrupt(f"{type(error).__name__}: {error}") from error
        raise
