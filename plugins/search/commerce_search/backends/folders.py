"""Where embedded engines keep their indexes: one folder for each build, and a file that names the live one.

    var/search/whoosh/current            "20261126-103000-4f2a"
    var/search/whoosh/20261126-103000-4f2a/...

The file is replaced in one step, so a reader finds the one or the other. Folders are for one machine: every process of
the shop that searches or indexes has to see them.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from commerce_search.interface import BackendError, IndexMissing

# Whoever was about to open the former index has done so by then.
_KEPT_SECONDS = 60.0


class Folders:
    """The builds of one engine."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._pointer = root / "current"
        self._known: tuple[tuple[int, int], str] | None = None

    def of(self, name: str) -> Path:
        return self._root / name

    def live(self) -> str:
        """The name of the live build. Raises IndexMissing."""
        try:
            found = self._pointer.stat()
            stamp = (found.st_mtime_ns, found.st_ino)
            if self._known is None or self._known[0] != stamp:
                self._known = (stamp, self._pointer.read_text(encoding="ascii").strip())
        except FileNotFoundError:
            raise IndexMissing(f"there is no index in {self._root} yet") from None
        except OSError as error:
            raise BackendError(str(error)) from error
        if not self._known[1]:
            raise IndexMissing(f"there is no index in {self._root} yet")
        return self._known[1]

    def name(self) -> str | None:
        """The name of the live build, if there is one."""
        try:
            return self.live()
        except IndexMissing:
            return None

    def make(self, name: str) -> Path:
        """The folder of a build, made if it is not there."""
        folder = self.of(name)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def publish(self, name: str) -> None:
        """Make this build the live one, on the disk before this returns."""
        fresh = self._root / f"current.{name}"
        with fresh.open("w", encoding="ascii") as file:
            file.write(name)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._pointer)
        folder = os.open(self._root, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def remove(self, name: str) -> None:
        shutil.rmtree(self.of(name), ignore_errors=True)

    def tidy(self, building: str | None) -> None:
        """Remove what is neither live nor being built, if the live one has been so for a minute."""
        try:
            live = self.live()
        except IndexMissing:
            return
        if time.time() - self._pointer.stat().st_mtime < _KEPT_SECONDS:
            return
        for folder in self._root.iterdir():
            if folder.is_dir() and folder.name not in (live, building):
                shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def size(folder: Path) -> int:
        """Bytes on the disk. What is being removed meanwhile does not count."""
        total = 0
        for file in folder.iterdir():
            try:
                total += file.stat().st_size
            except FileNotFoundError:
                continue
        return total
