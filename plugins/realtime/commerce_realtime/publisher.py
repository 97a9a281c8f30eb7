"""From the commit to the bus, in every process of the shop: web servers, workers, commands.

Who commits only notes what has happened, which takes a few microseconds and cannot fail; one thread of the process
tells it. Of each variant it tells the newest level, once within the window. While the bus is away the newest level of
each variant is kept, and some of everything else; those who miss something learn it from the numbers, and look.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import structlog
from sqlalchemy import Engine, text

from commerce_core.clock import Clock
from commerce_core.events import Event, ProductChanged, StockChanged
from commerce_core.log import first_line
from commerce_realtime import news
from commerce_realtime.levels import moment
from commerce_realtime.lines import ERRORS, Exchange
from commerce_realtime.news import Sender

_log = structlog.get_logger("commerce.realtime")
_OWNERS = text("SELECT id, owner FROM orders WHERE id = ANY(:ids)")
# While the bus is away.
_MOST_LEVELS = 20_000
_MOST_OTHER = 1_000
# Levels in one message.
_AT_A_TIME = 50
_LONGEST_BACKOFF = 2.0
# What is told when a process ends may take so long.
_CLOSE_SECONDS = 2.0
# A message for the channels that `channels(owner)` names: they may depend on whose order it is.
Channels = Callable[[str | None], Sequence[str]]


class Publisher:
    """Starts its thread with the first thing to tell; never before a process forks. Safe between threads."""

    def __init__(self, exchange: Exchange, engine: Engine, clock: Clock, window_seconds: float) -> None:
        self._exchange = exchange
        self._engine = engine
        self._clock = clock
        self._window = window_seconds
        self._process = news.new_process()
        self._number = 0
        self._lock = threading.Lock()
        self._levels: dict[Any, tuple[StockChanged, Any]] = {}
        self._other: deque[tuple[Any, Channels, str, Any]] = deque(maxlen=_MOST_OTHER)
        self._products: set[str] | None = set()
        self._wake = threading.Event()
        self._is_stopping = False
        self._thread: threading.Thread | None = None
        # Texts that were given to the bus and of which nobody knows whether they have arrived.
        self._unsure: list[str] = []
        self._sender: Sender | None = None
        self._is_away = False

    # --- What is noted, by whoever has committed ---

    def stock_changed(self, event: StockChanged) -> None:
        """Subscriber: a level has changed."""
        with self._lock:
            known = self._levels.get(event.variant_id)
            if known is None or known[0].version < event.version:
                self._levels[event.variant_id] = event, self._clock.now()
        self._rouse()

    def catalogue_changed(self, event: ProductChanged) -> None:
        """Subscriber: products have changed."""
        with self._lock:
            if not event.product_ids:
                self._products = None
            elif self._products is not None:
                self._products.update(map(str, event.product_ids))
                if len(self._products) > _MOST_OTHER:
                    self._products = None
        self._rouse()

    def tell(self, event: Event, channels: Channels, data: Any) -> None:
        """Tell an event in the channels that are chosen once it is known whose order it is about."""
        self._other.append((getattr(event, "order_id", None), channels, event.topic, data))
        self._rouse()

    def broadcast(self, channels: Sequence[str], event: str, data: Any) -> None:
        """Tell anything, in any channels of the shop's app."""
        self._other.append((None, lambda owner: channels, event, data))
        self._rouse()

    def _rouse(self) -> None:
        if not self._wake.is_set():
            self._wake.set()
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None or self._is_stopping:
                return
            thread = threading.Thread(target=self._run, name="realtime", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system gives no more threads: the next thing to tell tries again
                _log.warning("realtime cannot start its thread; the shop goes on", error=first_line(error))
                return
            self._thread = thread
            atexit.register(self.close)

    def close(self) -> None:
        """Tell what is left, for a moment at most."""
        self._is_stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)
        atexit.unregister(self.close)

    # --- What is told, by the thread ---

    def _run(self) -> None:
        backoff = 0.1
        while True:
            self._wake.wait()
            self._wake.clear()
            is_last = self._is_stopping
            try:
                self._tell_all()
                backoff = 0.1
            except Exception as error:
                self._lose(error)
                if is_last:
                    return
                time.sleep(backoff)
                backoff = min(backoff * 2, _LONGEST_BACKOFF)
                self._wake.set()
                continue
            if is_last:
                self._hang_up()
                return
            if self._window:
                time.sleep(self._window)

    def _tell_all(self) -> None:
        """Raises one of ERRORS; what it could not tell is told the next time."""
        if self._sender is None:
            self._sender = self._exchange.open_sender()
            if self._is_away:
                self._is_away = False
                _log.warning("realtime is told of changes again")
        self._send(self._sender, self._unsure)
        # The stock first: it does not wait for a connection to ask whose orders these are.
        while self._send(self._sender, self._level_texts()) | self._send(self._sender, self._other_texts()):
            pass

    def _send(self, sender: Sender, texts: list[str]) -> bool:
        """Whether there was anything. What fails is sent first the next time."""
        if not texts:
            return False
        self._unsure = texts
        sender.send(texts)
        self._unsure = []
        return True

    def _lose(self, error: Exception) -> None:
        self._hang_up()
        if not self._is_away:
            self._is_away = True
            _log.warning(
                "realtime is not told of changes; the shop goes on",
                error=first_line(error),
                exc_info=None if isinstance(error, ERRORS) else error,
            )
        if len(self._levels) > _MOST_LEVELS:
            # The number that is missing then has everybody look for themselves.
            with self._lock:
                self._levels.clear()
                self._number += 1

    def _hang_up(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            with contextlib.suppress(Exception):
                sender.close()

    def _level_texts(self) -> list[str]:
        """What has been noted of stock and catalogue, as messages."""
        with self._lock:
            levels, self._levels = self._levels, {}
            products, self._products = self._products, set()
        texts: list[str] = []
        changes = [
            [str(event.variant_id), event.kind, event.on_hand, event.reserved, event.version, moment(at)]
            for event, at in levels.values()
        ]
        texts += [
            self._write("stock", changes[start : start + _AT_A_TIME]) for start in range(0, len(changes), _AT_A_TIME)
        ]
        if products is None or products:
            texts.append(self._write("catalogue", sorted(products or ())))
        return texts

    def _other_texts(self) -> list[str]:
        waiting = []
        while self._other:
            waiting.append(self._other.popleft())
        owners = self._owners({order_id for order_id, *_ in waiting if order_id is not None})
        return [
            self._write("event", "", list(channels(owners.get(order_id))), name, _text(data), None)
            for order_id, channels, name, data in waiting
        ]

    def _owners(self, order_ids: set[Any]) -> dict[Any, str | None]:
        """Whose orders these are. Who cannot be found is told nothing; the order's own channel is."""
        if not order_ids:
            return {}
        try:
            with self._engine.connect() as connection:
                return {row.id: row.owner for row in connection.execute(_OWNERS, {"ids": list(order_ids)})}
        except Exception as error:
            _log.warning("realtime cannot see whose orders these are", error=first_line(error))
            return {}

    def _write(self, kind: str, *body: Any) -> str:
        self._number += 1
        return news.write(self._process, self._number, kind, *body)


def _text(data: Any) -> str:
    return data if isinstance(data, str) else orjson.dumps(data, default=str).decode()
