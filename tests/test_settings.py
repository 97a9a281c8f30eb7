"""Settings: typed, strict, and every problem at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from commerce_core.settings import SettingsError, load_settings, parse_settings

GOOD = {"sqlalchemy.url": "postgresql://db/shop", "commerce.environment": "development"}


def test_settings_are_typed_and_have_defaults() -> None:
    settings = parse_settings({**GOOD, "stock.hold_seconds": "60", "stock.hot_mode": "false"}, environ={})
    assert (settings.stock.hold_seconds, settings.stock.hot_mode, settings.stock.max_extensions) == (60, False, 3)


def test_the_environment_wins() -> None:
    settings = parse_settings(
        {**GOOD, "stock.hold_seconds": "60"}, environ={"COMMERCE_STOCK__HOLD_SECONDS": "90", "COMMERCE_CONFIG": "x"}
    )
    assert settings.stock.hold_seconds == 90


def test_every_problem_is_reported_at_once_with_suggestions() -> None:
    with pytest.raises(SettingsError) as caught:
        parse_settings(
            {
                "stock.hold_second": "60",
                "stok.hold_seconds": "60",
                "stock.max_extensions": "many",
                "orders.payment_seconds": "0",
                "limits.login": "ten",
                "nonsense": "1",
            },
            environ={},
        )
    assert caught.value.problems == [
        "limits.login: write it as 10/minute; 50/hour, or off",
        "mail.transport: console is for development; use smtp",
        "nonsense: unknown setting",
        "orders.payment_seconds: input should be greater than or equal to 1",
        "sqlalchemy.url: is required",
        "stock.hold_second: unknown setting, did you mean stock.hold_seconds?",
        "stock.max_extensions: input should be a valid integer, unable to parse string as an integer",
        "stok.hold_seconds: unknown setting, did you mean stock.hold_seconds?",
    ]


def test_a_secret_may_come_from_a_file_and_is_never_shown(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cr3t-s3cr3t-s3cr3t\n")
    settings = parse_settings({**GOOD, "payments.manual_webhook_secret_file": str(secret)}, environ={})
    value = settings.payments.manual_webhook_secret
    assert value is not None
    assert value.get_secret_value() == "s3cr3t-s3cr3t-s3cr3t"
    assert "s3cr3t" not in repr(settings)


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        parse_settings({**GOOD, "payments.manual_webhook_secret_file": str(tmp_path / "missing")}, environ={})


@pytest.mark.parametrize("secret", ["changeme-changeme-changeme", "development-webhook-secret", "short"])
def test_production_refuses_placeholder_secrets(secret: str) -> None:
    production = {**GOOD, "commerce.environment": "production", "payments.manual_webhook_secret": secret}
    with pytest.raises(SettingsError, match=r"payments\.manual_webhook_secret"):
        parse_settings(production, environ={})


def test_the_ini_file_of_developers_is_good() -> None:
    settings = load_settings(Path(__file__).parents[1] / "development.ini", environ={})
    assert settings.sqlalchemy.url.startswith("embedded:///")
    assert (settings.stock.hold_seconds, settings.commerce.environment) == (120, "development")


def test_a_missing_ini_file_is_said() -> None:
    with pytest.raises(SettingsError, match="no such file"):
        load_settings("nowhere.ini")
