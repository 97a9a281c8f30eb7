"""Search in the shop's own database: tsvector and GIN, no extension. Several processes, replicas, nothing more to run.

One statement answers a query: what matches is found by the indexes, counted and filtered at once, and of many matches
the most popular are ranked, for to rank a hundred thousand takes longer than anybody waits.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import Engine, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.types import Text

from commerce_core.database import transaction
from commerce_search.analysis import beginnings_of
from commerce_search.backends.kept import KeptCounts
from commerce_search.interface import (
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
)

# Of so many matches at the most it is worked out how well they match.
_RANKED = 3_000
# By the weights of a tsvector, D to A; those of interface.WEIGHTS, in proportion to the name's.
_LETTERS = {"name": "A", "sku": "B", "brand": "B", "category": "C", "attributes": "C", "description": "D"}
_WEIGHTS = "{0.15, 0.35, 0.6, 1.0}"
_FIRST_SCORE = 1_000_000.0
_LONGEST_POSITION = 16_000
_ORDERS = {
    "relevance": "score DESC, popularity DESC, id",
    "price_asc": "price, id",
    "price_desc": "price DESC, id DESC",
    "newest": "published DESC, id DESC",
    "popular": "popularity DESC, id DESC",
}
_COLUMNS = ("id", "fingerprint", "words", "tags", "keys", "title", "price", "in_stock", "published", "popularity")
_STATE = text("SELECT live, version, build FROM search_index WHERE id = 1")
_TOUCH = text("UPDATE search_index SET version = version + 1 WHERE id = 1")


class PostgresqlBackendFactory:
    code = "postgresql"

    def open(self, place: Place) -> PostgresqlBackend:
        return PostgresqlBackend(place.engine)


class PostgresqlBackend:
    """The index in the tables of postgresql_tables.py."""

    code = "postgresql"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept = KeptCounts()

    @contextmanager
    def reading(self, session: Session) -> Iterator[PostgresqlReader]:
        live, version, _ = _state(session)
        if live is None:
            raise IndexMissing("nothing is indexed yet")
        try:
            yield PostgresqlReader(session, live, f"{live}.{version}", self._kept)
        except SQLAlchemyError as error:
            raise BackendError(str(error)) from error

    def apply(self, documents: Sequence[Document], deleted: Sequence[UUID], session: Session) -> None:
        live, _, _ = _state(session)
        if live is None:
            raise IndexMissing("nothing is indexed yet")
        _delete(session, live, [*deleted, *(document.id for document in documents)])
        _write(session, live, documents)
        session.execute(_TOUCH)

    def build(self, name: str) -> PostgresqlBuild:
        with transaction(self._engine) as session:
            live, _, build = _state(session)
            slot = 1 if live == 0 else 0
            if build != name:
                session.execute(text(f"TRUNCATE search_document_{slot}, search_word_{slot}"))
                session.execute(
                    text(
                        "INSERT INTO search_index (id, version, build) VALUES (1, 0, :name)"
                        " ON CONFLICT (id) DO UPDATE SET build = excluded.build"
                    ),
                    {"name": name},
                )
        return PostgresqlBuild(self._engine, slot, build == name)

    def live(self) -> str | None:
        with transaction(self._engine) as session:
            name: str | None = session.scalar(text("SELECT live_build FROM search_index WHERE live IS NOT NULL"))
            return name

    def abandon(self, name: str) -> None:
        with transaction(self._engine) as session:
            live, _, build = _state(session)
            if build == name:
                _empty(session, live)

    def tidy(self, building: str | None) -> None:
        with transaction(self._engine) as session:
            live, _, build = _state(session)
            if live is not None and build != building:
                _empty(session, live)

    def close(self) -> None:
        pass


class PostgresqlBuild:
    """Fills the pair of tables that is not live."""

    def __init__(self, engine: Engine, slot: int, is_resumed: bool) -> None:
        self.is_resumed = is_resumed
        self._slot = slot
        self._engine = engine
        self._session = Session(engine)
        self._session.execute(text("SET LOCAL statement_timeout = 0"))

    def add(self, documents: Sequence[Document], *, again: bool = False) -> None:
        if again:
            self.delete([document.id for document in documents])
        _write(self._session, self._slot, documents, copied=True)

    def delete(self, ids: Sequence[UUID]) -> None:
        _delete(self._session, self._slot, ids)

    def commit(self) -> None:
        self._session.commit()
        self._session.execute(text("SET LOCAL statement_timeout = 0"))

    def publish(self) -> None:
        self.commit()
        self._session.commit()
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("SET statement_timeout = 0"))
            connection.execute(text(f"VACUUM (ANALYZE) search_document_{self._slot}, search_word_{self._slot}"))
            connection.invalidate()  # do not lend out a connection without time-outs
        self._session.execute(
            text(
                "UPDATE search_index SET live = :slot, version = version + 1, live_build = build, build = NULL"
                " WHERE id = 1"
            ),
            {"slot": self._slot},
        )
        self._session.commit()

    def close(self) -> None:
        self._session.close()


class PostgresqlReader:
    """Reads one pair of tables, in the session of whoever asks."""

    def __init__(self, session: Session, slot: int, version: str, kept: KeptCounts) -> None:
        self.version = version
        self._kept = kept
        self._session = session
        self._documents = f"search_document_{slot}"
        self._words = f"search_word_{slot}"

    def search(self, query: Query) -> Result:
        return self._kept.search(self.version, query, self._search)

    def _search(self, query: Query) -> Result:
        values: dict[str, Any] = {"offset": query.offset, "limit": query.limit, "weights": _WEIGHTS}
        conditions = self._conditions(query, values)
        where = " AND ".join(conditions) or "true"
        by_relevance = query.sort == "relevance" and query.limit > 0
        if by_relevance:
            hits = f"""
            SELECT id, {self._score(query, values)} AS score, popularity, in_stock, price, published
            FROM {self._documents} JOIN (
                SELECT id FROM found ORDER BY is_first DESC, popularity DESC, id LIMIT {_RANKED + query.offset}
            ) AS best USING (id)"""
        else:
            hits = "SELECT id, 0 AS score, popularity, in_stock, price, published FROM found"
        counted = "SELECT tag, count(*) FROM found, unnest(tags) AS tag GROUP BY tag"
        priced = "SELECT width_bucket(price, CAST(:bounds AS bigint[])) AS place, count(*) FROM found GROUP BY place"
        if query.price_bounds:
            values["bounds"] = list(query.price_bounds)
        is_first = "keys && CAST(:first AS text[])" if query.first else "false"
        sql = f"""
        WITH found AS MATERIALIZED (
            SELECT id, price, in_stock, published, popularity, {"tags," if query.tags else ""} {is_first} AS is_first
            FROM {self._documents} WHERE {where}
        ), hits AS (
            {hits} ORDER BY {_ORDERS[query.sort]} LIMIT :limit OFFSET :offset
        )
        SELECT (SELECT count(*) FROM found) AS total,
               (SELECT json_agg(json_build_array(id, score, (SELECT title FROM {self._documents} AS each
                                                             WHERE each.id = hits.id), popularity, in_stock)
                                ORDER BY {_ORDERS[query.sort]}) FROM hits) AS hits,
               {f"(SELECT json_object_agg(tag, count) FROM ({counted}) AS tags)" if query.tags else "NULL"} AS tags,
               {
            f"(SELECT json_agg(json_build_array(place, count)) FROM ({priced}) AS prices)"
            if query.price_bounds
            else "NULL"
        } AS prices
        """
        row = self._session.execute(text(sql), values).one()
        prices = [0] * (len(query.price_bounds) + 1 if query.price_bounds else 0)
        for place, count in row.prices or ():
            prices[place] = count
        return Result(
            hits=[
                Hit(UUID(id_), score, title or "", popularity, stock)
                for id_, score, title, popularity, stock in row.hits or ()
            ],
            total=row.total,
            tags=row.tags or {},
            prices=prices,
        )

    def _conditions(self, query: Query, values: dict[str, Any]) -> list[str]:
        conditions = []
        if query.slots:
            matching = self._matching(query, values)
            if query.first:
                values["first"] = list(query.first)
                matching = f"({matching} OR keys && CAST(:first AS text[]))"
            conditions.append(matching)
        elif query.first:
            values["first"] = list(query.first)
        if query.without:
            values["without"] = list(query.without)
            conditions.append("NOT keys && CAST(:without AS text[])")
        for place, group in enumerate(query.filters.any_of):
            values[f"tags_{place}"] = sorted(group)
            conditions.append(f"tags && CAST(:tags_{place} AS text[])")
        if query.filters.min_price is not None:
            values["min_price"] = query.filters.min_price
            conditions.append("price >= :min_price")
        if query.filters.max_price is not None:
            values["max_price"] = query.filters.max_price
            conditions.append("price <= :max_price")
        if query.filters.in_stock is not None:
            conditions.append("in_stock" if query.filters.in_stock else "NOT in_stock")
        return conditions

    def _matching(self, query: Query, values: dict[str, Any]) -> str:
        slots = [_tsquery(slot) for slot in query.slots]
        if query.least >= len(slots):
            values["wanted"] = " & ".join(slots)
            return "words @@ CAST(:wanted AS tsquery)"
        values["wanted"] = " | ".join(slots)
        if query.least <= 1:
            return "words @@ CAST(:wanted AS tsquery)"
        each = []
        for place, slot in enumerate(slots):
            values[f"slot_{place}"] = slot
            each.append(f"(words @@ CAST(:slot_{place} AS tsquery))::int")
        return f"(words @@ CAST(:wanted AS tsquery) AND {' + '.join(each)} >= {query.least:d})"

    def _score(self, query: Query, values: dict[str, Any]) -> str:
        """Rank by where words are found; the more of the slots, and the rarer they are, the better."""
        parts = ["0"]
        if query.slots:
            for place, slot in enumerate(query.slots):
                for number, alternative in enumerate(slot.alternatives):
                    name = f"part_{place}_{number}"
                    values[name] = _tsquery(Slot((alternative,)))
                    boost = min((word.boost for word in alternative), default=1.0)
                    rare = self._rarity(alternative)
                    parts.append(
                        f"{boost * rare:.4f} * ts_rank(CAST(:weights AS float4[]), words, CAST(:{name} AS tsquery), 1)"
                    )
        for place, key in enumerate(query.first):
            values[f"first_{place}"] = [key]
            parts.append(f"CASE WHEN keys @> CAST(:first_{place} AS text[]) THEN {_FIRST_SCORE - place} ELSE 0 END")
        return " + ".join(parts)

    def _rarity(self, alternative: Sequence[Any]) -> float:
        """More for a rare word than for a common one, as BM25 has it but gentler."""
        known = [self.frequency(word.text) for word in alternative if not word.is_beginning]
        return 1.0 + 4.0 / (1.0 + math.pow(min(known) if known else 100, 0.3))

    def frequency(self, word: str) -> int:
        found = self._session.scalar(
            text(f"SELECT documents FROM {self._words} WHERE kind = 't' AND word = :word"),
            {"word": word},
        )
        return found or 0

    def terms(self, prefix: str, limit: int) -> Sequence[tuple[str, int]]:
        rows = self._session.execute(
            text(
                f"SELECT word, documents FROM {self._words}"
                " WHERE kind = 's' AND starts_with(word, :prefix) AND word >= :prefix"
                " ORDER BY documents DESC, word LIMIT :limit"
            ),
            {"prefix": prefix, "limit": limit},
        )
        return [(word, documents) for word, documents in rows]

    def entries(self, ids: Iterable[UUID]) -> Mapping[UUID, Entry]:
        rows = self._session.execute(
            text(f"SELECT id, fingerprint, in_stock FROM {self._documents} WHERE id = ANY(:ids)"),
            {"ids": list(ids)},
        )
        return {id_: Entry(fingerprint, in_stock) for id_, fingerprint, in_stock in rows}

    def scan(self) -> Iterator[UUID]:
        after = UUID(int=0)
        following = text(f"SELECT id FROM {self._documents} WHERE id > :after ORDER BY id LIMIT 10000")
        while True:
            ids = list(self._session.scalars(following, {"after": after}))
            if not ids:
                return
            yield from ids
            after = ids[-1]

    def stats(self) -> Stats:
        row = self._session.execute(
            text(
                f"SELECT (SELECT count(*) FROM {self._documents}) AS documents,"
                f" pg_total_relation_size('{self._documents}') + pg_total_relation_size('{self._words}') AS size"
            )
        ).one()
        return Stats(documents=row.documents, size=row.size, version=self.version)


def _state(session: Session) -> tuple[int | None, int, str | None]:
    try:
        row = session.execute(_STATE).one_or_none()
    except SQLAlchemyError as error:
        raise BackendError(str(error)) from error
    return (None, 0, None) if row is None else (row.live, row.version, row.build)


def _empty(session: Session, live: int | None) -> None:
    """Empty the pair that is not live, whatever was being built there."""
    slot = 1 if live == 0 else 0
    session.execute(text("UPDATE search_index SET build = NULL WHERE id = 1"))
    session.execute(text(f"TRUNCATE search_document_{slot}, search_word_{slot}"))


def _delete(session: Session, slot: int, ids: Sequence[UUID]) -> None:
    statement = text(f"DELETE FROM search_document_{slot} WHERE id = ANY(:ids)")
    session.execute(statement.bindparams(bindparam("ids", type_=ARRAY(PG_UUID(as_uuid=True)))), {"ids": list(ids)})


def _write(session: Session, slot: int, documents: Sequence[Document], *, copied: bool = False) -> None:
    if not documents:
        return
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY search_document_{slot} ({', '.join(_COLUMNS)}) FROM STDIN") as copy,
    ):
        for document in documents:
            copy.write_row(_row(document))
    counts: Counter[tuple[str, str]] = Counter()
    for document in documents:
        counts.update(("s", word) for word in document.spoken)
        counts.update({("t", word) for words in document.words.values() for word in words})
    # Several may write the same words in another order.
    rows = sorted(counts.items())
    count = f"search_word_{slot}.documents + excluded.documents"
    session.execute(
        text(
            f"INSERT INTO search_word_{slot} (kind, word, documents)"
            " SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:words AS text[]), CAST(:counts AS int[]))"
            f" ON CONFLICT (kind, word) DO {f'UPDATE SET documents = {count}' if copied else 'NOTHING'}"
        ).bindparams(bindparam("kinds", type_=ARRAY(Text)), bindparam("words", type_=ARRAY(Text))),
        {
            "kinds": [kind for (kind, _), _ in rows],
            "words": [word for (_, word), _ in rows],
            "counts": [number for _, number in rows],
        },
    )


def _row(document: Document) -> tuple[Any, ...]:
    return (
        document.id,
        document.fingerprint,
        _tsvector(document),
        list(document.tags),
        list(document.keys),
        document.title,
        document.price,
        document.in_stock,
        document.published,
        document.popularity,
    )


def _tsvector(document: Document) -> str:
    """In the notation of tsvector: each word with the weights of the fields that it is in."""
    places: dict[str, list[str]] = {}
    at = 0
    for field, words in document.words.items():
        for word in words:
            at += 1
            places.setdefault(word, []).append(f"{min(at, _LONGEST_POSITION)}{_LETTERS[field]}")
    parts = [f"'{word}':{','.join(found[:200])}" for word, found in places.items()]
    # A beginning of a word of the name is worth as much as that word.
    of_name = beginnings_of(document.title.split())
    parts += [f"'^{word}':1{'A' if word in of_name else 'C'}" for word in document.beginnings]
    return " ".join(parts)


def _tsquery(slot: Slot) -> str:
    """In the notation of tsquery. Words hold letters and digits only, so there is nothing to escape."""
    alternatives = [
        " & ".join(f"'^{word.text}'" if word.is_beginning else f"'{word.text}'" for word in words)
        for words in slot.alternatives
    ]
    return "(" + " | ".join(f"({words})" for words in alternatives) + ")"
