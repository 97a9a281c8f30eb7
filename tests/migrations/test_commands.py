"""`commerce db` and `commerce plugins purge`, on what plugins have left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text

from commerce_core import migrations
from commerce_core.cli import main
from tests.migrations.packages import Packages

Run = Callable[..., Result]


@pytest.fixture
def run(own_database_url: str, tmp_path: Path) -> Run:
    """`run("db", "status")`: the command, on the .ini file of this test's shop."""
    ini = tmp_path / "shop.ini"
    lines = ["[app:main]", "use = egg:commerce-core", "commerce.environment = development", "log.level = error"]
    ini.write_text("\n".join([*lines, f"sqlalchemy.url = {own_database_url.replace('%', '%%')}", ""]))
    environment = {"COMMERCE_CONFIG": str(ini), "COLUMNS": "200"}
    return lambda *arguments, **more: CliRunner(env=environment).invoke(main, arguments, **more)


def test_plugins_that_are_gone_are_listed_and_purged(run: Run, packages: Packages, engine: Engine) -> None:
    migrations.upgrade(engine, [packages.loyalty(), packages.giftcards()])
    [line] = [line for line in run("db", "status").output.splitlines() if "loyalty" in line]
    assert [cell.strip() for cell in line.split("│")[1:-1]] == ["loyalty", "ORPHAN", "0001", "", "1", "0"]
    check = run("db", "check")
    assert check.exit_code == 0
    assert "not enabled: giftcards, loyalty" in check.output

    asked = run("plugins", "purge", "loyalty", input="n\n")
    assert asked.exit_code == 1
    assert "loyalty_entry (0 rows)" in asked.output
    assert "not enabled: giftcards, loyalty" in run("db", "check").output

    assert "Nothing of loyalty is left" in run("plugins", "purge", "loyalty", "--yes").output
    assert "not enabled: giftcards.\n" in run("db", "check").output
    refused = run("plugins", "purge", "orders", "--yes")
    assert (refused.exit_code, refused.output) == (1, "Error: orders is a name of the core's.\n")


def test_enabled_plugins_are_upgraded_and_purged_with_their_code(
    run: Run, packages: Packages, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners = (packages.loyalty(), packages.giftcards(requires={"loyalty": "0001"}))
    monkeypatch.setattr("commerce_core.plugins.loading.owners_declared", lambda _settings: owners)
    head = migrations.head_revision()

    pending = run("db", "check")
    assert pending.exit_code == 1
    assert "loyalty is missing and needs 0001, giftcards is missing and needs 0001" in pending.output
    upgraded = run("db", "upgrade").output
    assert upgraded.splitlines()[-1] == f"The database is at core {head}, loyalty 0001, giftcards 0001."
    assert run("db", "upgrade").output.endswith("giftcards 0001 already.\n")

    written = run("db", "revision", "--owner", "loyalty", "-m", "more", "--empty")
    assert str(owners[0].folder / "0002_more.py") in written.output
    assert "loyalty, giftcards" in run("db", "revision", "--owner", "search", "-m", "more").output

    assert "giftcards needs loyalty" in run("plugins", "purge", "loyalty", "--yes").output
    purged = run("plugins", "purge", "giftcards", "--yes").output
    assert "giftcards 0001: taking it back" in purged
    assert "DROP TYPE IF EXISTS giftcards_state" in purged
    assert "Take it out of commerce.plugins" in purged


def test_a_database_that_does_not_answer_yet_is_waited_for(
    run: Run, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it does not exist yet; to whoever asks, that is the same."""
    name = f"{engine.url.database}_later"
    url = engine.url.set(database=name, drivername="postgresql").render_as_string(hide_password=False)
    monkeypatch.setenv("COMMERCE_SQLALCHEMY__URL", url)
    assert run("db", "upgrade").exit_code == 1

    def create(_seconds: float) -> None:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))

    monkeypatch.setattr("commerce_core.cli.db.time.sleep", create)
    try:
        done = run("db", "upgrade", "--wait", "60")
        assert done.exit_code == 0
        assert done.output.count("The database does not answer yet: ") == 1
        assert f"The database is at core {migrations.head_revision()}.\n" in done.output
    finally:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
