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
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import IO

from prometheus_client import values
from prometheus_client.multiprocess import mark_process_dead

# The library's own, and inherited by every process that is to count here.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def counting_together() -> Iterator[Path]:
    """Let the processes that are started within count together. The folder is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="commerce-metrics-"))
    os.environ[VARIABLE] = str(folder)
    try:
        yield folder
    finally:
        del os.environ[VARIABLE]
        remove(folder)


def shared_folder() -> Path | None:
    """Where this process counts together with others, if it does."""
    return Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None


def remove(folder: Path | None) -> None:
    """Remove the folder: for whoever notices that the process which made it was killed."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


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


def _lock(file: IO[str]) -> bool:
    """Lock it until it is closed, or the process ends; False if somebody else, or another part of us, has done so."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
