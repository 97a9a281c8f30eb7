"""Whether the time that a login takes tells who has an account: known addresses against unknown ones."""

from __future__ import annotations

import http.client
import random
import statistics
import time
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from benchmarks.server import web_server
from commerce_core.accounts.passwords import Passwords
from commerce_core.accounts.users import create_user
from commerce_core.database import transaction
from commerce_core.settings import AccountSettings

EMAIL = "known@example.com"


def bench(console: Console, engine: Engine, url: str, config: Path, seconds: float) -> None:
    """Prints one table: medians of refused logins, and of requests for a mail, and the ratio known to unknown."""
    with transaction(engine) as session:
        create_user(session, EMAIL, "Known", password_hash=Passwords(AccountSettings()).hash("correct horse battery"))
    table = Table(title="Does the time tell who has an account?")
    for column in ("what", "known ms", "unknown ms", "known / unknown", "requests"):
        table.add_column(column, justify="left" if column == "what" else "right")
    requests = {
        "login, wrong password": ("login", {"password": "not the password", "device_name": "bench"}),
        "password reset": ("password-reset", {}),
        "registration": ("register", {"password": "correct horse battery", "name": "Bench"}),
    }
    with web_server(
        config, url, workers=1, LIMITS__LOGIN_ACCOUNT="off", LIMITS__REGISTER="off", LIMITS__PASSWORD_RESET="off"
    ) as port:
        for what, (path, body) in requests.items():
            times = measure(port, f"/api/v1/auth/{path}", body, seconds * 2)
            known, unknown = (statistics.median(times[name]) for name in ("known", "unknown"))
            table.add_row(
                what, f"{known:.2f}", f"{unknown:.2f}", f"{known / unknown:.3f}", f"{len(times['known']) * 2:,}"
            )
    console.print(table)


def measure(port: int, path: str, body: dict[str, str], seconds: float) -> dict[str, list[float]]:
    """Milliseconds of requests for the known address and for ever new unknown ones: pairs, in either order."""
    times: dict[str, list[float]] = {"known": [], "unknown": []}
    chance = random.Random(1)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        number = len(times["known"])
        pair = [("known", EMAIL), ("unknown", f"other{number % 10_000:04}@example.com")]
        for name, email in pair if chance.random() < 0.5 else reversed(pair):
            data = orjson.dumps({"email": email, **body})
            started = time.perf_counter()
            connection.request("POST", path, data, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            times[name].append((time.perf_counter() - started) * 1000)
            assert answer.status in (202, 401), answer.status
    connection.close()
    return times
