from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from realtime_harness import PATIENCE, Client, Running


@pytest.fixture(scope="session", autouse=True)
def _impatient() -> Iterator[None]:
    """Servers look after their connections more often.

    For what other processes, the database and a client that is told to close answer they wait as long as the tests do,
    so that none is left out on a busy machine.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("commerce_realtime.server._SWEEP_SECONDS", 0.1)
        patch.setattr("commerce_realtime.connection.CLOSE_SECONDS", PATIENCE)
        patch.setattr("commerce_realtime.peers.ANSWER_SECONDS", PATIENCE)
        patch.setattr("commerce_realtime.lines.ANSWER_SECONDS", PATIENCE)
        yield


@pytest.fixture
def curt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers soon cut who does not answer a close."""
    monkeypatch.setattr("commerce_realtime.connection.CLOSE_SECONDS", 0.2)


@pytest.fixture(scope="session")
def _shared_server(database_url: str, _impatient: None) -> Iterator[Running]:
    server = Running(database_url, client_events="members", presence_grace_seconds=0)
    yield server
    server.stop()


@pytest.fixture
def server(_shared_server: Running) -> Running:
    """A server with the default settings, but for events of clients, which it relays, and for no grace for members."""
    return _shared_server


@pytest.fixture
def start(database_url: str) -> Iterator[Callable[..., Running]]:
    """`start(max_connections=2)`: a server with settings of its own."""
    servers: list[Running] = []

    def run(core: dict[str, Any] | None = None, **settings: Any) -> Running:
        servers.append(Running(database_url, core, **settings))
        return servers[-1]

    yield run
    for server in servers:
        server.stop()


@pytest.fixture
def client(server: Running) -> Iterator[Callable[..., Client]]:
    """`client()`: one that is connected, to `server` or another."""
    clients: list[Client] = []

    def connect(to: Running | None = None, **options: Any) -> Client:
        clients.append((to or server).connect(**options).established())
        return clients[-1]

    yield connect
    for each in clients:
        each.close()
