"""Processes that count together: prometheus_client's files, in a folder that they share.

Each living process has files of its own there, under a number that it takes when it begins and that the kernel gives
back when it ends, however it ends. Who takes the number next counts on in the same files: so no count is lost when a
process is replaced, and there are never more files than there were processes at a time. (By process id, as the library
has it, workers that are replaced every few seconds would leave files without end, all to be read.)
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import IO

import structlog
from prometheus_client import values
from prometheus_client.multiprocess import mark_process_dead

_log = structlog.get_logger("commerce.metrics")
# The library's own, and inherited by every process that is to count here.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX = "commerce-metrics-"
# Locked while its folder is in use.
_OWNER = "owner"
# A younger one may be about to be locked.
_LEFT_BEHIND_SECONDS = 60.0


@contextmanager
def counting_together() -> Iterator[Path | None]:
    """Let the processes that are started within count together, in a folder of theirs that is gone afterwards.

    Where nothing can be written they count apart: it is better to sell than to count.
    """
    try:
        _remove_left_behind(Path(tempfile.gettempdir()))
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    except OSError as error:
        _log.warning("no temporary folder: each process tells only what it has counted itself", error=str(error))
        yield None
        return
    try:
        with (folder / _OWNER).open("a") as owner:
            _lock(owner)
            os.environ[VARIABLE] = str(folder)
            yield folder
    finally:
        os.environ.pop(VARIABLE, None)
        shutil.rmtree(folder, ignore_errors=True)


def shared_folder() -> Path | None:
    """Where this process counts together with others, if it does."""
    return Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None


@cache
def join(folder: Path) -> None:
    """Let every metric that this process makes from now on count in `folder`; and those that it is forked into."""
    values.ValueClass = values.MultiProcessValue(_Place(folder))  # type: ignore[no-untyped-call]


def forget_the_dead(folder: Path) -> None:
    """Drop the gauges of processes that are no more; what they have counted stays."""
    for path in folder.glob("*.lock"):
        with path.open("a") as file:
            if _lock(file):
                mark_process_dead(int(path.stem), str(folder))  # type: ignore[no-untyped-call]


class _Place:
    """A process's number. Asked for it with every count: a forked process takes one of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pid = 0
        self._number = -1
        self._file: IO[str] | None = None

    def __call__(self) -> int:
        if os.getpid() != self._pid:
            self._take()
        return self._number

    def _take(self) -> None:
        for number in count():
            file = (self._folder / f"{number}.lock").open("a")
            if _lock(file):
                break
            file.close()
        mark_process_dead(number, str(self._folder))  # type: ignore[no-untyped-call]
        # After a fork, this closes the parent's in the child, and takes nothing from the parent.
        if self._file is not None:
            self._file.close()
        self._pid, self._number, self._file = os.getpid(), number, file


def _remove_left_behind(temporary: Path) -> None:
    """Remove the folders of servers that were killed."""
    for owner in temporary.glob(f"{_PREFIX}*/{_OWNER}"):
        with suppress(OSError), owner.open("a") as file:
            if time.time() - owner.stat().st_mtime > _LEFT_BEHIND_SECONDS and _lock(file):
                shutil.rmtree(owner.parent, ignore_errors=True)


def _lock(file: IO[str]) -> bool:
    """Lock it until it is closed, or the process ends; False if somebody else, or another part of us, has done so."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
