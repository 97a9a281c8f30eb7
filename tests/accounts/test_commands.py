"""`commerce user create-admin` and `commerce mail last`."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text
from support.people import EMAIL, PASSWORD, log_in, post
from webtest import TestApp

from commerce_core.cli import main

Run = Callable[..., Result]


@pytest.fixture
def ini(engine: Engine, database_url: str, tmp_path: Path) -> Path:
    path = tmp_path / "shop.ini"
    lines = [
        "[app:main]",
        "use = egg:commerce-core",
        "commerce.environment = development",
        "log.level = error",
        "accounts.password_memory_kib = 1024",
        f"sqlalchemy.url = {database_url.replace('%', '%%')}",
    ]
    path.write_text("\n".join([*lines, ""]))
    return path


@pytest.fixture
def run(ini: Path) -> Run:
    def run(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(main, [*arguments, str(ini)], input=stdin, catch_exceptions=False)

    return run


@pytest.fixture
def create_admin(run: Run) -> Run:
    return lambda *arguments, **options: run("user", "create-admin", "--email", EMAIL, *arguments, **options)


def users(engine: Engine) -> list[tuple[str, str, bool]]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT email, role, is_active FROM users ORDER BY id"))
        return [(row.email, row.role, row.is_active) for row in rows]


def test_the_password_comes_from_a_file_or_standard_input(
    create_admin: Run, client: TestApp, tmp_path: Path, engine: Engine
) -> None:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    first = create_admin("--name", "Ada", "--password-file", str(file), "--no-token")
    assert (first.stdout, first.exit_code) == ("", 0)
    assert first.stderr == f"{EMAIL} is a new administrator, with the password that was given.\n"
    assert log_in(client).json["user"]["name"] == "Ada"
    second = create_admin("--password-stdin", "--no-token", stdin="another password\n")
    assert second.stderr == f"{EMAIL} was an administrator already, with the password that was given.\n"
    log_in(client, password="another password")
    assert users(engine) == [(EMAIL, "admin", True)]


def test_twice_makes_no_second_user_and_changes_nothing(create_admin: Run, client: TestApp, engine: Engine) -> None:
    first = create_admin("--password-stdin", stdin=PASSWORD)
    second = create_admin("--name", "Somebody Else", "--no-token")
    assert second.stderr == f"{EMAIL} was an administrator already.\n"
    assert users(engine) == [(EMAIL, "admin", True)]
    assert log_in(client).json["user"]["name"] == "Administrator"
    client.authorization = ("Bearer", first.stdout.strip())
    client.get("/api/v1/auth/me")


def test_a_password_can_be_made_up(create_admin: Run, client: TestApp) -> None:
    password, token = create_admin("--generate-password").stdout.splitlines()
    log_in(client, password=password.removeprefix("password: "))
    client.authorization = ("Bearer", token)
    assert client.get("/api/v1/auth/me").json["role"] == "admin"


def test_an_inactive_customer_becomes_an_active_administrator_and_it_is_said_and_audited(
    create_admin: Run, engine: Engine
) -> None:
    create_admin()
    with engine.begin() as connection:
        connection.execute(text("UPDATE users SET role = 'customer', is_active = false"))
    assert create_admin().stderr == f"{EMAIL} was an inactive customer, and is an administrator now.\n"
    assert users(engine) == [(EMAIL, "admin", True)]
    with engine.connect() as connection:
        entries = connection.execute(text("SELECT actor, action, before FROM audit_log ORDER BY id")).all()
    assert [tuple(entry) for entry in entries] == [
        ("command line", "user.create-admin", None),
        ("command line", "user.create-admin", {"role": "customer", "is_active": False}),
    ]


@pytest.mark.parametrize(
    ("arguments", "password", "said"),
    [
        (["--password-stdin"], "short", "at least 10 characters"),
        (["--password-stdin"], "password123", "tried first"),
        (["--password-stdin"], EMAIL, "must not be the e-mail address"),
        (["--password-stdin", "--generate-password"], PASSWORD, "in one way only"),
    ],
)
def test_what_cannot_be_taken_is_said_and_nobody_is_made(
    create_admin: Run, engine: Engine, arguments: list[str], password: str, said: str
) -> None:
    result = create_admin(*arguments, stdin=password)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert users(engine) == []


def test_an_address_that_is_none_is_refused(run: Run, engine: Engine) -> None:
    assert "is not an e-mail address" in run("user", "create-admin", "--email", "ada").stderr
    assert users(engine) == []


class Terminal:
    """A command at a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self.shown = ""
        self._ours, theirs = pty.openpty()
        command = [sys.executable, "-W", "ignore", "-m", "commerce_core.cli", *arguments]
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)

    def answer(self, prompt: str, answer: str) -> None:
        self.read_until(prompt)
        os.write(self._ours, f"{answer}\n".encode())

    def read_until(self, wanted: str | None) -> None:
        """Read until it is shown, or, with None, until the command has ended."""
        deadline = time.monotonic() + 120
        begin = len(self.shown)
        while wanted is None or wanted not in self.shown[begin:]:
            assert time.monotonic() < deadline, self.shown
            if select.select([self._ours], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self._ours, 4096).decode()
                except OSError:  # the other side is closed
                    assert wanted is None, self.shown
                    break
        if wanted is None:
            self.process.wait(120)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)


def test_at_a_terminal_it_asks_for_what_it_needs_and_hides_the_password(
    ini: Path, client: TestApp, engine: Engine
) -> None:
    for answers in ([("Email:", EMAIL), ("Password:", PASSWORD), ("confirmation:", PASSWORD)], [("Email:", EMAIL)]):
        terminal = Terminal("user", "create-admin", "--no-token", str(ini))
        try:
            for prompt, answer in answers:
                terminal.answer(prompt, answer)
            terminal.read_until(None)
        finally:
            terminal.close()
        assert terminal.process.returncode == 0, terminal.shown
        assert PASSWORD not in terminal.shown
        assert "administrator" in terminal.shown
    assert users(engine) == [(EMAIL, "admin", True)]
    log_in(client)


def test_the_last_mail_is_shown_to_developers(run: Run, client: TestApp) -> None:
    assert "no mail yet" in run("mail", "last").stderr
    for email in (EMAIL, "eve@example.com"):
        post(client, "register", 202, email=email, password=PASSWORD, name="Ada")
    shown = run("mail", "last", "--to", EMAIL).stdout
    assert shown.startswith(f"To: {EMAIL}\nSubject: Confirm your address for Shop\n\nSomebody")
    (code,) = [line.strip() for line in shown.splitlines() if line.startswith("    ")]
    post(client, "register/confirm", 201, token=code, password=PASSWORD, device_name="x")
    assert "eve@example.com" in run("mail", "last").stdout
    assert "no mail to bob@example.com" in run("mail", "last", "--to", "bob@example.com").stderr


def test_the_last_mail_is_shown_to_nobody_where_mail_is_real(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMERCE_MAIL__TRANSPORT", "smtp")
    monkeypatch.setenv("COMMERCE_MAIL__HOST", "mail.example")
    monkeypatch.setenv("COMMERCE_MAIL__SENDER", "shop@shop.example")
    result = run("mail", "last")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "for its readers alone" in result.stderr


def test_production_needs_a_mail_server(run: Run, monkeypatch: Any) -> None:
    monkeypatch.setenv("COMMERCE_COMMERCE__ENVIRONMENT", "production")
    assert "mail.transport: console is for development; use smtp" in run("settings", "check").stderr
    monkeypatch.setenv("COMMERCE_MAIL__TRANSPORT", "smtp")
    assert "mail.host is required" in run("settings", "check").stderr
    monkeypatch.setenv("COMMERCE_MAIL__HOST", "mail.example")
    assert "mail.sender is required" in run("settings", "check").stderr
    monkeypatch.setenv("COMMERCE_MAIL__SENDER", "shop@shop.example")
    # Somebody else has chosen it, so it may be short.
    monkeypatch.setenv("COMMERCE_MAIL__PASSWORD", "given")
    assert run("settings", "check").exit_code == 0
