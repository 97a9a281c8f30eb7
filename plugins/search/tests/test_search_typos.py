"""People misspell: what they mean is found all the same."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from commerce_search import analysis
from commerce_search.backends.postgresql import PostgresqlBackendFactory
from commerce_search.backends.tantivy import TantivyBackendFactory
from commerce_search.backends.whoosh import WhooshBackendFactory
from commerce_search.engine import SearchEngine
from commerce_search.service import Wanted, plain, search
from commerce_search.settings import Settings
from commerce_search.spelling import Vocabulary
from search_catalogue import invented_documents, invented_names, mistyped
from sqlalchemy import Engine
from sqlalchemy.orm import Session

pytestmark = pytest.mark.commerce(plugins=["search"])
FACTORIES = [WhooshBackendFactory(), TantivyBackendFactory(), PostgresqlBackendFactory()]


@pytest.fixture
def searching(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> SearchEngine:
    """An index of two thousand invented products."""
    factory = request.param
    settings = Settings(backend=factory.code, path=tmp_path)
    searching = SearchEngine(settings, engine, {factory.code: factory})
    build = searching.backend.build("first")
    build.add(invented_documents(invented_names(2_000, seed=7)))
    build.publish()
    build.close()
    return searching


@pytest.mark.parametrize("searching", FACTORIES, indirect=True, ids=lambda factory: factory.code)
def test_of_500_names_with_one_edit_95_of_100_are_among_the_first_ten(searching: SearchEngine, db: Session) -> None:
    chance = random.Random(20261126)
    names = chance.sample(invented_names(2_000, seed=7), 500)
    ids = {document.title: document.id for document in invented_documents(names)}
    missed = []
    for name in names:
        typed = mistyped(name, chance)
        found = search(searching, db, Wanted(text=typed, per_page=10, facets=False))
        wanted = ids[" ".join(name.lower().replace("-", " ").split())]
        if wanted not in found.ids:
            missed.append((typed, name, found.total, found.understood.corrected))
    recall = 1 - len(missed) / len(names)
    print(f"{searching.code}: {recall:.3f} of 500 names found in spite of one edit; missed {missed[:5]}")
    assert recall >= 0.95, missed[:20]
    searching.close()


def test_long_texts_are_not_kept_in_memory() -> None:
    """Whoever types ever new ones would fill it."""
    kept = [cache.cache_info().currsize for cache in (analysis._short_folded, analysis._short)]
    for number in range(20):
        text = f"ÉTÉ {number} " * 50
        assert analysis.fold(text) == f"ete {number} " * 50
        assert plain(text).startswith(f"ete {number} ete")
        analysis.words_of(text)
    assert [cache.cache_info().currsize for cache in (analysis._short_folded, analysis._short)] == kept


VOCABULARY = Vocabulary(
    {"jacket": 40, "jackets": 3, "packet": 2, "tee": 9, "red": 50, "bed": 7, "water": 8, "tight": 2}.items()
)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("jaket", "jacket"), ("jakcet", "jacket"), ("hacket", "jacket"), ("jaccket", "jacket"), ("watr", "water")],
)
def test_a_word_is_corrected_to_the_nearest_and_commonest(typed: str, meant: str) -> None:
    assert VOCABULARY.corrections(typed)[0].word == meant


@pytest.mark.parametrize("typed", ["rd", "xyzzy", "redblue", "x"])
def test_short_words_and_what_is_like_nothing_are_left_alone(typed: str) -> None:
    assert VOCABULARY.corrections(typed) == ()


def test_two_words_in_one_are_taken_apart() -> None:
    assert VOCABULARY.split("watertight") == ("water", "tight")
    assert VOCABULARY.split("jacket") is None
