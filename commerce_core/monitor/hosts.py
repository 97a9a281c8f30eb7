"""How full the disks and the memory of a host are: each process writes down what it sees, and rules read all hosts'.

In a container the memory is the container's, where it has a limit.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from commerce_core.clock import Clock
from commerce_core.pulse import Connection

WRITE_SECONDS = 30.0
# Of a host that has said nothing for so long nothing is known.
SILENT_AFTER = timedelta(minutes=3)

_WRITE = """
INSERT INTO host_state (host, what, percent, seen_at) VALUES (%(host)s, %(what)s, %(percent)s, %(now)s)
ON CONFLICT (host, what) DO UPDATE SET percent = excluded.percent, seen_at = excluded.seen_at
"""


class HostWriter:
    """Writes down how this host stands. `disks` are folders, each on the disk that is meant."""

    def __init__(self, disks: Sequence[str], clock: Clock, host: str | None = None) -> None:
        self._disks = disks
        self._clock = clock
        self._host = host or socket.gethostname()

    def write(self, connection: Connection) -> None:
        now = self._clock.now()
        for what, percent in host_states(self._disks):
            connection.execute(_WRITE, {"host": self._host, "what": what, "percent": percent, "now": now})


def host_states(disks: Sequence[str], memory: Callable[[], float | None] | None = None) -> Iterator[tuple[str, float]]:
    """What is how full, in percent. What cannot be seen is left out."""
    used = (memory or memory_percent)()
    if used is not None:
        yield "memory", used
    for folder in disks:
        try:
            usage = shutil.disk_usage(folder)
        except OSError:
            continue
        yield f"disk {folder}", 100 * usage.used / (usage.used + usage.free)


def memory_percent(root: Path = Path("/")) -> float | None:
    """How much of the memory is used that may be used; None where the system does not say."""
    limited = _of_container(root / "sys/fs/cgroup")
    return limited if limited is not None else _of_machine(root / "proc/meminfo")


def _of_container(folder: Path) -> float | None:
    """By the control group (version 2), without what the kernel would let go of."""
    try:
        limit = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        details = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return 100 * max(0, used - int(details["inactive_file"])) / limit
    except (OSError, ValueError, KeyError):
        return None  # there is none, or its limit is "max"


def _of_machine(meminfo: Path) -> float | None:
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        total, available = (int(lines[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    except (OSError, ValueError, KeyError):
        return None
    return 100 * (total - available) / total
