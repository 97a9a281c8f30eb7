"""Search in large invented catalogues: how long an index takes to build, how large it is, how long searches take."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from benchmarks import load
from benchmarks.server import web_server
from commerce_core import migrations
from commerce_core.application import make_configurator
from commerce_core.database import make_engine
from commerce_core.demo.bulk import load_bulk, vocabulary
from commerce_core.embedded import embedded_postgres
from commerce_core.plugins.loading import owners_declared
from commerce_core.testing import make_settings

# Which engines are measured at which size; a million only if it is asked for: to load it takes long.
SIZES = {10_000: ("whoosh", "tantivy", "postgresql"), 100_000: ("whoosh", "tantivy", "postgresql")}
MILLION = {1_000_000: ("tantivy", "postgresql")}
QUERIES = int(os.environ.get("COMMERCE_BENCH_QUERIES", "200"))


def bench(console: Console, _engine: Engine, _url: str, config: Path, seconds: float) -> None:
    """Prints two tables: the indexes, and the searches. In a database of its own.

    With COMMERCE_BENCH_MILLION=1 at a million products, too; COMMERCE_BENCH_SIZES=10000 measures at these sizes only,
    COMMERCE_BENCH_ENGINES=tantivy with these engines only, COMMERCE_BENCH_QUERIES=20 with fewer queries of each kind.
    """
    sizes = {**SIZES, **(MILLION if os.environ.get("COMMERCE_BENCH_MILLION") else {})}
    if wanted := os.environ.get("COMMERCE_BENCH_SIZES"):
        sizes = {size: {**SIZES, **MILLION}[size] for size in map(int, wanted.split(","))}
    if only := os.environ.get("COMMERCE_BENCH_ENGINES"):
        sizes = {size: tuple(code for code in engines if code in only.split(",")) for size, engines in sizes.items()}
    indexes = Table(title="Indexes of search")
    for column in ("products", "engine", "build s", "products a second", "CPU s", "MB"):
        indexes.add_column(column, justify="left" if column == "engine" else "right")
    searches = Table(title="Searches, one after the other; ratios to tantivy's bare query of a word at that size")
    for column in ("products", "engine", "what", "p50 ms", "p95", "p99", "ratio", "HTTP p50", "p95", "p99", "answers"):
        searches.add_column(column, justify="left" if column in ("engine", "what", "answers") else "right")
    with tempfile.TemporaryDirectory(prefix="commerce-bench-search-") as folder:
        Path(folder).chmod(0o755)
        with embedded_postgres(Path(folder) / "postgres") as url:
            for size, engines in sizes.items():
                _prepare(url, size)
                bare = _bare_query(url, folder)
                # The first engine to be built is the one that the others are compared with.
                for code in sorted(engines, key=lambda code: code != "tantivy"):
                    _measure(url, config, folder, size, code, bare, seconds, indexes, searches)
    console.print(indexes)
    console.print(searches)


def _settings(url: str, folder: str, code: str) -> Any:
    return make_settings(url, {"commerce.plugins": "search", "search.backend": code, "search.path": f"{folder}/search"})


def _prepare(url: str, size: int) -> None:
    settings = _settings(url, "", "postgresql")
    engine = make_engine(url, settings.sqlalchemy)
    migrations.upgrade(engine, owners_declared(settings))
    load_bulk(engine, size, seed=1, now=datetime.now(UTC))
    engine.dispose()


def _bare_query(url: str, folder: str) -> Callable[[], float]:
    """The median, in milliseconds, of what tantivy itself takes to find a word in our fields, weighted as ours, and to
    read the first 24 documents: what a program would do that asks it and nothing else. Of the index built last."""

    def measure() -> float:
        import tantivy
        from commerce_search.interface import WEIGHTS

        root = Path(folder) / "search" / "tantivy"
        index = tantivy.Index.open(str(root / (root / "current").read_text()))
        searcher = index.searcher()
        times = []
        for word in [*_words()["single"]] * 5:
            started = time.perf_counter()
            fields = [tantivy.Query.term_query(index.schema, name, word, index_option="freq") for name in WEIGHTS]
            weighted = [
                tantivy.Query.boost_query(each, WEIGHTS[name]) for name, each in zip(WEIGHTS, fields, strict=True)
            ]
            query = tantivy.Query.boolean_query([(tantivy.Occur.Should, each) for each in weighted])
            for _, address in searcher.search(query, limit=24).hits:
                searcher.doc(address)
            times.append(time.perf_counter() - started)
        return sorted(times)[len(times) // 2] * 1000

    return measure


def _words() -> dict[str, list[str]]:
    words = vocabulary()
    nouns = [
        noun.split()[-1].lower() for each in words["departments"] for leaf in each["leaves"] for noun in leaf["nouns"]
    ]
    return {"single": [line.lower() for line in words["lines"]], "nouns": nouns}


def _workloads() -> dict[str, list[dict[str, Any]]]:
    """The parameters of searches by what they measure."""
    chance = random.Random(1)
    words = vocabulary()
    lines, nouns = _words()["single"], _words()["nouns"]
    brands = [brand.lower() for brand in words["brands"]]
    departments = [department["name"].lower() for department in words["departments"]]

    def typo(word: str) -> str:
        at = chance.randrange(1, len(word) - 1)
        return word[:at] + word[at + 1 :]

    def many(make: Callable[[], dict[str, Any]]) -> list[dict[str, Any]]:
        return [make() for _ in range(QUERIES)]

    plain = {"facets": "false"}
    filters = [
        lambda: {"category": chance.choice(departments)},
        lambda: {"attributes[material]": chance.choice(words["materials"])},
        lambda: {"min_price": 2_000, "max_price": chance.choice([5_000, 20_000])},
        lambda: {"in_stock": "true", "attributes[color]": chance.choice(words["options"]["color"])},
    ]
    return {
        "word": many(lambda: {"q": chance.choice(lines + nouns), **plain}),
        "two words": many(lambda: {"q": f"{chance.choice(brands)} {chance.choice(nouns)}", **plain}),
        "typo": many(lambda: {"q": f"{typo(chance.choice(lines))} {chance.choice(nouns)}", **plain}),
        "prefix": many(lambda: {"q": chance.choice(lines + nouns)[: chance.randint(2, 4)], **plain}),
        "filter and facets": many(lambda: {"q": chance.choice(nouns), **chance.choice(filters)()}),
        "facets, no words": many(lambda: {"category": chance.choice(departments)}),
        "by price": many(lambda: {"q": chance.choice(lines), "sort": "price_asc", **plain}),
        "suggest": many(lambda: {"suggest": chance.choice(lines + nouns + brands)[: chance.randint(1, 6)]}),
    }


def _measure(
    url: str,
    config: Path,
    folder: str,
    size: int,
    code: str,
    bare: Callable[[], float],
    seconds: float,
    indexes: Table,
    searches: Table,
) -> None:
    from commerce_search import indexing

    registry = make_configurator(_settings(url, folder, code)).registry
    started, cpu = time.perf_counter(), time.process_time()
    done = indexing.rebuild(registry.search, registry.engine)
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    with Session(registry.engine) as session, registry.search.reading(session) as reader:
        stats = reader.stats()
    indexes.add_row(f"{size:,}", code, f"{took:.1f}", f"{done / took:,.0f}", f"{cpu:.1f}", f"{stats.size / 1e6:,.1f}")
    baseline = bare() if (Path(folder) / "search" / "tantivy" / "current").exists() else None
    workloads = _workloads()
    here = {name: _in_process(registry, parameters) for name, parameters in workloads.items()}
    options = {"COMMERCE__PLUGINS": "search", "SEARCH__BACKEND": code, "SEARCH__PATH": f"{folder}/search"}
    with web_server(config, url, **options) as port:
        for name, parameters in workloads.items():
            requests = [load.request("GET", _address(each)) for each in parameters]
            load.run(port, requests, connections=1, seconds=min(1.0, seconds))
            result = load.run(port, requests, connections=1, seconds=seconds)
            times = here[name]
            ratio = f"{_percentile(times, 50) / baseline:.1f}" if baseline else "-"
            searches.add_row(
                f"{size:,}",
                code,
                name,
                *(f"{_percentile(times, p):.1f}" for p in (50, 95, 99)),
                ratio,
                *(f"{result.percentile(p):.1f}" for p in (50, 95, 99)),
                " ".join(f"{status}:{count}" for status, count in sorted(result.statuses.items())),
            )
    registry.search.close()
    registry.engine.dispose()


def _in_process(registry: Any, parameters: Sequence[dict[str, Any]]) -> list[float]:
    """Milliseconds of each search without HTTP and without reading the products, after each was done once."""
    from commerce_search.schemas import SearchQuery
    from commerce_search.service import Wanted, search
    from commerce_search.suggestions import suggest

    today = datetime.now(UTC).date()
    times = []
    with Session(registry.engine) as session:
        for again in (False, True):
            for each in parameters:
                started = time.perf_counter()
                if "suggest" in each:
                    suggest(registry.search, session, each["suggest"], today=today, limit=6)
                else:
                    attributes = {
                        name[11:-1]: [value] for name, value in each.items() if name.startswith("attributes[")
                    }
                    rest = {name: value for name, value in each.items() if not name.startswith("attributes[")}
                    query = SearchQuery.model_validate({**rest, "attributes": attributes})
                    wanted = Wanted(text=query.q, chosen=query.chosen(), sort=query.sort, facets=query.facets)
                    search(registry.search, session, replace(wanted, per_page=24))
                if again:
                    times.append((time.perf_counter() - started) * 1000)
    return times


def _address(parameters: dict[str, Any]) -> str:
    from urllib.parse import urlencode

    if "suggest" in parameters:
        return f"/api/v1/search/suggest?{urlencode({'q': parameters['suggest']})}"
    return f"/api/v1/search?{urlencode(parameters)}"


def _percentile(times: Sequence[float], percent: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * percent / 100))]
