"""A small supervisor: a table of children that are started, watched, restarted with back-off, and stopped in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import click

from commerce_core.child_process import tied

GRACE_SECONDS = 20.0
FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 15.0
# A child that lived this long was well; its next death counts as its first.
WELL_AFTER_SECONDS = 30.0
TICK_SECONDS = 0.2


@dataclass
class Child:
    """One row of the table. `start` returns when the process runs, `stop` when it has ended."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    stop: Callable[[], object] | None = None
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float | None = None
    deaths: int = 0


@dataclass
class Supervisor:
    """Runs its children, in the order they were added, until `stop`."""

    children: list[Child] = field(default_factory=list)
    grace_seconds: float = GRACE_SECONDS

    def add(self, child: Child) -> None:
        """Add a child and start it."""
        self._start(child)
        self.children.append(child)

    def tend(self) -> None:
        """Look after every child once: notice who died, restart whose time has come."""
        now = time.monotonic()
        for child in self.children:
            if child.process is not None and (code := child.process.poll()) is not None:
                self._mourn(child, how_it_ended(code), now)
            elif child.restart_at is not None and now >= child.restart_at:
                try:
                    self._start(child)
                    say(f"{child.name} is running again")
                except Exception as error:
                    self._mourn(child, f"could not start: {error}", now)

    def restart(self, child: Child) -> None:
        """Stop one child in order and start it again."""
        self._end([child])
        self._start(child)

    def stop(self) -> None:
        """Stop everybody: plain children together, then those with a `stop` of their own, last added first."""
        self._end([child for child in self.children if child.stop is None])
        for child in reversed(self.children):
            if child.stop is not None:
                child.stop()
                child.process = None

    def _start(self, child: Child) -> None:
        child.process = child.start()
        child.started_at = time.monotonic()
        child.restart_at = None

    def _mourn(self, child: Child, reason: str, now: float) -> None:
        child.deaths = 1 if now - child.started_at > WELL_AFTER_SECONDS else child.deaths + 1
        delay = min(FIRST_DELAY_SECONDS * 2 ** (child.deaths - 1), LONGEST_DELAY_SECONDS)
        child.process = None
        child.restart_at = now + delay
        say(f"{child.name} {reason}; restarting in {delay:g} s", problem=True)

    def _end(self, children: list[Child]) -> None:
        running = [child for child in children if child.process is not None]
        for child in running:
            assert child.process is not None
            child.process.terminate()
        deadline = time.monotonic() + self.grace_seconds
        for child in running:
            assert child.process is not None
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                say(f"{child.name} did not stop within {self.grace_seconds:g} s; killing it", problem=True)
                child.process.kill()
                child.process.wait()
            child.process = None


def start_commerce(arguments: Sequence[str], extra_environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start `commerce ...` as a child that ends with this process, out of reach of the terminal's Ctrl-C."""
    return subprocess.Popen(
        tied([sys.executable, "-m", "commerce_core.cli", *arguments]),
        env={**os.environ, **extra_environment},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


@contextmanager
def stop_signals_interrupt() -> Iterator[None]:
    """Within, SIGTERM and a closed terminal raise KeyboardInterrupt, as Ctrl-C does."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before: dict[signal.Signals, Any] = {
        number: signal.signal(number, signal.default_int_handler) for number in signals
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def how_it_ended(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def say(text: str, *, problem: bool = False) -> None:
    """A line on the console, marked as ours among the children's."""
    click.echo(click.style(text, fg="red" if problem else None), err=problem)
