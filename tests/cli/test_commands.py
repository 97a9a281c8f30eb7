"""The `commerce` commands, on a real database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import click
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session
from webtest import TestApp

from commerce_core.accounts.models import User
from commerce_core.cli import main
from commerce_core.testing import StoppedClock, assert_stock_adds_up

Run = Callable[..., Result]


@pytest.fixture
def run(engine: Engine, database_url: str, tmp_path: Path) -> Run:
    """`run("stock", "verify")`: the command, on the .ini file of this test's shop."""
    ini = tmp_path / "shop.ini"
    lines = ["[app:main]", "use = egg:commerce-core", "commerce.environment = development", "log.level = error"]
    ini.write_text("\n".join([*lines, f"sqlalchemy.url = {database_url.replace('%', '%%')}", ""]))
    return lambda *arguments: CliRunner().invoke(main, [*arguments, str(ini)], catch_exceptions=False)


def commands(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield from commands(command) if isinstance(command, click.Group) else [command]


def test_every_command_finds_its_configuration_in_the_same_places() -> None:
    for command in commands(main):
        for argument in command.params:
            if argument.name == "config":
                assert (argument.default, argument.envvar) == ("development.ini", "COMMERCE_CONFIG"), command.name


def test_stock_verify_says_that_all_is_well(run: Run, make_variant: Callable[..., UUID]) -> None:
    make_variant(stock=3)
    result = run("stock", "verify")
    assert result.exit_code == 0
    assert "adds up" in result.output


def test_stock_verify_names_what_does_not_add_up(run: Run, make_variant: Callable[..., UUID], engine: Engine) -> None:
    variant_id = make_variant(stock=3)
    with engine.begin() as connection:
        connection.execute(text("UPDATE stock_level SET on_hand = 4"))
    result = run("stock", "verify")
    assert result.exit_code == 1
    assert f"the counters differ from the ledger: {variant_id}" in result.output


def test_stock_sweep_counts_what_it_gave_back(
    run: Run, client: TestApp, make_variant: Callable[..., UUID], engine: Engine
) -> None:
    body = {"variant_id": str(make_variant()), "quantity": 1}
    client.post_json("/api/v1/holds", body)
    assert run("stock", "sweep").output == "0 lapsed holds were given back.\n"
    with engine.begin() as connection:
        connection.execute(text("UPDATE hold SET expires_at = now() - interval '1 second'"))
    assert run("stock", "sweep").output == "1 lapsed holds were given back.\n"
    assert_stock_adds_up(engine)


def test_the_database_is_upgraded_once_and_checked(run: Run) -> None:
    assert "already" in run("db", "upgrade").output
    assert run("db", "check").exit_code == 0


def test_an_admin_may_be_created_twice_and_each_token_works(run: Run, client: TestApp, engine: Engine) -> None:
    tokens = [run("user", "create-admin", "--email", email).stdout.strip() for email in ("a@b.co", "A@B.co")]
    assert len(set(tokens)) == 2
    for token in tokens:
        client.authorization = ("Bearer", token)
        client.get("/api/v1/admin/stock/low", status=200)
    with Session(engine) as session:
        assert [user.role for user in session.query(User)] == ["admin"]


def test_a_token_ends_by_expiry_by_revocation_and_with_its_user(
    client: TestApp, run: Run, engine: Engine, clock: StoppedClock
) -> None:
    client.authorization = ("Bearer", run("user", "create-admin", "--email", "a@b.co").stdout.strip())
    for change in (
        "UPDATE api_token SET revoked_at = now()",
        "UPDATE api_token SET expires_at = now() - interval '1 day'",
        "UPDATE users SET is_active = false",
    ):
        client.get("/api/v1/admin/stock/low", status=200)
        with engine.begin() as connection:
            connection.execute(text(change))
        client.get("/api/v1/admin/stock/low", status=401)
        with engine.begin() as connection:
            connection.execute(text("UPDATE api_token SET revoked_at = NULL, expires_at = NULL"))


def test_settings_are_shown_with_their_secrets_masked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMERCE_PAYMENTS__MANUAL_WEBHOOK_SECRET", "a very secret thing")
    output = run("settings", "show").output
    assert "stock.hold_seconds = 120" in output
    assert "payments.manual_webhook_secret = ********" in output
    assert "very secret" not in output


def test_problems_in_the_settings_are_all_told_without_a_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMERCE_STOCK__HOLD_SECOND", "1")
    monkeypatch.setenv("COMMERCE_API__MAX_BODY_BYTES", "lots")
    result = run("settings", "check")
    assert result.exit_code == 1
    assert "did you mean stock.hold_seconds?" in result.output
    assert "api.max_body_bytes" in result.output


def test_the_databases_password_is_masked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMERCE_SQLALCHEMY__URL", "postgresql://shop:hunter22@db.example/shop")
    output = run("settings", "show").output
    assert "sqlalchemy.url = postgresql://shop:********@db.example/shop" in output
    assert "hunter22" not in output
