"""A shop with search, for each backend that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commerce_search import indexing
from sqlalchemy import Engine
from webtest import TestApp

from commerce_core.settings import CoreSettings
from commerce_core.testing import make_settings

EMBEDDED = ("whoosh", "tantivy", "postgresql")


@pytest.fixture
def search_settings(request: pytest.FixtureRequest) -> dict[str, str]:
    """Of the marker `commerce`, and the backend that the test is asked for with."""
    given: dict[str, Any] = {}
    for marker in request.node.iter_markers("commerce"):
        given.update(marker.kwargs.get("settings", {}))
    if hasattr(request, "param"):
        given["search.backend"] = request.param
    return given


@pytest.fixture
def settings(database_url: str, tmp_path: Path, search_settings: dict[str, str]) -> CoreSettings:
    return make_settings(
        database_url,
        {
            "commerce.plugins": "search",
            "search.path": str(tmp_path / "search"),
            "search.delay_ms": "0",
            **search_settings,
        },
    )


@pytest.fixture
def reindexed(application: Any, engine: Engine) -> Callable[[], int]:
    """`reindexed()` builds the index of what there is; how many products it has."""
    return lambda: indexing.rebuild(application.registry.search, engine)


@pytest.fixture
def search(client: TestApp) -> Iterator[Callable[..., Any]]:
    """`search("red boot", brand="kestrel")`: the answer."""

    def ask(q: str = "", **parameters: Any) -> Any:
        return client.get("/api/v1/search", {"q": q, **parameters}).json

    return ask
