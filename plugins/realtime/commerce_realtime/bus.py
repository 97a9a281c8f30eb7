"""The bus: this process among the others. It reconnects for ever, and says when something may have been missed.

It counts as there when it hears itself: a message of its own comes back every few seconds. A connection that is half
dead, or a server that is frozen, is noticed by that.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from commerce_core.log import first_line
from commerce_realtime import news
from commerce_realtime.lines import ERRORS, Exchange, Line
from commerce_realtime.news import News

_log = structlog.get_logger("commerce.realtime")
_LONGEST_BACKOFF = 2.0
# What waits to be told. More than this, and the others must look for themselves.
_MOST_UNTOLD = 10_000
_LOOK_SECONDS = 0.5
# Whose numbers are kept: more processes than this tell nothing at a time.
_MOST_PROCESSES = 1_000


class LineSilent(OSError):
    """What was told did not come back."""


class Bus:
    """Tells and hears. `hear(news)` is called with what others tell, in their order.

    `has_come()` is called when the bus is there (again), `has_gone()` when it is not, `has_missed()` when a message of
    somebody's is known to be lost.
    """

    def __init__(
        self,
        exchange: Exchange,
        *,
        beat_seconds: float,
        hear: Callable[[News], None],
        has_come: Callable[[], None],
        has_gone: Callable[[], None],
        has_missed: Callable[[], None],
    ) -> None:
        self.process = news.new_process()
        self.is_there = False
        self.lost_at = time.monotonic()
        self.lag = 0.0
        self._exchange = exchange
        self._beat_seconds = beat_seconds
        self._hear = hear
        self._has_come, self._has_gone, self._has_missed = has_come, has_gone, has_missed
        self._number = 0
        self._untold: list[str] = []
        self._is_untold = asyncio.Event()
        self._is_telling = False
        self._numbers: dict[str, int] = {}
        self._beats = 0.0
        self._heard_itself_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self, *last_words: Any) -> None:
        """Tell what is left, and leave."""
        if self.is_there:
            self.tell(*last_words)
            deadline = time.monotonic() + 1.0
            while (self._untold or self._is_telling) and self.is_there and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def tell(self, kind: str, *body: Any) -> None:
        """Tell the others, soon. What is told while the bus is not there is not told: there is a resync after it."""
        self._number += 1
        if not self.is_there and kind != "beat":
            return
        if len(self._untold) >= _MOST_UNTOLD:
            # The number that is missing has the others look for themselves.
            return
        self._untold.append(news.write(self.process, self._number, kind, *body))
        self._is_untold.set()

    def forget(self, process: str) -> None:
        """A process has gone, and its numbers with it."""
        self._numbers.pop(process, None)

    async def _run(self) -> None:
        backoff = 0.1
        while True:
            try:
                line = await asyncio.wait_for(self._exchange.open(), 10)
                try:
                    await self._talk(line)
                finally:
                    await line.close()
            except ERRORS as error:
                if self.is_there:
                    backoff = 0.1
                self._lose(error)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                _log.error("realtime's bus has failed", exc_info=error)
                self._lose(error)
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))
            backoff = min(backoff * 2, _LONGEST_BACKOFF)

    def _lose(self, error: Exception) -> None:
        self._untold.clear()
        if self.is_there:
            self.is_there = False
            self.lost_at = time.monotonic()
            _log.warning("realtime does not hear of changes", error=first_line(error))
            self._has_gone()

    async def _talk(self, line: Line) -> None:
        self._numbers.clear()
        self._untold.clear()
        self._heard_itself_at = time.monotonic()
        await self._first_of(self._listen(line), self._speak(line), self._beat())

    async def _first_of(self, *parts: Awaitable[None]) -> None:
        """Until one of them fails, which they do sooner or later."""
        tasks = [asyncio.ensure_future(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, line: Line) -> None:
        while True:
            for text in await line.receive(_LOOK_SECONDS):
                heard = news.read(text)
                if heard is not None:
                    self._take(heard)

    async def _speak(self, line: Line) -> None:
        while True:
            await self._is_untold.wait()
            self._is_untold.clear()
            texts, self._untold = self._untold, []
            if texts:
                self._is_telling = True
                try:
                    await line.send(texts)
                finally:
                    self._is_telling = False

    async def _beat(self) -> None:
        while True:
            self._beats = time.monotonic()
            self.tell("beat", self._beats)
            await asyncio.sleep(self._beat_seconds)
            if time.monotonic() - self._heard_itself_at > self._beat_seconds * 2:
                raise LineSilent("what was told did not come back")

    def _take(self, heard: News) -> None:
        if heard.process == self.process:
            if heard.kind == "beat":
                self._heard_itself(heard.body[0])
            return
        last = self._numbers.get(heard.process)
        if last is not None and heard.number <= last:
            return  # told twice, because nobody knew whether it had arrived
        # Whoever was heard last is last: commands of the shop come and go, and do not say so.
        self._numbers.pop(heard.process, None)
        self._numbers[heard.process] = heard.number
        if len(self._numbers) > _MOST_PROCESSES:
            del self._numbers[next(iter(self._numbers))]
        if last is not None and heard.number > last + 1:
            self._has_missed()
        try:
            self._hear(heard)
        except Exception as error:
            _log.error("realtime failed on what it heard", kind=heard.kind, exc_info=error)

    def _heard_itself(self, beat: float) -> None:
        self._heard_itself_at = time.monotonic()
        self.lag = self._heard_itself_at - beat
        if not self.is_there:
            self.is_there = True
            _log.info("realtime hears of changes")
            self._has_come()
