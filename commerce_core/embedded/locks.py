"""Who may start and stop the embedded database: locks between processes, and what can go wrong with them."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


class EmbeddedPostgresError(Exception):
    """The embedded database cannot be used; the message says why and what to do."""


class EmbeddedPostgresNotRunning(EmbeddedPostgresError):
    """Nobody has started the embedded database."""


class Lock:
    """A lock between processes, which the kernel lifts when its holder ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    @property
    def held(self) -> bool:
        return self._file is not None

    def acquire(self, mode: int) -> bool:
        """Try to take it, shared or exclusive, without waiting."""
        try:
            file = self._file or os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except PermissionError as error:
            raise EmbeddedPostgresError(
                f"The database's folder {self.path.parent} belongs to another user: {error}.\n"
                "Run this as that user, or use another folder with --data-dir."
            ) from error
        try:
            fcntl.flock(file, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            self._file = None
            return False
        self._file = file
        return True

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def write(self, text: str) -> None:
        assert self._file is not None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, text.encode(), 0)

    def read(self) -> str:
        with contextlib.suppress(OSError):
            return self.path.read_text(encoding="utf-8", errors="replace")
        return ""
