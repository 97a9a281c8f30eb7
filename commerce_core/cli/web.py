"""`commerce web`: the production web server, granian's worker processes with threads."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import click

from commerce_core.cli.shop import existing_config_argument

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 6543
# The threads mostly wait for the database; its connection pool sets the pace.
DEFAULT_THREADS = 64
# Connections, not requests, and an idle keep-alive connection counts: generous, or idle clients shut out busy ones.
CONNECTIONS_PER_WORKER = 2048
LISTEN_BACKLOG = 2048
# A worker that was killed lets go of the port after its last request.
PORT_PATIENCE_SECONDS = 3.0


@click.command()
@existing_config_argument
@click.option("--host", default=DEFAULT_HOST, show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
@click.option("--threads", type=click.IntRange(min=1), default=DEFAULT_THREADS, show_default=True, help="Per process.")
def web(config: Path, host: str, port: int, workers: int, threads: int) -> None:
    """Serve the shop's API over HTTP."""
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces
    from granian.log import LogLevels

    from commerce_core.metrics.processes import counting_together
    from commerce_core.settings import load_settings
    from commerce_core.wsgi import CONFIG_VARIABLE, STOP_SECONDS

    settings = load_settings(config)  # says what is wrong once, not once for each worker
    if settings.commerce.plugins:
        from commerce_core.application import check_plugins

        check_plugins(settings)
    claim_port(host, port, patience=PORT_PATIENCE_SECONDS)
    os.environ[CONFIG_VARIABLE] = str(config.resolve())
    server = Granian(
        "commerce_core.wsgi:application",
        factory=True,
        interface=Interfaces.WSGI,
        address=host,
        port=port,
        http=HTTPModes.http1,
        websockets=False,
        workers=workers,
        blocking_threads=threads,
        backlog=LISTEN_BACKLOG,
        backpressure=CONNECTIONS_PER_WORKER,
        respawn_failed_workers=True,
        workers_kill_timeout=STOP_SECONDS,
        log_level=LogLevels.error,
    )
    with counting_together():
        server.serve()


def claim_port(host: str, port: int, patience: float = 0.0) -> int:
    """Check that nobody listens on `port` (0: choose a free one) within `patience` seconds, and return it.

    Granian itself would share the port with another granian, silently.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    deadline = time.monotonic() + patience
    while True:
        with socket.socket(family, socket.SOCK_STREAM) as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind((host, port))
            except OSError as error:
                if time.monotonic() < deadline:
                    time.sleep(0.05)
                    continue
                raise click.ClickException(
                    f"Cannot listen on {host}:{port}: {error.strerror}. Choose another port with --port."
                ) from error
            return int(candidate.getsockname()[1])
