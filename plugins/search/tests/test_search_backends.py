"""The backends that come with the plugin, each for real."""

from __future__ import annotations

from typing import Any

import pytest
from commerce_search.backends.postgresql import PostgresqlBackendFactory
from commerce_search.backends.tantivy import TantivyBackendFactory
from commerce_search.backends.whoosh import WhooshBackendFactory
from commerce_search.contract import SHOP, BackendContract, make_document
from commerce_search.documents import category_tag
from commerce_search.interface import Backend, Filters, Place, Query
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session


# Whoosh leaves the file open that it finds to be broken.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestWhoosh(BackendContract):
    factory = WhooshBackendFactory()


class TestTantivy(BackendContract):
    factory = TantivyBackendFactory()


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

        def footwear(**query: Any) -> tuple[int, int]:
            with shop.reading(db) as reader:
                result = reader.search(Query(tags=True, price_bounds=(2_500,), **query))
            assert len(result.hits) == min(result.total, query.get("limit", 24))
            assert sum(result.prices) == result.total
            return result.total, result.tags[category_tag("footwear")]

        event.listen(engine, "before_cursor_execute", look)
        try:
            assert footwear(limit=0) == footwear() == footwear(sort="newest", offset=0, limit=2) == (5, 3)
            assert len(counted) == 1
            assert footwear(filters=Filters(in_stock=True)) == (4, 2)
            assert footwear(filters=Filters(max_price=6_500)) == (3, 1)
            shop.apply([make_document("Green Sandal", categories=("footwear",))], [SHOP[0].id, SHOP[1].id], db)
            db.commit()
            assert footwear() == (4, 2)
        finally:
            event.remove(engine, "before_cursor_execute", look)
