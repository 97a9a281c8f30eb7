"""Child processes that do not outlive their parent, even when the parent is ended with `kill -9`.

`tied(command)` gives the command line to start instead of `command`: this very file, run as a small launcher that
drops root if asked, has the kernel signal it at the parent's death (PR_SET_PDEATHSIG, Linux only) and then becomes the
command. A launcher and not `preexec_fn`, which may deadlock in a program with threads. It may import nothing but the
standard library.

The kernel watches the parent's *thread*: start tied children from a thread that lives as long as they may.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import NamedTuple

PR_SET_PDEATHSIG = 1


class Account(NamedTuple):
    """The system account a child runs as."""

    uid: int
    gid: int


def tied(
    command: Sequence[str], *, death_signal: signal.Signals = signal.SIGTERM, run_as: Account | None = None
) -> list[str]:
    """The command line that runs `command` tied to this process. `run_as` needs root."""
    account = run_as or Account(-1, -1)
    launcher = [sys.executable, "-I", "-S", __file__]
    return [*launcher, *map(str, (os.getpid(), int(death_signal), account.uid, account.gid)), *command]


def end_with_parent(parent_pid: int, death_signal: signal.Signals) -> None:
    """Have this process signalled when its parent ends, or end it now if the parent is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)


def _become(parent_pid: int, death_signal: int, account: Account, command: list[str]) -> None:
    if account.uid != -1:
        os.setgroups([])
        os.setgid(account.gid)
        os.setuid(account.uid)
    # After the change of user, which clears the setting.
    end_with_parent(parent_pid, signal.Signals(death_signal))
    try:
        os.execv(command[0], command)
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    parent, death, uid, gid = map(int, sys.argv[1:5])
    _become(parent, death, Account(uid, gid), sys.argv[5:])
