"""Search with OpenSearch, or a server that speaks its language: for many machines.

Each build is an index of its own; an alias names the live one and is moved in one step. We have had no such server to
run this against: it is tested with the official client against a stand-in that follows the documented wire format.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from commerce_search.interface import (
    TEXT_FIELDS,
    WEIGHTS,
    BackendError,
    Document,
    Entry,
    Hit,
    IndexMissing,
    Place,
    Query,
    Result,
    Slot,
    Stats,
    Word,
)
from commerce_search.settings import Settings

try:
    import opensearchpy
    from opensearchpy import OpenSearch
    from opensearchpy.helpers import streaming_bulk
except ModuleNotFoundError:  # an extra of this distribution
    opensearchpy = None  # type: ignore[assignment]

_FIRST_SCORE = 1_000_000.0
_MOST_TAGS = 10_000
_PAGE = 5_000
# Building may take so many times as long as a search.
_PATIENCE = 30
_RETRIES = 3
_KEPT_SECONDS = 60.0
_SORTS: dict[str, list[dict[str, str]]] = {
    "price_asc": [{"price": "asc"}, {"id": "asc"}],
    "price_desc": [{"price": "desc"}, {"id": "desc"}],
    "newest": [{"published": "desc"}, {"id": "desc"}],
    "popular": [{"popularity": "desc"}, {"id": "desc"}],
}
_BY_RELEVANCE = [{"_score": "desc"}, {"popularity": "desc"}, {"id": "asc"}]
_SHOWN = ["title", "popularity", "in_stock"]


def index_body(deepest: int) -> dict[str, Any]:
    """The settings and mappings of an index. Words come as they are to be found, with blanks between them."""
    words: dict[str, Any] = {
        name: {"type": "text", "analyzer": "whitespace", "index_options": "freqs"} for name in TEXT_FIELDS
    }
    keywords: dict[str, Any] = {name: {"type": "keyword"} for name in ("id", "spoken", "beginnings", "tags", "keys")}
    return {
        "settings": {"index": {"max_result_window": max(10_000, deepest + 100), "refresh_interval": "-1"}},
        "mappings": {
            "dynamic": "strict",
            "properties": {
                **words,
                **keywords,
                "fingerprint": {"type": "keyword", "index": False, "doc_values": False},
                "title": {"type": "keyword", "index": False, "doc_values": False},
                "price": {"type": "long"},
                "published": {"type": "long"},
                "popularity": {"type": "integer"},
                "in_stock": {"type": "boolean"},
            },
        },
    }


class OpensearchBackendFactory:
    code = "opensearch"

    def open(self, place: Place) -> OpensearchBackend:
        if opensearchpy is None:
            raise BackendError("opensearch-py is not installed: pip install commerce-search[opensearch]")
        return OpensearchBackend(place.settings)


class OpensearchBackend:
    """The index behind an alias."""

    code = "opensearch"

    def __init__(self, settings: Settings) -> None:
        password = settings.opensearch_password
        auth = None
        if settings.opensearch_user is not None:
            auth = (settings.opensearch_user, password.get_secret_value() if password else "")
        self._alias = settings.opensearch_index
        self._deepest = settings.deepest
        self._timeout = settings.opensearch_timeout
        self._client = OpenSearch(
            hosts=settings.opensearch_url.replace(",", " ").split(),
            http_auth=auth,
            timeout=settings.opensearch_timeout,
            max_retries=_RETRIES,
            retry_on_timeout=True,
            retry_on_status=(502, 503, 504),
        )

    @contextmanager
    def reading(self, session: Session) -> Iterator[OpensearchReader]:
        with _translated():
            yield OpensearchReader(self._client, self._index())

    def _index(self) -> str:
        """The name of the live index. Raises IndexMissing."""
        try:
            found = self._client.indices.get_alias(name=self._alias)
        except opensearchpy.NotFoundError:
            raise IndexMissing(f"there is no alias {self._alias} yet") from None
        return str(max(found))

    def apply(self, documents: Sequence[Document], deleted: Sequence[UUID], session: Session) -> None:
        with _translated():
            index = self._index()
            actions = [*_upserts(index, documents), *_deletions(index, deleted)]
            self._bulk(actions, refresh=True)

    def _bulk(self, actions: Iterable[dict[str, Any]], *, refresh: bool = False) -> None:
        """Send these; what is refused because the server is busy is sent again."""
        # Whoever lets the client raise gets no retries from it.
        results = streaming_bulk(
            self._client,
            actions,
            raise_on_error=False,
            yield_ok=False,
            max_retries=5,
            initial_backoff=1,
            max_backoff=10,
            refresh=refresh,
            request_timeout=self._timeout * _PATIENCE,
        )
        failed = [item for _, result in results for kind, item in result.items() if not _is_gone(kind, item)]
        if failed:
            raise BackendError(f"{len(failed)} documents were refused; the first: {failed[0]['error']}")

    def build(self, name: str) -> OpensearchBuild:
        index = f"{self._alias}-{name}"
        with _translated():
            is_resumed = self._client.indices.exists(index=index)
            if not is_resumed:
                self._client.indices.create(index=index, body=index_body(self._deepest))
        return OpensearchBuild(self, self._client, self._alias, index, is_resumed)

    def live(self) -> str | None:
        try:
            with _translated():
                return self._index().removeprefix(f"{self._alias}-")
        except IndexMissing:
            return None

    def abandon(self, name: str) -> None:
        with _translated():
            self._client.indices.delete(index=f"{self._alias}-{name}", ignore_unavailable=True)

    def tidy(self, building: str | None) -> None:
        with _translated():
            live = self._index()
            found = self._client.indices.get_settings(index=f"{self._alias}-*")
            kept = {live, f"{self._alias}-{building}"}
            before = (time.time() - _KEPT_SECONDS) * 1000
            for index, settings in found.items():
                if index not in kept and float(settings["settings"]["index"]["creation_date"]) < before:
                    self._client.indices.delete(index=index, ignore_unavailable=True)

    def send(self, actions: Iterable[dict[str, Any]]) -> None:
        """For builds."""
        self._bulk(actions)

    def close(self) -> None:
        self._client.close()


class OpensearchBuild:
    """Fills an index of its own, which nobody searches until it is published."""

    def __init__(self, backend: OpensearchBackend, client: Any, alias: str, index: str, is_resumed: bool) -> None:
        self.is_resumed = is_resumed
        self._backend = backend
        self._client = client
        self._alias = alias
        self._index = index
        # Nothing is undone on a server: what is not to outlast a crash is not sent before its time.
        self._unsent: list[dict[str, Any]] = []

    def add(self, documents: Sequence[Document], *, again: bool = False) -> None:
        self._unsent += _upserts(self._index, documents)
        if len(self._unsent) >= _PAGE:
            self._send()

    def delete(self, ids: Sequence[UUID]) -> None:
        self._unsent += _deletions(self._index, ids)

    def _send(self) -> None:
        with _translated():
            self._backend.send(self._unsent)
        self._unsent = []

    def commit(self) -> None:
        """What the server has answered is in its log on the disk."""
        self._send()

    def publish(self) -> None:
        self.commit()
        with _translated():
            self._client.indices.put_settings(index=self._index, body={"index": {"refresh_interval": "1s"}})
            self._client.indices.refresh(index=self._index)
            former = [name for name in self._named() if name != self._index]
            actions: list[dict[str, Any]] = [{"add": {"index": self._index, "alias": self._alias}}]
            actions += [{"remove": {"index": name, "alias": self._alias}} for name in former]
            self._client.indices.update_aliases(body={"actions": actions})

    def _named(self) -> list[str]:
        try:
            return list(self._client.indices.get_alias(name=self._alias))
        except opensearchpy.NotFoundError:
            return []

    def close(self) -> None:
        self._unsent = []


class OpensearchReader:
    """Reads one index, in whatever state it is."""

    def __init__(self, client: Any, index: str) -> None:
        self._client = client
        self._index = index

    @property
    def version(self) -> str:
        """By the sequence numbers of the shards."""
        stats = self._client.indices.stats(index=self._index, metric="docs", level="shards")
        shards = stats["indices"][self._index]["shards"].values()
        return f"{self._index}.{sum(copy['seq_no']['max_seq_no'] for copies in shards for copy in copies[:1])}"

    def search(self, query: Query) -> Result:
        answer = self._client.search(index=self._index, body=search_body(query))
        hits = [
            Hit(
                UUID(hit["_id"]),
                float(hit["_score"] or 0.0),
                hit["_source"]["title"],
                hit["_source"]["popularity"],
                hit["_source"]["in_stock"],
            )
            for hit in answer["hits"]["hits"]
        ]
        counted = answer.get("aggregations", {})
        tags = {bucket["key"]: bucket["doc_count"] for bucket in counted.get("tags", {}).get("buckets", ())}
        prices = [bucket["doc_count"] for bucket in counted.get("prices", {}).get("buckets", ())]
        return Result(hits=hits, total=answer["hits"]["total"]["value"], tags=tags, prices=prices)

    def frequency(self, word: str) -> int:
        anywhere = {"bool": {"should": [{"term": {name: {"value": word}}} for name in TEXT_FIELDS]}}
        count: int = self._client.count(index=self._index, body={"query": anywhere})["count"]
        return count

    def terms(self, prefix: str, limit: int) -> Sequence[tuple[str, int]]:
        if prefix:
            aggregation = {"terms": {"field": "spoken", "size": min(limit, 1_000), "include": f"{re.escape(prefix)}.*"}}
            answer = self._client.search(index=self._index, body={"size": 0, "aggs": {"terms": aggregation}})
            return [(each["key"], each["doc_count"]) for each in answer["aggregations"]["terms"]["buckets"]]
        return sorted(self._all_terms(limit), key=lambda each: (-each[1], each[0]))

    def _all_terms(self, limit: int) -> Iterator[tuple[str, int]]:
        """Page by page, because an answer may not have as many."""
        composite: dict[str, Any] = {"size": _PAGE, "sources": [{"word": {"terms": {"field": "spoken"}}}]}
        found = 0
        while found < limit:
            body = {"size": 0, "aggs": {"terms": {"composite": composite}}}
            page = self._client.search(index=self._index, body=body)["aggregations"]["terms"]
            for bucket in page["buckets"]:
                yield bucket["key"]["word"], bucket["doc_count"]
            found += len(page["buckets"])
            if len(page["buckets"]) < _PAGE:
                return
            composite = {**composite, "after": page["after_key"]}

    def entries(self, ids: Iterable[UUID]) -> Mapping[UUID, Entry]:
        wanted = [str(id_) for id_ in ids]
        if not wanted:
            return {}
        body = {"ids": wanted}
        answer = self._client.mget(index=self._index, body=body, _source_includes="fingerprint,in_stock")
        return {
            UUID(found["_id"]): Entry(found["_source"]["fingerprint"], found["_source"]["in_stock"])
            for found in answer["docs"]
            if found["found"]
        }

    def scan(self) -> Iterator[UUID]:
        after: list[str] | None = None
        while True:
            body: dict[str, Any] = {"size": _PAGE, "_source": False, "sort": [{"id": "asc"}]}
            if after is not None:
                body["search_after"] = after
            hits = self._client.search(index=self._index, body=body)["hits"]["hits"]
            yield from (UUID(hit["_id"]) for hit in hits)
            if len(hits) < _PAGE:
                return
            after = hits[-1]["sort"]

    def stats(self) -> Stats:
        found = self._client.indices.stats(index=self._index, metric="docs,store")["indices"][self._index]["primaries"]
        return Stats(documents=found["docs"]["count"], size=found["store"]["size_in_bytes"], version=self.version)


def search_body(query: Query) -> dict[str, Any]:
    """A query in the language of OpenSearch."""
    by_relevance = _BY_RELEVANCE if query.slots or query.first else _SORTS["popular"]
    body: dict[str, Any] = {
        "query": _matching(query),
        "sort": _SORTS.get(query.sort, by_relevance),
        "from": query.offset,
        "size": query.limit,
        "track_total_hits": True,
        "track_scores": True,
        "_source": _SHOWN,
    }
    aggregations: dict[str, Any] = {}
    if query.tags:
        aggregations["tags"] = {"terms": {"field": "tags", "size": _MOST_TAGS}}
    if query.price_bounds:
        edges: list[int | None] = [None, *query.price_bounds, None]
        ranges = [
            {name: edge for name, edge in (("from", low), ("to", edges[place + 1])) if edge is not None}
            for place, low in enumerate(edges[:-1])
        ]
        aggregations["prices"] = {"range": {"field": "price", "ranges": ranges}}
    if aggregations:
        body["aggs"] = aggregations
    return body


def _matching(query: Query) -> dict[str, Any]:
    filters: list[dict[str, Any]] = [{"terms": {"tags": sorted(group)}} for group in query.filters.any_of]
    prices = {"gte": query.filters.min_price, "lte": query.filters.max_price}
    if prices := {name: price for name, price in prices.items() if price is not None}:
        filters.append({"range": {"price": prices}})
    if query.filters.in_stock is not None:
        filters.append({"term": {"in_stock": {"value": query.filters.in_stock}}})
    first = [
        {"constant_score": {"filter": {"term": {"keys": {"value": key}}}, "boost": _FIRST_SCORE - place}}
        for place, key in enumerate(query.first)
    ]
    found: dict[str, Any] = {"bool": {}}
    wanted: list[dict[str, Any]] = [{"dis_max": {"queries": first}}] if first else []
    if query.slots:
        slots = [_slot(slot) for slot in query.slots]
        least = max(1, min(query.least, len(slots)))
        wanted.append({"bool": {"should": slots, "minimum_should_match": least}})
        found["bool"]["must"] = [{"bool": {"should": wanted, "minimum_should_match": 1}}]
    else:
        found["bool"]["must"] = [{"match_all": {}}]
        found["bool"]["should"] = wanted
    found["bool"]["filter"] = filters
    if query.without:
        found["bool"]["must_not"] = [{"terms": {"keys": list(query.without)}}]
    return found


def _slot(slot: Slot) -> dict[str, Any]:
    alternatives = [
        _word(words[0]) if len(words) == 1 else {"bool": {"must": [_word(word) for word in words]}}
        for words in slot.alternatives
    ]
    return alternatives[0] if len(alternatives) == 1 else {"dis_max": {"queries": alternatives}}


def _word(word: Word) -> dict[str, Any]:
    if word.is_beginning:
        return {"term": {"beginnings": {"value": word.text, "boost": WEIGHTS["name"] * word.boost}}}
    found = [
        {"term": {name: {"value": word.text, "boost": round(weight * word.boost, 4)}}}
        for name, weight in WEIGHTS.items()
    ]
    return {"bool": {"should": found, "minimum_should_match": 1}}


def _upserts(index: str, documents: Iterable[Document]) -> list[dict[str, Any]]:
    return [
        {
            "_op_type": "index",
            "_index": index,
            "_id": str(document.id),
            "_source": {
                **{name: " ".join(words) for name, words in document.words.items()},
                "id": str(document.id),
                "spoken": list(document.spoken),
                "beginnings": list(document.beginnings),
                "tags": list(document.tags),
                "keys": list(document.keys),
                "fingerprint": document.fingerprint,
                "title": document.title,
                "price": document.price,
                "published": document.published,
                "popularity": document.popularity,
                "in_stock": document.in_stock,
            },
        }
        for document in documents
    ]


def _is_gone(kind: str, item: Mapping[str, Any]) -> bool:
    """Whether it only failed because what should be deleted is not there."""
    return kind == "delete" and item["status"] == 404


def _deletions(index: str, ids: Iterable[UUID]) -> list[dict[str, Any]]:
    return [{"_op_type": "delete", "_index": index, "_id": str(id_)} for id_ in ids]


@contextmanager
def _translated() -> Iterator[None]:
    """What the client raises, as ours."""
    try:
        yield
    except opensearchpy.NotFoundError as error:
        raise IndexMissing(str(error)) from error
    except opensearchpy.OpenSearchException as error:
        raise BackendError(f"{type(error).__name__}: {error}") from error
