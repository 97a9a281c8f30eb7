"""The backends that come with the plugin, each for real."""

from __future__ import annotations

import pytest
from commerce_search.backends.postgresql import PostgresqlBackendFactory
from commerce_search.backends.tantivy import TantivyBackendFactory
from commerce_search.backends.whoosh import WhooshBackendFactory
from commerce_search.contract import BackendContract
from commerce_search.interface import Place
from sqlalchemy import Engine, text


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
