"""The backend for OpenSearch: the official client, against a stand-in that follows the documented wire format."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commerce_search.backends.opensearch import OpensearchBackendFactory
from commerce_search.contract import SHOP, BackendContract, words
from commerce_search.interface import Backend, BackendError, IndexMissing, Place, Query
from commerce_search.settings import Settings
from search_opensearch import FakeOpensearch
from sqlalchemy import Engine
from sqlalchemy.orm import Session


@pytest.fixture
def fake() -> Iterator[FakeOpensearch]:
    with FakeOpensearch().running() as running:
        yield running


class TestOpensearch(BackendContract):
    factory = OpensearchBackendFactory()

    @pytest.fixture
    def place(self, tmp_path: Path, engine: Engine, fake: FakeOpensearch) -> Place:
        return place_of(tmp_path, engine, opensearch_url=fake.url)

    def damage(self, place: Place, engine: Engine) -> bool:
        """Somebody has deleted the index, and the alias with it."""
        factory = OpensearchBackendFactory()
        backend = factory.open(place)
        live = backend.live()
        assert live is not None
        backend.abandon(live)
        backend.close()
        return True

    def test_what_fails_for_a_moment_is_tried_again(
        self, shop: Backend, fake: FakeOpensearch, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("opensearchpy.helpers.actions.time.sleep", lambda _seconds: None)
        fake.fail(503, times=2)
        with shop.reading(db) as reader:
            assert reader.search(Query()).total == 5
        fake.busy = 2  # two documents are refused, and sent again
        shop.apply(SHOP[:3], [], db)
        assert len([path for _, path in fake.requests if path.startswith("/_bulk")]) >= 3

    def test_what_stays_broken_is_told(self, shop: Backend, fake: FakeOpensearch, db: Session) -> None:
        fake.fail(503, times=50)
        with pytest.raises(BackendError, match="503"), shop.reading(db) as reader:
            reader.search(Query())
        fake.failures.clear()
        fake.fail(403)
        with pytest.raises(BackendError, match="Authorization"), shop.reading(db) as reader:
            reader.search(Query())

    def test_former_indexes_are_removed_and_others_left_alone(
        self, shop: Backend, fake: FakeOpensearch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.built(shop, SHOP[:2], "second")
        build = shop.build("third")
        fake.indexes["somebody-elses"] = fake.indexes["commerce-products-first"]
        monkeypatch.setattr("commerce_search.backends.opensearch._KEPT_SECONDS", -1.0)
        shop.tidy("third")
        build.close()
        assert sorted(fake.indexes) == ["commerce-products-second", "commerce-products-third", "somebody-elses"]

    def test_a_user_and_a_password_are_sent(self, tmp_path: Path, engine: Engine, fake: FakeOpensearch) -> None:
        place = place_of(
            tmp_path, engine, opensearch_url=fake.url, opensearch_user="ada", opensearch_password="pass-1815"
        )
        backend = self.factory.open(place)
        assert backend.live() is None
        backend.close()
        assert fake.authorization == {"Basic YWRhOnBhc3MtMTgxNQ=="}

    def test_a_server_that_is_away_is_told(self, tmp_path: Path, engine: Engine, db: Session) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{closed.getsockname()[1]}"
            backend = self.factory.open(place_of(tmp_path, engine, opensearch_url=url))
            with pytest.raises(BackendError, match="Connection") as told, backend.reading(db) as reader:
                reader.search(Query(slots=words("red"), least=1))
            assert not isinstance(told.value, IndexMissing)
            backend.close()


def place_of(folder: Path, engine: Engine, **settings: Any) -> Place:
    return Place(
        folder, engine, Settings.model_validate({"backend": "opensearch", "opensearch_timeout": 60, **settings})
    )
