"""From events to rows of `search_change`, and from there to a job.

What changes in the catalogue is written down in the transaction of the change, so that none is lost. A stock level is
written by nobody but itself: what a process sees change is looked at a moment later, together with what else has
changed; if that process dies first, the signals StockOut and StockBack, which are durable, tell it within seconds.

A job for the changes is wanted as soon as they are committed, in a transaction of its own: two that change something
must not wait for each other because of one job. Should that fail, the scheduler sees that there are rows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from commerce_core.database import transaction
from commerce_core.events import ProductChanged, StockBack, StockChanged, StockOut
from commerce_core.log import first_line
from commerce_search.engine import SearchEngine
from commerce_search.interface import BackendError
from commerce_search.models import SearchChange

_log = structlog.get_logger("commerce.search")
# More products than these are told of as "everything".
_MOST_PRODUCTS = 5_000
_SELLABLE = text("""
SELECT DISTINCT product.id, product.sellable_variants > 0 AS sellable
FROM variant JOIN product ON product.id = variant.product_id
WHERE variant.id = ANY(:ids)
""")


def note_products(session: Session, ids: Iterable[UUID]) -> None:
    """These products are to be indexed again."""
    rows = [{"product_id": id_} for id_ in ids]
    if len(rows) > _MOST_PRODUCTS:
        note_everything(session)
    elif rows:
        session.execute(insert(SearchChange), rows)


def note_everything(session: Session) -> None:
    """The whole index is to be compared with the database."""
    session.execute(insert(SearchChange).values(product_id=None))


def record_product_changed(session: Session, event: ProductChanged) -> None:
    """Recorder: in the transaction of the change."""
    if event.product_ids:
        note_products(session, event.product_ids)
    elif event.what.endswith((".create",)) and (event.category_id or event.brand_id):
        return  # nothing is in it yet
    elif event.what in ("category.delete", "brand.delete"):
        note_everything(session)  # what was in it is elsewhere now
    elif event.category_id or event.brand_id:
        session.execute(insert(SearchChange).values(category_id=event.category_id, brand_id=event.brand_id))
    else:
        note_everything(session)


def record_stock_signal(session: Session, event: StockOut | StockBack) -> None:
    """Recorder: in the transaction of the signal."""
    note_products(session, [event.product_id])


class ChangeFeed:
    """What a process has seen change, passed on together, `delay` seconds after the first."""

    def __init__(
        self, search: SearchEngine, engine: Any, want_job: Callable[[Session], object], *, delay: float
    ) -> None:
        """`want_job(session)` enqueues the job that indexes. Without a delay everything is done at once, for tests."""
        self._search = search
        self._engine = engine
        self._want_job = want_job
        self._delay = delay
        self._lock = threading.Lock()
        self._variants: set[UUID] = set()
        self._is_news = False
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()

    def catalogue_changed(self, _event: Any) -> None:
        """Subscriber: something was committed that has left rows."""
        self._heard(())

    def stock_changed(self, event: StockChanged) -> None:
        """Subscriber: a level has moved."""
        self._heard((event.variant_id,))

    def _heard(self, variants: Iterable[UUID]) -> None:
        with self._lock:
            self._variants.update(variants)
            self._is_news = self._is_news or not variants
        if self._delay == 0:
            self.flush()
            return
        if self._thread is None:
            with self._lock:
                if self._thread is None and not self._stopping.is_set():
                    self._thread = threading.Thread(target=self._run, name="search changes", daemon=True)
                    self._thread.start()
        self._wake.set()

    def flush(self) -> None:
        """Pass on what there is. Commits in a transaction of its own."""
        with self._lock:
            variants, self._variants = self._variants, set()
            is_news, self._is_news = self._is_news, False
        if not variants and not is_news:
            return
        with transaction(self._engine) as session:
            turned = self._turned(session, variants)
            if turned:
                note_products(session, turned)
            if turned or is_news:
                self._want_job(session)

    def _turned(self, session: Session, variants: set[UUID]) -> list[UUID]:
        """The products that have come into stock or gone out of it, compared with what the index says."""
        if not variants:
            return []
        rows = session.execute(_SELLABLE, {"ids": sorted(variants)})
        now: dict[UUID, bool] = {row.id: row.sellable for row in rows}
        try:
            with self._search.reading(session) as reader:
                entries = reader.entries(now)
        except BackendError:
            return []  # what is built anew knows it anyway
        return sorted(id_ for id_, entry in entries.items() if entry.in_stock != now[id_])

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait()
            self._stopping.wait(self._delay)
            self._wake.clear()
            try:
                self.flush()
            except Exception as error:
                _log.warning("changes not passed on; the scheduler will see them", error=first_line(error))

    def close(self) -> None:
        """Pass on what is left, and stop."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(3.0)
        try:
            self.flush()
        except Exception as error:
            _log.warning("changes not passed on; the scheduler will see them", error=first_line(error))
