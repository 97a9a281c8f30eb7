"""The shop as production.ini describes it, on this machine and without containers: nginx in front, several processes of
each kind, PgBouncer, Redis and PostgreSQL behind.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from sqlalchemy.engine import make_url

from commerce_core.child_process import tied
from commerce_core.embedded import EmbeddedPostgres
from commerce_core.testing import WEBHOOK_SECRET
from commerce_core.testing.redis import RedisServer
from support.processes import COMMERCE, PATIENCE_SECONDS, PATIENT, Process, Web, free_port, wait_until

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "production.ini"
DEPLOY = ROOT / "deploy"


def required(database_url: str) -> dict[str, str]:
    """The environment without which production.ini is not enough. The keys are of the right form, and nobody's."""
    return {
        "COMMERCE_SQLALCHEMY__URL": database_url,
        "COMMERCE_MAIL__HOST": "127.0.0.1",
        "COMMERCE_MAIL__SENDER": "shop@shop.test",
        "COMMERCE_STRIPE__SECRET_KEY": "sk_test_" + "4" * 24,
        "COMMERCE_STRIPE__PUBLISHABLE_KEY": "pk_test_" + "4" * 24,
        "COMMERCE_STRIPE__WEBHOOK_SECRETS": "whsec_" + "4" * 24,
        "COMMERCE_REALTIME__SECRET": "5b0c7a2f9d3e4c1a8b6d5e7f",
    }


def program(name: str) -> str:
    """Where a server of Debian's is; the test is skipped where it is not, or fails where it has to be there."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        why = f"{name} is not installed (Debian: apt-get install nginx-light pgbouncer)"
        if os.environ.get("COMMERCE_REQUIRE_SERVERS"):
            pytest.fail(f"COMMERCE_REQUIRE_SERVERS is set, and {why}", pytrace=False)
        pytest.skip(why)
    return found


class PgBouncer:
    """deploy/pgbouncer.ini, in front of an embedded PostgreSQL."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.port = free_port()
        self._program = program("pgbouncer")
        url = make_url(database_url)
        self.database, self.user = url.database, url.username or "postgres"
        text = (DEPLOY / "pgbouncer.ini").read_text()
        for ours, here in {
            "shop = host=127.0.0.1 port=5432 dbname=shop": f"{self.database} = host={url.query['host']}"
            f" dbname={self.database} user={self.user}",
            "listen_port = 6432": f"listen_port = {self.port}\nunix_socket_dir =",
            "auth_type = scram-sha-256": "auth_type = any",
            "auth_file = /etc/pgbouncer/userlist.txt": "user = nobody" if os.geteuid() == 0 else "",
            # Of a machine that is busy, nobody is turned away.
            "query_wait_timeout = 5": "query_wait_timeout = 120",
            "statement_timeout = 10000; SET lock_timeout = 3000": "statement_timeout = 60000; SET lock_timeout = 60000",
        }.items():
            assert ours in text, ours
            text = text.replace(ours, here)
        self._config = folder / "pgbouncer.ini"
        self._config.write_text(text)
        self._log = folder / "pgbouncer.log"
        with self._log.open("ab") as log:
            self.popen = subprocess.Popen(tied([self._program, str(self._config)]), stdout=log, stderr=log)

    @property
    def url(self) -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{self.database}"

    def stop(self) -> None:
        self.popen.terminate()
        self.popen.wait()


class Nginx:
    """deploy/nginx.conf, in front of some servers; `route` says which, from then on."""

    def __init__(self, folder: Path, web: Sequence[int], realtime: Sequence[int]) -> None:
        self.port = free_port()
        self._program = program("nginx")
        self._folder = folder
        self._realtime = realtime
        for name in ("cache", "body", "proxy"):
            (folder / name).mkdir(parents=True)
        text = (DEPLOY / "nginx.conf").read_text()
        user = "user root;\n" if os.geteuid() == 0 else ""
        for ours, here in {
            "worker_processes auto;": f"{user}daemon off;\nworker_processes 2;",
            "pid /run/nginx.pid;": f"pid {folder}/nginx.pid;",
            "error_log /dev/stderr warn;": f"error_log {folder}/error.log warn;",
            "proxy_cache_path /var/cache/nginx/shop": f"client_body_temp_path {folder}/body;\n"
            f"    proxy_temp_path {folder}/proxy;\n    proxy_cache_path {folder}/cache",
            "listen 80 ": f"listen 127.0.0.1:{self.port} ",
            "include upstreams.conf;": f"include {folder}/upstreams.conf;",
        }.items():
            assert ours in text, ours
            text = text.replace(ours, here)
        self._config = folder / "nginx.conf"
        self._config.write_text(text)
        self._write(web)
        self._popen = subprocess.Popen(tied([*self._command]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    @property
    def _command(self) -> list[str]:
        return [self._program, "-p", str(self._folder), "-c", str(self._config), "-e", str(self._folder / "error.log")]

    @property
    def errors(self) -> str:
        return (self._folder / "error.log").read_text(errors="replace")

    def _write(self, web: Sequence[int]) -> None:
        text = (DEPLOY / "upstreams.conf").read_text()
        for name, port, ports in (("web", 6543, web), ("realtime", 6001, self._realtime)):
            ours = f"    server {name}:{port} max_fails=1 fail_timeout=2s;\n"
            assert ours in text
            text = text.replace(ours, "".join(ours.replace(f"{name}:{port}", f"127.0.0.1:{each}") for each in ports))
        (self._folder / "upstreams.conf").write_text(text)

    def _workers(self) -> set[int]:
        return {child.pid for child in psutil.Process(self._popen.pid).children()}

    def route(self, web: Sequence[int]) -> None:
        """Ask these web servers from now on; returns when nobody is asked any more who is not one of them."""
        before = self._workers()
        self._write(web)
        subprocess.run([*self._command, "-s", "reload"], check=True, capture_output=True)
        wait_until(lambda: self._workers() and not self._workers() & before)

    def stop(self) -> None:
        self._popen.terminate()
        self._popen.wait()


class Production:
    """PostgreSQL, PgBouncer, Redis; two web servers, two workers, a scheduler and two realtime servers; nginx."""

    def __init__(self, folder: Path, database: EmbeddedPostgres, redis: RedisServer, workers: int) -> None:
        self.folder = folder
        self.pgbouncer = PgBouncer(folder, database.url)
        patient = {
            f"COMMERCE_{key.upper().replace('.', '__')}": str(value)
            for key, value in PATIENT.items()
            if key not in ("commerce.environment", "payments.manual_webhook_secret")
        }
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("COMMERCE_")},
            **patient,
            **required(self.pgbouncer.url),
            "COMMERCE_SQLALCHEMY__DIRECT_URL": database.url,
            "COMMERCE_REDIS__URL": redis.url,
            "COMMERCE_API__TRUSTED_PROXIES": "127.0.0.0/8",
            "COMMERCE_PAYMENTS__MANUAL_WEBHOOK_SECRET": WEBHOOK_SECRET,
            # Nobody is there who could be asked for money, or who would take mail.
            "COMMERCE_STRIPE__API_BASE": "http://127.0.0.1:9",
            "COMMERCE_ORDERS__MAILS": "false",
            "COMMERCE_STOCK__HOLD_SECONDS": "3",
            "COMMERCE_ORDERS__PAYMENT_SECONDS": "3",
        }
        self.migrate()
        self.web = [Web(CONFIG, COMMERCE, self.environment, folder / f"web{number}.log", workers) for number in (1, 2)]
        self.workers = [self._process("worker", number) for number in (1, 2)]
        self.scheduler = self._process("scheduler", 1)
        self.realtime_ports = [free_port(), free_port()]
        self.realtime = [
            self._process("realtime", number, COMMERCE_REALTIME__PORT=str(port))
            for number, port in enumerate(self.realtime_ports, 1)
        ]
        self.nginx = Nginx(folder / "nginx", [web.port for web in self.web], self.realtime_ports)
        for web in self.web:
            web.wait_until_ready()
        for port in self.realtime_ports:
            wait_until(lambda port=port: _is_up(port))

    def _process(self, command: str, number: int, **more: str) -> Process:
        arguments = [*COMMERCE, command, str(CONFIG)]
        return Process(arguments, {**self.environment, **more}, self.folder / f"{command}{number}.log")

    @property
    def processes(self) -> list[Process]:
        return [*self.web, *self.workers, self.scheduler, *self.realtime]

    def migrate(self) -> None:
        done = self.run("db", "upgrade", "--wait", "60")
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command of the shop's, with the same settings."""
        return subprocess.run(
            [sys.executable, *COMMERCE, *command, str(CONFIG)],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def ask(self, path: str, body: Any = None) -> tuple[int, Any]:
        """Through nginx: the status, and what is said."""
        status, _, said = self._exchange(path, body)
        return status, said

    def headers(self, path: str) -> Mapping[str, str]:
        return self._exchange(path, None)[1]

    def _exchange(self, path: str, body: Any) -> tuple[int, Mapping[str, str], Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.nginx.port, timeout=PATIENCE_SECONDS)
        try:
            content = None if body is None else json.dumps(body)
            headers = {} if body is None else {"Content-Type": "application/json"}
            connection.request("GET" if body is None else "POST", path, content, headers)
            answer = connection.getresponse()
            text = answer.read()
            is_json = "json" in answer.headers.get("Content-Type", "")
            return answer.status, answer.headers, json.loads(text) if is_json else text
        finally:
            connection.close()

    def roll(self, web: Web) -> None:
        """Replace a web server by another process, as docs/deployment.md says: nobody is sent there meanwhile."""
        self.nginx.route([each.port for each in self.web if each is not web])
        web.stop()
        web.start()
        web.wait_until_ready()
        self.nginx.route([each.port for each in self.web])

    def stop(self) -> None:
        self.nginx.stop()
        for process in self.processes:
            process.popen.terminate()
        for process in self.processes:
            process.stop()
        self.pgbouncer.stop()


def _is_up(port: int) -> bool:
    """Whether a realtime server answers there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", "/up")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def in_production(
    folder: Path, database: EmbeddedPostgres, redis: RedisServer, *, workers: int
) -> Iterator[Production]:
    """All of it, with `workers` for each web server, ready to serve; stopped at the end.

    Skips the test where nginx or PgBouncer is missing.
    """
    program("nginx"), program("pgbouncer")
    shop = Production(folder, database, redis, workers)
    try:
        yield shop
    finally:
        shop.stop()
