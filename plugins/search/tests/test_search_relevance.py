"""How good the results are: a set of judged queries over the demo shop, which must not get worse."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from commerce_search.service import Wanted, search
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from commerce_core.catalog.models import Product
from commerce_core.database import transaction
from commerce_core.demo.shop import load_shop
from commerce_core.testing import StoppedClock

JUDGED = tomllib.loads((Path(__file__).parent / "search_judged.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("search_settings", ["whoosh", "tantivy", "postgresql"], indirect=True)
def test_results_are_as_good_as_they_were(
    application: Any,
    engine: Engine,
    db: Session,
    clock: StoppedClock,
    reindexed: Callable[[], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with transaction(engine) as session:
        load_shop(session, now=clock.now())
    reindexed()
    names = {row.id: row.name for row in db.query(Product.id, Product.name)}
    judged = JUDGED["queries"]
    assert len(judged) >= 60
    assert {name for grades in judged.values() for name in grades} <= set(names.values())
    searching = application.registry.search
    scores = {}
    for query, grades in judged.items():
        found = search(searching, db, Wanted(text=query, per_page=10, facets=False))
        scores[query] = ndcg([names[id_] for id_ in found.ids], grades)
    mean = sum(scores.values()) / len(scores)
    worst = sorted(scores.items(), key=lambda each: each[1])[:8]
    with capsys.disabled():
        print(f"\n{searching.code}: NDCG@10 {mean:.4f} over {len(judged)} queries; worst: {worst}")
    assert mean >= JUDGED["floor"][searching.code]


def ndcg(names: Sequence[str], grades: Mapping[str, int]) -> float:
    """How close the first ten are to the best order there is: from 0 to 1."""
    best = sorted(grades.values(), reverse=True)[:10]
    return _gain([grades.get(name, 0) for name in names[:10]]) / _gain(best)


def _gain(grades: Sequence[int]) -> float:
    return sum((2**grade - 1) / math.log2(place + 2) for place, grade in enumerate(grades))
