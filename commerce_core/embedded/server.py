"""One embedded PostgreSQL server: made, started, cleared up after a crash, stopped."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import Ping

from commerce_core.child_process import Account, tied
from commerce_core.embedded.installation import find_binaries, let_in
from commerce_core.embedded.locks import EmbeddedPostgresError, Lock

if TYPE_CHECKING:
    import psutil  # type: ignore[import-untyped]  # comes with the wheel, without types

logger = logging.getLogger("commerce_core.embedded")

DATABASE = "commerce"
SUPERUSER = "postgres"
PORT = 5432  # only a part of the socket's name

# Nothing here trades safety for speed; only what a shop and its tests on one machine need beyond the defaults.
SERVER_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "300",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",
}

# A unix socket's address is at most 107 bytes on Linux, 103 on macOS.
LONGEST_SOCKET_PATH = 103
# Recovery after a crash may replay up to max_wal_size of changes.
START_SECONDS = 300.0
STOP_SECONDS = 60.0
LEFTOVER_SECONDS = 10.0
POLL_SECONDS = 0.02
LARGEST_LOG_BYTES = 10_000_000


class EmbeddedPostgres:
    """One PostgreSQL server and its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._owner_lock = Lock(self.folder / "owner.lock")
        self._guest_lock = Lock(self.folder / "guests.lock")

    @property
    def url(self) -> str:
        """For SQLAlchemy. The port is named because PGPORT would otherwise change the socket's name."""
        return f"postgresql+psycopg://{SUPERUSER}@/{DATABASE}?host={quote(str(self._socket_folder))}&port={PORT}"

    @property
    def is_running(self) -> bool:
        """Whether the server answers, asked of the server itself."""
        return self._ping() is Ping.OK

    @property
    def owner(self) -> str:
        """Process id and command of the server's owner, for messages."""
        return self._owner_lock.read() or "unknown"

    # Who may start and stop it

    def own(self) -> bool:
        """Try to become the one who starts and stops the server."""
        if self._owner_lock.held:
            return True
        self._make_folder()
        if not self._owner_lock.acquire(fcntl.LOCK_EX):
            return False
        self._owner_lock.write(f"{os.getpid()} ({' '.join([Path(sys.argv[0]).name, *sys.argv[1:]])})")
        return True

    def visit(self) -> bool:
        """Try to use a server that somebody else owns. Fails while it is being started or stopped."""
        self._make_folder()
        if self._guest_lock.acquire(fcntl.LOCK_SH) and self.is_running:
            return True
        self._guest_lock.release()
        return False

    def leave(self) -> None:
        """The end of a visit."""
        self._guest_lock.release()

    # Starting and stopping

    def start(self, patience: float = 10.0) -> subprocess.Popen[bytes]:
        """Start the server as a child of this process, and return when it answers; also again, after it died.

        Makes the data folder and the database if they are missing, and clears up after a crash. Waits `patience`
        seconds for another program to be done with it. Raises EmbeddedPostgresError with the end of the server's log.
        """
        if self.process is not None and self.process.poll() is None:
            return self.process
        binaries = find_binaries()
        self._wait_for_ownership(patience)
        # Keeps guests out until the database exists. Guests from before a crash may hold it: they know the database.
        self._guest_lock.acquire(fcntl.LOCK_EX)
        try:
            account = self._account()
            if account:
                let_in(account, binaries.parent, self.data)
            if not (self.data / "PG_VERSION").exists():
                self._create_data(binaries, account)
            self._clear_up_after_crash()
            self._launch(binaries, account)
            self._create_database()
        except BaseException as error:
            self.stop(patience=0)
            if isinstance(error, OSError):
                raise EmbeddedPostgresError(f"Cannot use {self.folder} for the database: {error}") from error
            raise
        self._guest_lock.release()
        assert self.process is not None
        return self.process

    def stop(self, patience: float = 5.0) -> None:
        """Stop the server in order, after waiting at most `patience` seconds for its guests."""
        if not self._owner_lock.held:
            return
        if self.process is not None:
            self._wait_for_guests(patience)
            for last_word, seconds in (
                (signal.SIGINT, STOP_SECONDS),  # "fast": end the sessions, write a checkpoint
                (signal.SIGQUIT, 5.0),  # "immediate": recovery at the next start
                (signal.SIGKILL, 5.0),
            ):
                self.process.send_signal(last_word)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(seconds)
                    break
            self.process = None
        self._guest_lock.release()
        self._owner_lock.release()

    def _wait_for_ownership(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        said = False
        while not self.own():
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"The embedded database in {self.folder} is in use by process {self.owner}.\n"
                    "Stop that first, or use another folder with --data-dir."
                )
            if not said:
                logger.warning("Waiting for process %s to be done with the database", self.owner)
                said = True
            time.sleep(POLL_SECONDS)

    def _wait_for_guests(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        said = False
        while not self._guest_lock.acquire(fcntl.LOCK_EX) and time.monotonic() < deadline:
            if not said:
                logger.warning("Waiting for other commands that use the database in %s", self.folder)
                said = True
            time.sleep(POLL_SECONDS)

    def _create_data(self, binaries: Path, account: Account | None) -> None:
        """Make the data folder under another name first, so that an interrupted start leaves no half of it."""
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if account:
            os.chown(unfinished, *account)
        made = subprocess.run(
            tied(
                [
                    *(str(binaries / "initdb"), "-D", str(unfinished), "-U", SUPERUSER, "--auth=trust"),
                    # The same order of text on every machine, whatever its locales.
                    *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                    "--no-instructions",
                ],
                death_signal=signal.SIGKILL,
                run_as=account,
            ),
            env=_environment(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if made.returncode != 0:
            output = made.stdout.decode(errors="replace")
            shutil.rmtree(unfinished, ignore_errors=True)
            raise EmbeddedPostgresError(
                f"The embedded database could not be created in {self.folder}:\n"
                + _last_lines(output)
                + self._disk_hint()
            )
        unfinished.rename(self.data)

    def _clear_up_after_crash(self) -> None:
        """End what is left of an earlier server, then drop its pid file.

        We own the folder, so a pid file means that the owner before us did not stop its server. PostgreSQL would
        refuse to start for as long as any program has that process id, and while old backends share its memory.
        """
        pid_file = self.data / "postmaster.pid"
        if not pid_file.exists():
            return
        import psutil

        # The server, if it runs, shuts down at once; a backend without its server gives up its query, then itself.
        leftovers = list(self._leftovers())
        for process in leftovers:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGINT)
        _, stubborn = psutil.wait_procs(leftovers, timeout=LEFTOVER_SECONDS)
        for process in stubborn:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(stubborn, timeout=LEFTOVER_SECONDS)
        pid_file.unlink(missing_ok=True)

    def _leftovers(self) -> Iterator[psutil.Process]:
        """PostgreSQL's processes that work in our data folder."""
        import psutil

        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.name() == "postgres" and Path(process.cwd()) == self.data:
                    yield process

    def _launch(self, binaries: Path, account: Account | None) -> None:
        self._make_socket_folder(account)
        settings = SERVER_SETTINGS | {"unix_socket_directories": str(self._socket_folder)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        if self.log.exists() and self.log.stat().st_size > LARGEST_LOG_BYTES:
            self.log.replace(self.folder / "log.old")
        with self.log.open("ab") as log:
            log_start = log.tell()
            self.process = subprocess.Popen(
                tied(
                    [str(binaries / "postgres"), "-D", str(self.data), *options],
                    death_signal=signal.SIGINT,
                    run_as=account,
                ),
                env=_environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal is for the owner, who stops the database last.
                start_new_session=True,
            )
        self._wait_until_ready(self.process, log_start)

    def _wait_until_ready(self, process: subprocess.Popen[bytes], log_start: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.is_running:
            ended = process.poll() is not None
            if ended or time.monotonic() > deadline:
                with self.log.open("rb") as log:
                    log.seek(log_start)
                    output = log.read().decode(errors="replace")
                what = "did not start" if ended else f"was not ready within {START_SECONDS:.0f} s"
                raise EmbeddedPostgresError(
                    f"The embedded database {what}. The end of {self.log}:\n" + _last_lines(output) + self._disk_hint()
                )
            time.sleep(POLL_SECONDS)

    def _create_database(self) -> None:
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(f"CREATE DATABASE {DATABASE}")

    # Where it lives and whose it is

    def _account(self) -> Account | None:
        """PostgreSQL refuses to run as root; root runs it as the data's owner, at first `nobody`."""
        if os.geteuid() != 0:
            return None
        if self.data.exists() and self.data.stat().st_uid != 0:
            return Account(self.data.stat().st_uid, self.data.stat().st_gid)
        nobody = pwd.getpwnam("nobody")
        return Account(nobody.pw_uid, nobody.pw_gid)

    @property
    def _socket_folder(self) -> Path:
        """Beside the data, or a short name in /tmp where that is too long for a socket's address."""
        beside = self.folder / "socket"
        if len(os.fsencode(beside / f".s.PGSQL.{PORT}.lock")) <= LONGEST_SOCKET_PATH:
            return beside
        # Not tempfile.gettempdir(): another terminal's TMPDIR may differ, and it must find the same server.
        name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        return Path("/tmp") / f"commerce-{os.geteuid()}-{name}"

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EmbeddedPostgresError(f"Cannot make the database's folder: {error}") from error

    def _make_socket_folder(self, account: Account | None) -> None:
        folder = self._socket_folder
        owner = account.uid if account else os.geteuid()
        try:
            folder.mkdir(mode=0o700)
            if account:
                os.chown(folder, *account)
        except FileExistsError:
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
                raise EmbeddedPostgresError(
                    f"{folder} is not a private folder of the database's user. Remove it and try again."
                ) from None

    def _conninfo(self, database: str) -> str:
        return make_conninfo(
            host=str(self._socket_folder), port=PORT, user=SUPERUSER, dbname=database, connect_timeout=5
        )

    def _ping(self) -> Ping:
        return Ping(psycopg.pq.PGconn.ping(self._conninfo("postgres").encode()))

    def _disk_hint(self) -> str:
        free = shutil.disk_usage(self.folder).free
        return f"\nLittle space is left on the disk of {self.folder}: {free / 1e6:.0f} MB." if free < 100e6 else ""


def _environment() -> dict[str, str]:
    """Ours, without what would change the server's ways, and with messages in one language."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C"}


def _last_lines(text: str, count: int = 15) -> str:
    return "\n".join("  " + line for line in text.strip().splitlines()[-count:])
