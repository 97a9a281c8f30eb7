"""Search with tantivy: embedded, in Rust. For large shops on one machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from commerce_search.backends.folders import Folders
from commerce_search.backends.kept import KeptCounts
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

try:
    import tantivy
    from tantivy import FieldType, Index, Occur, Order
    from tantivy import Query as Found
except ModuleNotFoundError:  # an extra of this distribution
    tantivy = None  # type: ignore[assignment]

_FIRST_SCORE = 1_000_000.0
_MOST_TAGS = 60_000
_HEAP = 64_000_000
_BUILD_HEAP = 256_000_000
_SORTS = {
    "price_asc": ("price", False),
    "price_desc": ("price", True),
    "newest": ("published", True),
    "popular": ("popularity", True),
}


def _schema() -> Any:
    builder = tantivy.SchemaBuilder()
    # The words come as they are to be found, with blanks between them.
    for name in TEXT_FIELDS:
        builder.add_text_field(name, tokenizer_name="whitespace", index_option="freq")
    for name in ("spoken", "beginnings"):
        builder.add_text_field(name, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("keys", tokenizer_name="raw", index_option="basic")
    builder.add_text_field("tags", tokenizer_name="raw", index_option="basic", fast=True)
    # An unsigned field would delete nothing, without a word.
    builder.add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
    for name in ("fingerprint", "title"):
        builder.add_text_field(name, stored=True, tokenizer_name="raw", index_option="basic")
    for name in ("price", "published", "popularity", "in_stock"):
        builder.add_integer_field(name, indexed=True, fast=True)
    return builder.build()


class TantivyBackendFactory:
    code = "tantivy"

    def open(self, place: Place) -> TantivyBackend:
        if tantivy is None:
            raise BackendError("tantivy is not installed: pip install commerce-search[tantivy]")
        return TantivyBackend(place.folder)


class TantivyBackend:
    """The index in a folder."""

    code = "tantivy"

    def __init__(self, folder: Path) -> None:
        self._folders = Folders(folder)
        self._lock = threading.Lock()
        # The open index: its name, and when and as whom it was seen (what is open does not survive a fork).
        self._index: Any = None
        self._stamp: tuple[str, int, int, int] | None = None
        self._reader: TantivyReader | None = None

    @contextmanager
    def reading(self, session: Session) -> Iterator[TantivyReader]:
        reader = self._newest()
        with _translated():
            yield reader

    def _newest(self) -> TantivyReader:
        live = self._folders.live()
        folder = self._folders.of(live)
        try:
            seen = (folder / "meta.json").stat()
        except OSError as error:
            raise IndexMissing(f"there is no index in {folder}") from error
        stamp = (live, os.getpid(), seen.st_mtime_ns, seen.st_ino)
        if stamp == self._stamp and self._reader is not None:
            return self._reader
        with self._lock, _translated():
            if stamp != self._stamp or self._reader is None:
                if self._index is None or self._stamp is None or self._stamp[:2] != stamp[:2]:
                    self._index = Index.open(str(folder))
                    self._index.config_reader("manual")
                self._index.reload()
                self._reader = TantivyReader(self._index, folder, f"{live}.{seen.st_mtime_ns:x}")
                self._stamp = stamp
            return self._reader

    def apply(self, documents: Sequence[Document], deleted: Sequence[UUID], session: Session) -> None:
        folder = self._folders.of(self._folders.live())
        if not folder.is_dir():
            raise IndexMissing(f"there is no index in {folder}")
        with _translated():
            writer = Index.open(str(folder)).writer(heap_size=_HEAP, num_threads=1)
            for id_ in (*deleted, *(document.id for document in documents)):
                writer.delete_documents_by_term("id", str(id_))
            for document in documents:
                writer.add_document(_native(document))
            writer.commit()
            # Small segments are merged in the background, and would be left so without this.
            writer.wait_merging_threads()

    def build(self, name: str) -> TantivyBuild:
        folder = self._folders.make(name)
        with _translated():
            is_resumed = Index.exists(str(folder))
            index = Index(_schema(), path=str(folder), reuse=True)
            return TantivyBuild(self._folders, name, index, is_resumed)

    def live(self) -> str | None:
        return self._folders.name()

    def abandon(self, name: str) -> None:
        self._folders.remove(name)

    def tidy(self, building: str | None) -> None:
        self._folders.tidy(building)

    def close(self) -> None:
        with self._lock:
            self._index = self._stamp = self._reader = None


class TantivyBuild:
    """Writes into a folder of its own."""

    def __init__(self, folders: Folders, name: str, index: Any, is_resumed: bool) -> None:
        self.is_resumed = is_resumed
        self._folders = folders
        self._name = name
        self._writer = index.writer(heap_size=_BUILD_HEAP, num_threads=2)

    def add(self, documents: Sequence[Document], *, again: bool = False) -> None:
        with _translated():
            if again:
                self.delete([document.id for document in documents])
            for document in documents:
                self._writer.add_document(_native(document))

    def delete(self, ids: Sequence[UUID]) -> None:
        for id_ in ids:
            self._writer.delete_documents_by_term("id", str(id_))

    def commit(self) -> None:
        with _translated():
            self._writer.commit()

    def publish(self) -> None:
        self.commit()
        with _translated():
            self._writer.wait_merging_threads()
        self._writer = None
        self._folders.publish(self._name)

    def close(self) -> None:
        self._writer = None


class TantivyReader:
    """The segments of one commit."""

    def __init__(self, index: Any, folder: Path, version: str) -> None:
        self.version = version
        self._folder = folder
        self._searcher = index.searcher()
        self._schema = index.schema
        self._kept = KeptCounts()

    def search(self, query: Query) -> Result:
        return self._kept.search(self.version, query, self._search)

    def _search(self, query: Query) -> Result:
        found, scored = self._compiled(query)
        aggregations = {}
        if query.tags:
            aggregations["tags"] = {"terms": {"field": "tags", "size": _MOST_TAGS, "segment_size": _MOST_TAGS}}
        if query.price_bounds:
            aggregations["prices"] = {"range": {"field": "price", "ranges": _ranges(query.price_bounds)}}
        counted = self._searcher.aggregate(found, aggregations) if aggregations else {}
        hits, total = self._hits(query, scored, found)
        tags = {bucket["key"]: bucket["doc_count"] for bucket in counted["tags"]["buckets"]} if query.tags else {}
        prices = self._prices(query, counted["prices"]["buckets"]) if query.price_bounds else []
        return Result(hits=hits, total=total, tags=tags, prices=prices)

    def _hits(self, query: Query, scored: Any, found: Any) -> tuple[list[Hit], int]:
        searcher = self._searcher
        if query.limit == 0:
            return [], searcher.search(found, limit=1).count
        if query.sort in _SORTS:
            field, descending = _SORTS[query.sort]
            result = searcher.search(
                found,
                limit=query.limit,
                offset=query.offset,
                order_by_field=field,
                order=Order.Desc if descending else Order.Asc,
            )
        elif not query.slots and not query.first:
            result = searcher.search(found, limit=query.limit, offset=query.offset, order_by_field="popularity")
        else:
            result = searcher.search(scored, limit=query.limit, offset=query.offset)
        addresses = [address for _, address in result.hits]
        popularity = searcher.fast_field_values("popularity", addresses)
        in_stock = searcher.fast_field_values("in_stock", addresses)
        by_score = query.sort == "relevance" and bool(query.slots or query.first)
        hits = []
        for place, (score, address) in enumerate(result.hits):
            stored = searcher.doc(address)
            hits.append(
                Hit(
                    UUID(stored.get_first("id")),
                    float(score) if by_score else 0.0,
                    stored.get_first("title") or "",
                    int(popularity[place] or 0),
                    bool(in_stock[place]),
                )
            )
        return hits, result.count

    def _prices(self, query: Query, buckets: Iterable[Mapping[str, Any]]) -> list[int]:
        prices = [0] * (len(query.price_bounds) + 1)
        for bucket in buckets:
            start = bucket.get("from")
            prices[0 if start is None else query.price_bounds.index(int(start)) + 1] = bucket["doc_count"]
        return prices

    def _compiled(self, query: Query) -> tuple[Any, Any]:
        """What matches, for counting; and the same with scores."""
        must: list[tuple[Any, Any]] = []
        matching = self._matching(query)
        first = self._first(query)
        if matching is not None:
            wanted = (
                matching if first is None else Found.boolean_query([(Occur.Should, matching), (Occur.Should, first)])
            )
            must.append((Occur.Must, wanted))
        elif first is not None:
            must.append((Occur.Should, first))
        rest = [
            (Occur.Must, self._unscored(Found.term_set_query(self._schema, "tags", sorted(group))))
            for group in query.filters.any_of
        ]
        low, high = query.filters.min_price, query.filters.max_price
        if low is not None or high is not None:
            prices = Found.range_query(self._schema, "price", FieldType.Integer, low, high)
            rest.append((Occur.Must, self._unscored(prices)))
        if query.filters.in_stock is not None:
            stock = Found.term_query(self._schema, "in_stock", int(query.filters.in_stock))
            rest.append((Occur.Must, self._unscored(stock)))
        rest += [(Occur.MustNot, self._key(key)) for key in query.without]
        clauses = [*must, *rest]
        if not any(occur == Occur.Must for occur, _ in clauses):
            clauses.append((Occur.Must, Found.all_query()))
        if len(clauses) == 1:
            return clauses[0][1], clauses[0][1]
        compiled = Found.boolean_query(clauses)
        return compiled, compiled

    def _unscored(self, query: Any) -> Any:
        return Found.const_score_query(query, 0.0)

    def _key(self, key: str) -> Any:
        return Found.term_query(self._schema, "keys", key, index_option="basic")

    def _first(self, query: Query) -> Any:
        if not query.first:
            return None
        return Found.disjunction_max_query(
            [Found.const_score_query(self._key(key), _FIRST_SCORE - place) for place, key in enumerate(query.first)]
        )

    def _matching(self, query: Query) -> Any:
        if not query.slots:
            return None
        slots = [self._slot(slot) for slot in query.slots]
        if query.least >= len(slots):
            return slots[0] if len(slots) == 1 else Found.boolean_query([(Occur.Must, slot) for slot in slots])
        return Found.boolean_query(
            [(Occur.Should, slot) for slot in slots], minimum_number_should_match=max(1, query.least)
        )

    def _slot(self, slot: Slot) -> Any:
        alternatives = [self._alternative(words) for words in slot.alternatives]
        return alternatives[0] if len(alternatives) == 1 else Found.disjunction_max_query(alternatives)

    def _alternative(self, words: Sequence[Word]) -> Any:
        if len(words) == 1:
            return self._word(words[0])
        return Found.boolean_query([(Occur.Must, self._word(word)) for word in words])

    def _word(self, word: Word) -> Any:
        if word.is_beginning:
            query = Found.term_query(self._schema, "beginnings", word.text, index_option="basic")
            return Found.boost_query(query, WEIGHTS["name"] * word.boost)
        return Found.boolean_query(
            [
                (
                    Occur.Should,
                    Found.boost_query(
                        Found.term_query(self._schema, name, word.text, index_option="freq"), weight * word.boost
                    ),
                )
                for name, weight in WEIGHTS.items()
            ]
        )

    def frequency(self, word: str) -> int:
        return max(int(self._searcher.doc_freq(name, word)) for name in TEXT_FIELDS)

    def terms(self, prefix: str, limit: int) -> Sequence[tuple[str, int]]:
        found = self._searcher.terms_with_prefix("spoken", prefix)
        return sorted(found, key=lambda each: (-each[1], each[0]))[:limit]

    def entries(self, ids: Iterable[UUID]) -> Mapping[UUID, Entry]:
        wanted = [str(id_) for id_ in ids]
        if not wanted:
            return {}
        query = Found.term_set_query(self._schema, "id", wanted)
        result = self._searcher.search(query, limit=len(wanted))
        in_stock = self._searcher.fast_field_values("in_stock", [address for _, address in result.hits])
        entries = {}
        for (_, address), stock in zip(result.hits, in_stock, strict=True):
            stored = self._searcher.doc(address)
            entries[UUID(stored.get_first("id"))] = Entry(stored.get_first("fingerprint"), bool(stock))
        return entries

    def scan(self) -> Iterator[UUID]:
        ids: list[str] = [id_ for id_, _ in self._searcher.terms_with_prefix("id", "", Found.all_query())]
        return map(UUID, ids)

    def stats(self) -> Stats:
        return Stats(documents=self._searcher.num_docs, size=Folders.size(self._folder), version=self.version)


def _ranges(bounds: Sequence[int]) -> list[dict[str, float]]:
    edges: list[int | None] = [None, *bounds, None]
    return [
        {name: float(edge) for name, edge in (("from", low), ("to", high)) if edge is not None}
        for low, high in pairwise(edges)
    ]


def _native(document: Document) -> Any:
    native = tantivy.Document()
    for name, words in document.words.items():
        if words:
            native.add_text(name, " ".join(words))
    for name, values in (
        ("spoken", document.spoken),
        ("beginnings", document.beginnings),
        ("keys", document.keys),
        ("tags", document.tags),
    ):
        for value in values:
            native.add_text(name, value)
    native.add_text("id", str(document.id))
    native.add_text("fingerprint", document.fingerprint)
    native.add_text("title", document.title)
    native.add_integer("price", document.price)
    native.add_integer("published", document.published)
    native.add_integer("popularity", document.popularity)
    native.add_integer("in_stock", int(document.in_stock))
    return native


@contextmanager
def _translated() -> Iterator[None]:
    """What tantivy raises, as ours: it tells what is broken from what is busy by its words alone."""
    try:
        yield
    except BackendError:
        raise
    except (ValueError, OSError, RuntimeError) as error:
        said = str(error)
        if "LockBusy" in said or "acquire" in said.lower():
            raise BackendError(f"another process writes to the index: {said}") from error
        raise IndexCorrupt(said) from error
