"""A stand-in for OpenSearch: the part of its documented wire format that the backend speaks, with a memory.

It is strict: what it does not know, or is not allowed, it refuses as the real one does. It misbehaves when told to.
"""

from __future__ import annotations

import functools
import json
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Source = dict[str, Any]
_MOST_BUCKETS = 65_535


class Refused(Exception):
    def __init__(self, status: int, kind: str, reason: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.body = {"error": {"type": kind, "reason": reason}, "status": status}


class Index:
    """Documents by id, and those that a refresh has made visible."""

    def __init__(self, name: str, body: dict[str, Any]) -> None:
        known = {"settings", "mappings"}
        if not body.keys() <= known:
            raise Refused(400, "parse_exception", f"unknown keys {body.keys() - known}")
        self.name = name
        self.window = body["settings"]["index"].get("max_result_window", 10_000)
        self.properties = body["mappings"]["properties"]
        self.created = int(time.time() * 1000)
        self.documents: dict[str, Source] = {}
        self.visible: dict[str, Source] = {}
        self.sequence = -1

    def write(self, kind: str, id_: str, source: Source | None) -> int:
        self.sequence += 1
        if kind == "delete":
            return 200 if self.documents.pop(id_, None) is not None else 404
        assert source is not None
        unknown = source.keys() - self.properties.keys()
        if unknown:
            raise Refused(400, "strict_dynamic_mapping_exception", f"{unknown}")
        for name, value in source.items():
            self._check(name, value)
        is_new = id_ not in self.documents
        self.documents[id_] = source
        return 201 if is_new else 200

    def _check(self, name: str, value: Any) -> None:
        kinds: dict[str, Any] = {"text": str, "keyword": str, "long": int, "integer": int, "boolean": bool}
        kind = kinds[self.properties[name]["type"]]
        for each in value if isinstance(value, list) else [value]:
            if not isinstance(each, kind):
                raise Refused(400, "mapper_parsing_exception", f"failed to parse field [{name}]")

    def refresh(self) -> None:
        self.visible = dict(self.documents)

    def values(self, source: Source, field: str) -> list[Any]:
        if field not in self.properties:
            return []
        value = source.get(field, [])
        if self.properties[field]["type"] == "text":
            return str(value).split()
        return value if isinstance(value, list) else [value]

    def frequency(self, field: str, value: Any) -> int:
        return sum(value in self.values(source, field) for source in self.visible.values())

    def score(self, query: dict[str, Any], source: Source) -> float | None:
        """How well a document matches; None if it does not."""
        [(kind, body)] = query.items()
        method: Callable[[dict[str, Any], Source], float | None] | None = getattr(self, f"_{kind}", None)
        if method is None:
            raise Refused(400, "parsing_exception", f"unknown query [{kind}]")
        return method(body, source)

    def _match_all(self, body: dict[str, Any], source: Source) -> float | None:
        return float(body.get("boost", 1.0))

    def _term(self, body: dict[str, Any], source: Source) -> float | None:
        [(field, wanted)] = body.items()
        if not wanted.keys() <= {"value", "boost"}:
            raise Refused(400, "parsing_exception", "[term] query does not support it")
        often = self.values(source, field).count(wanted["value"])
        if not often:
            return None
        among = self.frequency(field, wanted["value"])
        rare = math.log(1 + (len(self.visible) - among + 0.5) / (among + 0.5))
        return float(wanted.get("boost", 1.0)) * rare * often / (often + 1.2)

    def _terms(self, body: dict[str, Any], source: Source) -> float | None:
        [(field, wanted)] = body.items()
        return 1.0 if set(wanted) & set(self.values(source, field)) else None

    def _range(self, body: dict[str, Any], source: Source) -> float | None:
        [(field, bounds)] = body.items()
        if not bounds.keys() <= {"gte", "lte", "gt", "lt"}:
            raise Refused(400, "parsing_exception", "[range] query does not support it")
        [value] = self.values(source, field)
        return 1.0 if bounds.get("gte", value) <= value <= bounds.get("lte", value) else None

    def _constant_score(self, body: dict[str, Any], source: Source) -> float | None:
        return None if self.score(body["filter"], source) is None else float(body.get("boost", 1.0))

    def _dis_max(self, body: dict[str, Any], source: Source) -> float | None:
        scores = [score for each in body["queries"] if (score := self.score(each, source)) is not None]
        return max(scores, default=None)

    def _bool(self, body: dict[str, Any], source: Source) -> float | None:
        if not body.keys() <= {"must", "should", "filter", "must_not", "minimum_should_match"}:
            raise Refused(400, "parsing_exception", "[bool] query does not support it")
        must = [self.score(each, source) for each in body.get("must", ())]
        filters = [self.score(each, source) for each in body.get("filter", ())]
        should = [score for each in body.get("should", ()) if (score := self.score(each, source)) is not None]
        least = body.get("minimum_should_match", 0 if must or filters or not body.get("should") else 1)
        if None in must or None in filters or len(should) < least:
            return None
        if any(self.score(each, source) is not None for each in body.get("must_not", ())):
            return None
        return sum(score for score in must if score is not None) + sum(should)

    def search(self, body: dict[str, Any]) -> dict[str, Any]:
        known = {
            "query", "sort", "from", "size", "track_total_hits", "track_scores", "_source", "aggs", "search_after",
        }  # fmt: skip
        if not body.keys() <= known:
            raise Refused(400, "parsing_exception", f"Unknown key for {body.keys() - known}")
        start, size = body.get("from", 0), body.get("size", 10)
        if start + size > self.window:
            raise Refused(400, "search_phase_execution_exception", "Result window is too large")
        query = body.get("query", {"match_all": {}})
        found = [
            (score, id_, source)
            for id_, source in self.visible.items()
            if (score := self.score(query, source)) is not None
        ]
        sort = body.get("sort", [{"_score": "desc"}])
        for key in reversed(sort):
            [(field, order)] = key.items()
            found.sort(key=functools.partial(self._sort_value, field), reverse=order == "desc")
        if "search_after" in body:
            [(field, _)] = sort[0].items()
            found = [hit for hit in found if self._sort_value(field, hit) > body["search_after"][0]]
        wanted = body.get("_source", True)
        hits = [
            {
                "_index": self.name,
                "_id": id_,
                "_score": score,
                "_source": {name: source[name] for name in wanted} if isinstance(wanted, list) else {},
                "sort": [self._sort_value(next(iter(key)), (score, id_, source)) for key in sort],
            }
            for score, id_, source in found[start : start + size]
        ]
        answer: dict[str, Any] = {
            "took": 1,
            "timed_out": False,
            "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
            "hits": {"total": {"value": len(found), "relation": "eq"}, "max_score": None, "hits": hits},
        }
        if "aggs" in body:
            answer["aggregations"] = {
                name: self._aggregated(aggregation, [source for _, _, source in found])
                for name, aggregation in body["aggs"].items()
            }
        return answer

    def _sort_value(self, field: str, hit: tuple[float, str, Source]) -> Any:
        if field == "_score":
            return hit[0]
        if field not in self.properties:
            raise Refused(400, "query_shard_exception", f"No mapping found for [{field}] in order to sort on")
        return hit[2][field]

    def _aggregated(self, aggregation: dict[str, Any], sources: list[Source]) -> dict[str, Any]:
        [(kind, body)] = aggregation.items()
        if kind == "range":
            buckets = []
            for bounds in body["ranges"]:
                low, high = bounds.get("from", -math.inf), bounds.get("to", math.inf)
                count = sum(low <= source[body["field"]] < high for source in sources)
                buckets.append({**bounds, "doc_count": count})
            return {"buckets": buckets}
        field = body["field"] if kind == "terms" else body["sources"][0]["word"]["terms"]["field"]
        counts = Counter(value for source in sources for value in set(self.values(source, field)))
        if body["size"] > _MOST_BUCKETS:
            raise Refused(400, "too_many_buckets_exception")
        if kind == "terms":
            include = re.compile(body.get("include", ".*"))
            best = [(key, count) for key, count in counts.most_common() if include.fullmatch(key)][: body["size"]]
            return {"sum_other_doc_count": 0, "buckets": [{"key": key, "doc_count": count} for key, count in best]}
        assert kind == "composite"
        after = body.get("after", {}).get("word", "")
        page = sorted(each for each in counts.items() if each[0] > after)[: body["size"]]
        answer: dict[str, Any] = {"buckets": [{"key": {"word": key}, "doc_count": count} for key, count in page]}
        return {**answer, "after_key": {"word": page[-1][0]}} if page else answer


class FakeOpensearch:
    """The server. `fail(503)` lets the next requests fail, `refuse_bulk()` is busy once for every document."""

    def __init__(self) -> None:
        self.indexes: dict[str, Index] = {}
        self.aliases: dict[str, set[str]] = {}
        self.failures: list[int] = []
        self.busy = 0
        self.requests: list[tuple[str, str]] = []
        self.authorization: set[str | None] = set()
        self._lock = threading.RLock()
        handler = type("Handler", (_Handler,), {"fake": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def fail(self, status: int, times: int = 1) -> None:
        self.failures += [status] * times

    @contextmanager
    def running(self) -> Iterator[FakeOpensearch]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def answer(self, method: str, address: str, body: bytes) -> tuple[int, Any]:
        with self._lock:
            self.requests.append((method, address))
            if self.failures:
                status = self.failures.pop(0)
                return status, {"error": {"type": "unavailable_shards_exception", "reason": ""}, "status": status}
            parts = urlsplit(address)
            options = {name: values[0] for name, values in parse_qs(parts.query).items()}
            try:
                return self._route(method, parts.path.strip("/").split("/"), options, body)
            except Refused as refused:
                return refused.status, refused.body

    def _route(self, method: str, path: list[str], options: dict[str, str], body: bytes) -> tuple[int, Any]:
        match method, path:
            case "POST", ["_bulk"]:
                return 200, self._bulk(body, options)
            case "POST", ["_aliases"]:
                return self._move_aliases(json.loads(body)["actions"])
            case "GET", ["_alias", name]:
                found = {index: {"aliases": {name: {}}} for index in self.aliases.get(name, ())}
                return (200, found) if found else (404, {"error": f"alias [{name}] missing", "status": 404})
            case "HEAD", [index]:
                return (200 if index in self.indexes else 404), None
            case "PUT", [index]:
                if index in self.indexes:
                    raise Refused(400, "resource_already_exists_exception", index)
                self.indexes[index] = Index(index, json.loads(body))
                return 200, {"acknowledged": True, "index": index}
            case "DELETE", [index]:
                if self.indexes.pop(index, None) is None and options.get("ignore_unavailable") != "true":
                    raise Refused(404, "index_not_found_exception", index)
                self.aliases = {alias: names - {index} for alias, names in self.aliases.items()}
                return 200, {"acknowledged": True}
            case "PUT", [index, "_settings"]:
                self._find(index)
                return 200, {"acknowledged": True}
            case "GET", [pattern, "_settings"]:
                prefix = pattern.rstrip("*")
                return 200, {
                    name: {"settings": {"index": {"creation_date": str(index.created)}}}
                    for name, index in self.indexes.items()
                    if name.startswith(prefix)
                }
            case "POST", [index, "_refresh"]:
                self._find(index).refresh()
                return 200, {"_shards": {"total": 1, "successful": 1, "failed": 0}}
            case (("POST" | "GET"), [index, "_search"]):
                return 200, self._find(index).search(json.loads(body))
            case (("POST" | "GET"), [index, "_count"]):
                return 200, {
                    "count": self._find(index).search({**json.loads(body), "size": 0})["hits"]["total"]["value"]
                }
            case (("POST" | "GET"), [index, "_mget"]):
                return 200, {"docs": [self._got(self._find(index), id_, options) for id_ in json.loads(body)["ids"]]}
            case "GET", [index, "_stats", metric]:
                return 200, self._stats(self._find(index), metric)
            case _:
                raise Refused(400, "illegal_argument_exception", f"no handler found for {method} {path}")

    def _find(self, name: str) -> Index:
        names = self.aliases.get(name) or {name}
        [found] = names
        if found not in self.indexes:
            raise Refused(404, "index_not_found_exception", f"no such index [{name}]")
        return self.indexes[found]

    def _bulk(self, body: bytes, options: dict[str, str]) -> dict[str, Any]:
        lines = iter(body.decode().splitlines())
        items = []
        for line in lines:
            [(kind, target)] = json.loads(line).items()
            source = json.loads(next(lines)) if kind != "delete" else None
            item: dict[str, Any] = {"_index": target["_index"], "_id": target["_id"]}
            if self.busy:
                self.busy -= 1
                item |= {"status": 429, "error": {"type": "rejected_execution_exception"}}
            else:
                try:
                    item["status"] = self._find(target["_index"]).write(kind, target["_id"], source)
                except Refused as refused:
                    item |= {"status": refused.status, "error": refused.body["error"]}
            items.append({kind: item})
        if options.get("refresh") == "true":
            for index in self.indexes.values():
                index.refresh()
        return {"took": 1, "errors": any("error" in each for item in items for each in item.values()), "items": items}

    def _move_aliases(self, actions: list[dict[str, Any]]) -> tuple[int, Any]:
        """All or none."""
        aliases = {name: set(indexes) for name, indexes in self.aliases.items()}
        for action in actions:
            [(kind, body)] = action.items()
            self._find(body["index"])
            change = aliases.setdefault(body["alias"], set())
            change.add(body["index"]) if kind == "add" else change.remove(body["index"])
        self.aliases = aliases
        return 200, {"acknowledged": True}

    @staticmethod
    def _got(index: Index, id_: str, options: dict[str, str]) -> dict[str, Any]:
        source = index.documents.get(id_)
        if source is None:
            return {"_index": index.name, "_id": id_, "found": False}
        wanted = options["_source_includes"].split(",")
        return {"_index": index.name, "_id": id_, "found": True, "_source": {name: source[name] for name in wanted}}

    @staticmethod
    def _stats(index: Index, metric: str) -> dict[str, Any]:
        shard = {"docs": {"count": len(index.visible)}, "seq_no": {"max_seq_no": index.sequence}}
        primaries = {"docs": {"count": len(index.visible)}, "store": {"size_in_bytes": 1_000 + len(index.visible)}}
        assert set(metric.split(",")) <= {"docs", "store"}
        return {"indices": {index.name: {"primaries": primaries, "shards": {"0": [shard]}}}}


class _Handler(BaseHTTPRequestHandler):
    fake: FakeOpensearch
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        self.fake.authorization.add(self.headers.get("Authorization"))
        status, answer = self.fake.answer(self.command, self.path, body)
        content = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _handle  # noqa: N815 (http.server's names)

    def log_message(self, *_: Any) -> None:
        pass
