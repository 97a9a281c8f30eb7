"""What processes tell each other, as text: who tells it, its number, its kind, and what it is about.

A message is JSON, `[process, number, kind, ...]`. Numbers count what one process tells: who misses one knows it. There
are no secrets in them.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

# PostgreSQL takes less than 8,000 bytes in a notification; a character has four at the most.
_LONGEST_BYTES = 7_900
_PART_CHARACTERS = 1_900
_PART = "~"
# Parts of messages whose rest never came.
_MOST_UNFINISHED = 100


@dataclass(frozen=True, slots=True)
class News:
    """One message. `body` is what its kind says."""

    process: str
    number: int
    kind: str
    body: list[Any]


def new_process() -> str:
    """A name that no other process has."""
    return secrets.token_hex(6)


def write(process: str, number: int, kind: str, *body: Any) -> str:
    """A message as text."""
    return orjson.dumps([process, number, kind, *body]).decode()


def read(text: str) -> News | None:
    """The message in a text; None if it is none."""
    try:
        process, number, kind, *body = orjson.loads(text)
    except (orjson.JSONDecodeError, TypeError, ValueError):
        return None
    if isinstance(process, str) and isinstance(number, int) and isinstance(kind, str):
        return News(process, number, kind, body)
    return None


def in_parts(text: str) -> Iterable[str]:
    """A message as texts that PostgreSQL takes."""
    if len(text) <= _PART_CHARACTERS or len(text.encode()) <= _LONGEST_BYTES:
        return [text]
    name = secrets.token_hex(4)
    parts = [text[start : start + _PART_CHARACTERS] for start in range(0, len(text), _PART_CHARACTERS)]
    return [f"{_PART}{name} {number} {len(parts)} {part}" for number, part in enumerate(parts)]


class Joiner:
    """Puts messages together again that came in parts, which come in order."""

    def __init__(self) -> None:
        self._unfinished: dict[str, list[str]] = {}

    def take(self, text: str) -> str | None:
        """The whole message, once its last part has come."""
        if not text.startswith(_PART):
            return text
        name, number, count, part = text[len(_PART) :].split(" ", 3)
        parts = self._unfinished.setdefault(name, [])
        if len(parts) != int(number):  # some were lost
            self._unfinished.pop(name)
            return None
        parts.append(part)
        if len(parts) == int(count):
            return "".join(self._unfinished.pop(name))
        while len(self._unfinished) > _MOST_UNFINISHED:
            self._unfinished.pop(next(iter(self._unfinished)))
        return None


class Sender(Protocol):
    """A connection on which a process tells, and does not hear. Any call may raise one of `lines.ERRORS`."""

    def send(self, texts: Iterable[str]) -> None: ...

    def close(self) -> None: ...
