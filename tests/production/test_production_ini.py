"""`production.ini`: what it needs from the environment is asked for all at once, and with that it is good."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from support.production import CONFIG, required

from commerce_core.cli.main import main


def check(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(main, ["settings", "check", str(CONFIG)])
    return done.exit_code, done.output


def test_what_it_needs_is_said_all_at_once_that_of_plugins_too(monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = check({}, monkeypatch)
    assert code == 1
    for key in ("sqlalchemy.url", "mail.host", "stripe.secret_key", "realtime.secret"):
        assert key in said


def test_with_what_its_first_lines_ask_for_it_is_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = required("postgresql://shop:pw@db.internal/shop?sslmode=verify-full")
    asked_for = CONFIG.read_text().partition("# Advised:")[0]
    assert {name for name in given if name not in asked_for} == set()
    secret = tmp_path / "realtime"
    secret.write_text(given.pop("COMMERCE_REALTIME__SECRET") + "\n")
    given["COMMERCE_REALTIME__SECRET_FILE"] = str(secret)
    code, said = check(given, monkeypatch)
    assert (code, said.strip()) == (0, f"The settings of {CONFIG} are good.")


def test_placeholders_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    given = required("postgresql://db.internal/shop") | {"COMMERCE_REALTIME__SECRET": "development-realtime-secret"}
    code, said = check(given, monkeypatch)
    assert code == 1
    assert "realtime.secret: is a placeholder or too short" in said
