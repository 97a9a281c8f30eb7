"""A client that hangs up in the middle of its request leaves nothing behind."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from sqlalchemy import Engine, text
from support.crowd import Crowd
from support.processes import running_shop

from commerce_core.testing import assert_stock_adds_up

CLIENTS = 300


def test_a_client_that_hangs_up_leaves_nothing_behind(
    tmp_path: Path, database_url: str, engine: Engine, make_variant: Callable[..., UUID]
) -> None:
    variant_id = make_variant(stock=1_000)
    body = json.dumps({"variant_id": str(variant_id), "quantity": 1}).encode()
    head = (
        "POST /api/v1/holds HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n"
        f"Idempotency-Key: the-same-for-all\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    beginnings = [head[: len(head) // 2], head, head + body[: len(body) // 2]]
    with running_shop(tmp_path, database_url, {}) as shop:
        clients = [socket.create_connection(("127.0.0.1", shop.ports[number % 2])) for number in range(CLIENTS)]
        for number, client in enumerate(clients):
            client.sendall(beginnings[number % 3])
        for client in clients:
            client.close()
        # More than there are threads, so that one that went on waiting for a body would be missed.
        told = Crowd(1, 300, shop.ports, {variant_id: 1}, visits=1, largest=1, fates={"keep hold": 1}).run()
        assert told.unexpected == []
        assert told.statuses["hold", 201] == 300
    # The servers have finished every request and ended.
    with engine.connect() as connection:
        assert set(connection.scalars(text("SELECT id FROM hold"))) == set(told.holds)
        assert connection.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")) == 0
    assert_stock_adds_up(engine)
