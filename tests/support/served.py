"""`commerce serve` as a developer starts it, and the means to watch and end it."""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

# Generous: a first start makes the database's files, the tables and the demo shop, on a busy machine.
DEADLINE_SECONDS = 300.0


class Shop:
    """A `commerce serve` in a folder of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.output_file = folder / "output"
        with self.output_file.open("wb") as output:
            self.process = psutil.Popen(
                [sys.executable, "-m", "commerce_core.cli", "serve", "development.ini", "--port", "0", *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.seen: set[psutil.Process] = {self.process}

    @property
    def output(self) -> str:
        return self.output_file.read_text()

    @property
    def port(self) -> int:
        found = re.search(r"Shop ready at http://127\.0\.0\.1:(\d+)", self.output)
        assert found
        return int(found[1])

    def wait_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"did not happen in time; the output was:\n{self.output}"
            time.sleep(0.05)

    def wait_for(self, text: str, times: int = 1) -> None:
        def said() -> bool:
            assert self.process.poll() is None or self.output.count(text) >= times, self.output
            return self.output.count(text) >= times

        self.wait_until(said)

    def readyz(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def child(self, name: str) -> psutil.Process:
        """The child that runs `commerce <name>`, or the database's server."""
        [found] = [child for child in self.process.children() if runs(child, name)]
        return found

    def remember_processes(self) -> None:
        self.seen.update(self.process.children(recursive=True))

    def everything_ended(self) -> bool:
        return not any(alive(process) for process in self.seen)

    def end(self) -> None:
        for process in self.seen:
            with suppress(psutil.NoSuchProcess):
                if alive(process):
                    process.kill()
        self.process.wait()


def runs(process: psutil.Process, name: str) -> bool:
    return bool(process.name() == name or process.cmdline()[1:4] == ["-m", "commerce_core.cli", name])


def alive(process: psutil.Process) -> bool:
    """Zombies are not: an orphan's corpse waits for init, which may be slow."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
