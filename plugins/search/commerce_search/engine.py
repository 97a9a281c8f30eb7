"""What a process has for searching: the backend, and what is kept of the index and of the database for a moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from commerce_core.catalog.models import Brand
from commerce_core.catalog.queries import list_brands, list_categories
from commerce_core.catalog.schemas import present_categories
from commerce_search.analysis import Analyzer
from commerce_search.documents import DocumentMaker
from commerce_search.interface import Backend, BackendError, BackendFactory, IndexCorrupt, IndexMissing, Place, Reader
from commerce_search.models import SearchSynonym
from commerce_search.settings import Settings
from commerce_search.spelling import Vocabulary
from commerce_search.understanding import Interpreter, Synonyms

_log = structlog.get_logger("commerce.search")
Value = TypeVar("Value")
# How old may be what is known of categories, brands and synonyms, and the words that corrections are taken from.
GROUPS_SECONDS = 1.0
VOCABULARY_SECONDS = 20.0
POPULAR_SECONDS = 30.0
_MOST_TERMS = 500_000
# How often it is told that an index is broken.
_TOLD_SECONDS = 5.0


class Kept(Generic[Value]):
    """Something that is read again when it is too old. Of several threads one reads; the others take what there is."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._value: Value | None = None
        self._until = float("-inf")

    def get(self, read: Callable[[], Value]) -> Value:
        if self._value is not None and time.monotonic() < self._until:
            return self._value
        if self._lock.acquire(blocking=self._value is None):
            try:
                if self._value is None or time.monotonic() >= self._until:
                    self._value = read()
                    self._until = time.monotonic() + self._seconds
            finally:
                self._lock.release()
        assert self._value is not None
        return self._value


@dataclass(frozen=True, slots=True)
class Groups:
    """The catalogue's categories, as a tree and as a list, and its brands by name."""

    tree: list[dict[str, Any]]
    categories: list[Any]
    brands: list[Brand]


class SearchEngine:
    """`registry.search`."""

    def __init__(
        self, settings: Settings, engine: Engine, factories: Mapping[str, BackendFactory], *, impatient: bool = False
    ) -> None:
        """`impatient`: keep nothing of the database for a moment, as in tests."""
        self.settings = settings
        self.analyzer = Analyzer(settings.language)
        self.maker = DocumentMaker(self.analyzer)
        self.on_broken: Callable[[BackendError], None] = lambda error: None
        self._engine = engine
        self._factory = factories[settings.backend]
        self._backend: Backend | None = None
        self._lock = threading.Lock()
        self._groups: Kept[Groups] = Kept(0.0 if impatient else GROUPS_SECONDS)
        self._synonyms: Kept[Synonyms] = Kept(0.0 if impatient else GROUPS_SECONDS)
        # Queries that are suggested to others.
        self.popular: Kept[list[str]] = Kept(0.0 if impatient else POPULAR_SECONDS)
        self._vocabulary: tuple[str, float, Vocabulary] | None = None
        self._vocabulary_seconds = 0.0 if impatient else VOCABULARY_SECONDS
        self._broken_told = float("-inf")

    @property
    def code(self) -> str:
        """That of the backend."""
        return self.settings.backend

    @property
    def backend(self) -> Backend:
        """Opened when it is first asked for, so that a command which does not search opens nothing."""
        if self._backend is None:
            with self._lock:
                if self._backend is None:
                    folder = self.settings.path / self._factory.code
                    self._backend = self._factory.open(Place(folder, self._engine, self.settings))
        return self._backend

    @contextmanager
    def reading(self, session: Session) -> Iterator[Reader]:
        """The index as it is now. Raises BackendError; what is missing or corrupt will be built again."""
        try:
            with self.backend.reading(session) as reader:
                yield reader
        except BackendError as error:
            self._tell(error)
            raise

    def _tell(self, error: BackendError) -> None:
        now = time.monotonic()
        if now - self._broken_told < _TOLD_SECONDS:
            return
        self._broken_told = now
        if isinstance(error, IndexMissing):  # as in every new shop, until the worker's first seconds are over
            _log.warning("there is no search index; a worker builds it", backend=self.code)
        else:
            _log.warning("search does not work", backend=self.code, error=f"{type(error).__name__}: {error}")
        if isinstance(error, (IndexMissing, IndexCorrupt)):
            try:
                self.on_broken(error)
            except Exception as failure:
                _log.warning("the index could not be ordered anew", error=str(failure))

    def groups(self, session: Session) -> Groups:
        """Categories and brands, as they were at most a second ago."""

        def read() -> Groups:
            categories, brands = list(list_categories(session)), list(list_brands(session))
            for row in (*categories, *brands):
                session.expunge(row)
            return Groups(present_categories(categories), categories, brands)

        return self._groups.get(read)

    def interpreter(self, session: Session, reader: Reader) -> Interpreter:
        """Who understands queries about what this reader reads."""
        synonyms = self._synonyms.get(lambda: self._read_synonyms(session))
        return Interpreter(self.analyzer, reader, self.vocabulary(reader), synonyms)

    def _read_synonyms(self, session: Session) -> Synonyms:
        rows = session.execute(select(SearchSynonym.source, SearchSynonym.words).order_by(SearchSynonym.id))
        return Synonyms([(source, words) for source, words in rows], self.analyzer)

    def vocabulary(self, reader: Reader) -> Vocabulary:
        """The words that corrections are taken from, as they were a moment ago."""
        known = self._vocabulary
        if known is not None and time.monotonic() < known[1]:
            return known[2]
        if self._lock.acquire(blocking=known is None):
            try:
                known, version = self._vocabulary, reader.version
                vocabulary = known[2] if known is not None and known[0] == version else None
                vocabulary = vocabulary or Vocabulary(reader.terms("", _MOST_TERMS))
                known = (version, time.monotonic() + self._vocabulary_seconds, vocabulary)
                self._vocabulary = known
            finally:
                self._lock.release()
        assert known is not None
        return known[2]

    def close(self) -> None:
        """Let go of the backend."""
        if self._backend is not None:
            self._backend.close()
            self._backend = None


def search_of(registry: Any) -> SearchEngine:
    """The engine of a shop."""
    engine: SearchEngine = registry.search
    return engine
