"""What waits for a client that does not read: of each state the newest, of everything else a little."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

# More states than this, and a client is too far behind: an `inventory` of thousands of variants, say.
MOST_STATES = 1_000


class _Unkeyed:
    """The key of a frame that has none."""

    __slots__ = ()


class Outbox:
    """Bounded. What has a key is the newest of it only, and goes out in the order of what was last put in."""

    __slots__ = ("_frames", "_most_unkeyed", "_unkeyed", "dropped", "since")

    def __init__(self, since: float, most_unkeyed: int) -> None:
        self.since = since
        self.dropped = 0
        self._frames: dict[Hashable, bytes] = {}
        self._unkeyed = 0
        self._most_unkeyed = most_unkeyed

    def put(self, frame: bytes, key: Hashable | None) -> bool:
        """Keep a frame. False if there are too many."""
        if key is None:
            self._unkeyed += 1
            self._frames[_Unkeyed()] = frame
            return self._unkeyed <= self._most_unkeyed
        if self._frames.pop(key, None) is not None:
            self.dropped += 1
        self._frames[key] = frame
        return len(self._frames) - self._unkeyed <= MOST_STATES

    def take(self) -> Iterator[tuple[bytes, Hashable | None]]:
        """All of it, in order, each frame with its key."""
        frames, self._frames, self._unkeyed = self._frames, {}, 0
        for key, frame in frames.items():
            yield frame, None if isinstance(key, _Unkeyed) else key
