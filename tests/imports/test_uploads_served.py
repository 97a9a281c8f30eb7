"""Uploads to the server as it runs in production: received in pieces, refused early, and given up."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from sqlalchemy import Engine, text
from support.processes import Shop, running_shop, wait_until

from commerce_core.testing import SignedIn

LINE = b"p-%07d,Product\r\n"
_IMPORTS_UNDER_WAY = text("""
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
    AND objid = (hashtext('commerce.import')::bigint & 4294967295)::oid
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")


@pytest.fixture
def shop(tmp_path: Path, database_url: str, engine: Engine) -> Iterator[Shop]:
    with running_shop(tmp_path, database_url, {"imports.max_bytes": 64 * 1_048_576}, servers=1) as running:
        yield running


def head(token: str | None, *more: str) -> bytes:
    lines = ["POST /api/v1/admin/products/import?dry_run=true HTTP/1.1", "Host: shop", "Content-Type: text/csv", *more]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(connection: socket.socket) -> tuple[int, Any]:
    with connection.makefile("rb") as file:
        status = int(file.readline().split()[1])
        length = 0
        while (line := file.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return status, json.loads(file.read(length))


def test_a_large_body_is_received_in_pieces(shop: Shop, sign_in: Callable[..., SignedIn]) -> None:
    _, token = sign_in("staff").client.authorization
    size = 16 * 1_048_576
    padding = b"x" * 15_000
    rows = size // len(padding)
    workers = [worker for web in shop.web for worker in web.workers]
    before = max(psutil.Process(worker.pid).memory_info().rss for worker in workers)
    for chunked in (False, True):
        lines = [b"slug,name,description\r\n", *(b"p-%d,P," % number + padding + b"\r\n" for number in range(rows))]
        with socket.create_connection(("127.0.0.1", shop.ports[0]), timeout=120) as connection:
            how = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {sum(map(len, lines))}"
            connection.sendall(head(token, how, "Connection: close"))
            for line in lines:
                connection.sendall(b"%x\r\n%s\r\n" % (len(line), line) if chunked else line)
            if chunked:
                connection.sendall(b"0\r\n\r\n")
            status, report = answer(connection)
        assert (status, report["rows"], report["error_count"]) == (200, rows, 0)
    after = max(psutil.Process(worker.pid).memory_info().rss for worker in workers)
    assert after - before < size


def test_who_may_not_is_told_before_the_body_has_come(shop: Shop) -> None:
    with socket.create_connection(("127.0.0.1", shop.ports[0]), timeout=60) as connection:
        connection.sendall(head(None, f"Content-Length: {50 * 1_048_576}"))
        status, problem = answer(connection)
    assert (status, problem["type"]) == (401, "/problems/unauthorized")


def test_who_hangs_up_leaves_nothing(shop: Shop, sign_in: Callable[..., SignedIn], engine: Engine) -> None:
    _, token = sign_in("staff").client.authorization
    for _ in range(70):  # more than there are threads
        with socket.create_connection(("127.0.0.1", shop.ports[0]), timeout=60) as connection:
            connection.sendall(head(token, "Content-Length: 1000000") + b"slug,name\r\n" + LINE % 1)
    with socket.create_connection(("127.0.0.1", shop.ports[0]), timeout=60) as connection:
        body = b"slug,name\r\n" + LINE % 1
        connection.sendall(head(token, f"Content-Length: {len(body)}", "Connection: close") + body)
        status, report = answer(connection)
    assert (status, report["rows"]) == (200, 1)
    with engine.connect() as connection_:
        wait_until(lambda: connection_.scalar(_IMPORTS_UNDER_WAY) == 0)
