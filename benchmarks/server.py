"""A shop to measure: the production web server on an embedded PostgreSQL of its own, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from commerce_core.cli.web import claim_port

WORKERS = 2


@contextmanager
def web_server(config: Path, url: str, *, workers: int = WORKERS, **settings: str) -> Iterator[int]:
    """`commerce web` on a free port; yields the port when it answers. `settings` as SECTION__KEY."""
    port = claim_port("127.0.0.1", 0)
    environment = {
        **os.environ,
        "COMMERCE_SQLALCHEMY__URL": url,
        "COMMERCE_LOG__FORMAT": "json",
        "COMMERCE_LOG__LEVEL": "info",
        **{f"COMMERCE_{name}": value for name, value in settings.items()},
    }
    log = config.parent / "web.log"
    command = [sys.executable, "-W", "ignore", "-m", "commerce_core.cli", "web", str(config)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--workers", str(workers)], env=environment, stdout=output, stderr=output
        )
        try:
            wait_until_ready(port, process, log)
            yield port
        finally:
            process.terminate()
            process.wait(30)


def wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
    raise RuntimeError(f"the web server did not start:\n{log.read_text()[-2000:]}")
