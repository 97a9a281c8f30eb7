"""What the core calls."""

from __future__ import annotations

from collections.abc import Iterable

from commerce_core.plugin import SearchBackend, hookimpl
from commerce_search.backends.postgresql import PostgresqlBackendFactory
from commerce_search.backends.tantivy import TantivyBackendFactory
from commerce_search.backends.whoosh import WhooshBackendFactory


@hookimpl
def commerce_register_search_backends() -> Iterable[SearchBackend]:
    return [WhooshBackendFactory(), TantivyBackendFactory(), PostgresqlBackendFactory()]
