"""The backends that come with the plugin, each for real."""

from __future__ import annotations

from typing import Any

import pytest
from commerce_search.backends.postgresql import PostgresqlBackendFactory
from commerce_search.backends.tantivy import TantivyBackendFactory, TantivyReader
from commerce_search.backends.whoosh import WhooshBackendFactory
from commerce_search.contract import SHOP, BackendContract, make_document
from commerce_search.documents import category_tag
from commerce_search.interface import Backend, Filters, Place, Query, Result
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session


# Whoosh leaves the file open that it finds to be broken.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestWhoosh(BackendContract):
    factory = WhooshBackendFactory()


class TestTantivy(BackendContract):
    factory = TantivyBackendFactory()

    def test_everything_is_counted_once_and_again_when_something_has_changed(
        self, shop: Backend, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        counted: list[Query] = []
        search = TantivyReader._search

        def look(reader: TantivyReader, query: Query) -> Result:
            counted.extend([query] if query.tags else [])
            return search(reader, query)

        monkeypatch.setattr(TantivyReader, "_search", look)
        assert _footwear(shop, db, limit=0) == _footwear(shop, db) == (5, 3)
        assert len(counted) == 1
        _change_and_count_again(shop, db)


class TestPostgresql(BackendContract):
    factory = PostgresqlBackendFactory()

    def damage(self, place: Place, engine: Engine) -> bool:
        """What a database does to its tables is beyond us, but a row may be gone."""
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM search_index"))
        return True

    def test_everything_is_counted_once_and_again_when_something_has_changed(
        self, shop: Backend, engine: Engine, db: Session
    ) -> None:
        counted: list[str] = []

        def look(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            if "unnest(tags)" in statement:
                counted.append(statement)

        event.listen(engine, "before_cursor_execute", look)
        try:
            assert _footwear(shop, db, limit=0) == _footwear(shop, db) == (5, 3)
            assert len(counted) == 1
            _change_and_count_again(shop, db)
        finally:
            event.remove(engine, "before_cursor_execute", look)


def _footwear(shop: Backend, db: Session, **query: Any) -> tuple[int, int]:
    """How many documents there are, and how many of them are footwear."""
    with shop.reading(db) as reader:
        result = reader.search(Query(tags=True, price_bounds=(2_500,), **query))
    assert len(result.hits) == min(result.total, query.get("limit", 24))
    assert sum(result.prices) == result.total
    return result.total, result.tags[category_tag("footwear")]


def _change_and_count_again(shop: Backend, db: Session) -> None:
    assert _footwear(shop, db, sort="newest", limit=2) == (5, 3)
    assert _footwear(shop, db, filters=Filters(in_stock=True)) == (4, 2)
    assert _footwear(shop, db, filters=Filters(max_price=6_500)) == (3, 1)
    shop.apply([make_document("Green Sandal", categories=("footwear",))], [SHOP[0].id, SHOP[1].id], db)
    db.commit()
    assert _footwear(shop, db) == (4, 2)
