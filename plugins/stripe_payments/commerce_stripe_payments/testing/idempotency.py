"""What an idempotency key remembers: the first answer, and for which parameters it was given.

As the API of version 1 does it: the answer is kept once something has been begun, also a failure, for a day; wrong
parameters are not. The same key with other parameters is refused, and so is one whose first request is still under way.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import NamedTuple

from commerce_stripe_payments.testing.failures import Failure

_DAY = 86_400


class Answer(NamedTuple):
    """What goes back to who asked."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class _Kept:
    fingerprint: tuple[str, ...]
    since: int
    answer: Answer | None = None


class Idempotency:
    """The keys. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}

    def begin(self, key: str, fingerprint: tuple[str, ...], now: int) -> Answer | None:
        """The answer that is known already; None if the request is to be done, and then `finish` is to be called.

        Raises Failure for a key that is in use (409) or belongs to another request (400).
        """
        if len(key) > 255:
            raise Failure("Idempotency keys have at most 255 characters.", is_kept=False)
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and now - kept.since >= _DAY and kept.answer is not None:
                kept = None
            if kept is None:
                self._kept[key] = _Kept(fingerprint, now)
                return None
            if kept.fingerprint != fingerprint:
                raise Failure(
                    "Keys for idempotent requests can only be used with the same parameters they were first used"
                    f" with. Try using a key other than '{key}' if you meant to execute a different request.",
                    type="idempotency_error",
                    is_kept=False,
                )
            if kept.answer is None:
                raise Failure(
                    "There is currently another in-progress request using this Idempotent Key.",
                    status=409,
                    code="idempotency_key_in_use",
                    is_kept=False,
                )
            return kept.answer

    def finish(self, key: str, answer: Answer | None) -> None:
        """Remember the answer; None forgets the key."""
        with self._lock:
            if answer is None:
                self._kept.pop(key, None)
            else:
                self._kept[key].answer = answer
