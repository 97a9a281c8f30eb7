"""What goes wrong on purpose: which requests, in which way, how often."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["error", "hang", "cut", "pause"]


@dataclass
class Fault:
    """What happens to the requests that match `what`, such as `POST /v1/refunds` or `* /v1/payment_intents/*`.

    - `error`: the answer is `status` with `code`; a status of the 500s has a body that is not JSON with `is_html`.
    - `hang`: no answer ever comes; the connection stays until `release`.
    - `cut`: the connection is cut.
    - `pause`: it waits for `release`, its idempotency key in use, and then goes on as if nothing had been.

    `when` says whether the work is done first. The first `skip` requests are spared, `times` are hit after them.
    `reached` is set once the first one is so far: `fault.reached.wait()`.
    """

    what: str
    kind: Kind = "error"
    when: Literal["before", "after"] = "before"
    times: int = 1
    skip: int = 0
    status: int = 500
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    is_html: bool = False
    reached: threading.Event = field(default_factory=threading.Event, repr=False)
    released: threading.Event = field(default_factory=threading.Event, repr=False)

    def matches(self, method: str, path: str) -> bool:
        wanted_method, _, wanted_path = self.what.rpartition(" ")
        return wanted_method.strip() in ("", "*", method) and fnmatch.fnmatchcase(path, wanted_path)

    def release(self) -> None:
        """Let those go on that wait."""
        self.released.set()


class Faults:
    """All that is still to go wrong, in the order in which it was asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._all.append(fault)
        return fault

    def next_for(self, method: str, path: str) -> Fault | None:
        """The fault of this request, which has one use less now."""
        with self._lock:
            for fault in self._all:
                if fault.times <= 0 or not fault.matches(method, path):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    def clear(self) -> None:
        """Nothing goes wrong any more, and nobody waits."""
        with self._lock:
            for fault in self._all:
                fault.release()
            self._all.clear()
