"""What has changed, told to the other processes and heard from them, by one thread for each process.

What is heard may be relied on for as long as `is_current` says so: the connection has been seen to work less than a
second ago, and everything sent before has been heard. Where it does not work, nothing that is older than a moment is
served; when it works again, everything is dropped, for nobody knows what was missed. A process that vanishes without
taking its leave may have had something left to tell: then everything is dropped, too.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing

import structlog

from commerce_core.cache.channels import ERRORS, Channel
from commerce_core.cache.entry import EVERYTHING
from commerce_core.cache.shared import RedisAway
from commerce_core.clock import Clock
from commerce_core.log import first_line

_log = structlog.get_logger("commerce.cache")
# How often the connection is tried, and for how long that is good.
CHECK_SECONDS = 0.3
CURRENT_SECONDS = 0.8
RECONNECT_SECONDS = 0.3
# More tags to tell than this are told as "everything".
_MOST_TAGS = 2_000
_LEAVING = "bye"


class News:
    """Starts its thread when there is first something to tell or to hear; never before a process forks.

    `collect()` is called every `interval` seconds, and may call `tell`. `hear(tags)` is called with what others tell.
    """

    def __init__(
        self,
        open_channel: Callable[[str], Channel],
        *,
        clock: Clock,
        interval: float,
        collect: Callable[[], None],
        hear: Callable[[Iterable[str]], None],
    ) -> None:
        self.name = os.urandom(8).hex()
        self._open_channel = open_channel
        self._clock = clock
        self._interval = interval
        self._collect = collect
        self._hear = hear
        self._lock = threading.Lock()
        self._untold: set[str] = set()
        self._told_now: set[str] = set()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._current_until = float("-inf")
        self._is_away = False
        self._parted: set[str] = set()
        # The processes that were there when it was last looked, this one among them.
        self.peers: set[str] = set()

    @property
    def is_current(self) -> bool:
        """Whether everything that others told until a moment ago has been heard."""
        return self._clock.monotonic() < self._current_until

    def start(self) -> None:
        """Begin to listen, if that is not done yet."""
        if self._thread is None and not self._stopping.is_set():
            with self._lock:
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name="cache news", daemon=True)
                    thread.start()
                    self._thread = thread

    def tell(self, tags: Iterable[str]) -> None:
        """Tell the others soon that what bears one of `tags` is old. Costs nothing here; never raises."""
        with self._lock:
            self._untold.update(tags)
            if len(self._untold) > _MOST_TAGS:
                self._untold = {EVERYTHING}
        self.start()

    def is_untold(self, tags: frozenset[str]) -> bool:
        """Whether one of `tags` has still to be told, so that the others, and Redis, have what is old."""
        with self._lock:
            untold = self._untold | self._told_now
        return EVERYTHING in untold or not tags.isdisjoint(untold)

    def close(self, seconds: float = 3.0) -> None:
        """Tell what is left to tell, and take leave; gives up after so long."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            try:
                with closing(self._open_channel(self.name)) as channel:
                    self._hear([EVERYTHING])
                    if self._is_away:
                        channel.drop_after("outage")
                        self._is_away = False
                        _log.warning("cache hears of changes again")
                    self._talk(channel)
                    return
            except Exception as error:
                self._current_until = float("-inf")
                if not self._is_away:
                    self._is_away = True
                    _log.warning(
                        "cache does not hear of changes; keeping less",
                        error=first_line(error.__cause__ or error),
                        exc_info=None if isinstance(error, (*ERRORS, RedisAway)) else error,
                    )
            if self._stopping.wait(RECONNECT_SECONDS):
                return

    def _talk(self, channel: Channel) -> None:
        """Until it is time to stop."""
        self.peers = set()
        check_at = 0.0
        while True:
            if time.monotonic() >= check_at:
                self._check(channel)
                check_at = time.monotonic() + CHECK_SECONDS
            is_last = self._stopping.is_set()
            self._collect()
            self._send(channel)
            if is_last:
                channel.send([_LEAVING])
                return
            self._take_in(channel.receive(self._interval))

    def _check(self, channel: Channel) -> None:
        """See that the connection works, and who is there."""
        asked_at = self._clock.monotonic()
        alive = channel.peers()
        self._take_in(channel.receive(0))
        lost = self.peers - alive - self._parted
        self._parted &= alive
        if lost:
            for peer in sorted(lost):
                channel.drop_after(f"lost:{peer}")
            self._hear([EVERYTHING])
        self.peers = alive
        self._current_until = asked_at + CURRENT_SECONDS

    def _take_in(self, lines: Iterable[str]) -> None:
        for line in lines:
            sender, *tags = line.split(" ")
            if tags == [_LEAVING]:
                self._parted.add(sender)
            elif sender != self.name:
                self._hear(tags)

    def _send(self, channel: Channel) -> None:
        with self._lock:
            if not self._untold:
                return
            self._told_now, self._untold = self._untold, set()
        try:
            channel.send(self._told_now)
        except BaseException:
            with self._lock:
                self._untold |= self._told_now
            raise
        finally:
            self._told_now = set()
