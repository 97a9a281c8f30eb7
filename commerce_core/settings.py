"""Every core setting, typed, from the .ini file and the environment.

A dotted key `stock.hold_seconds` in `[app:main]` is the field `hold_seconds` of the section `stock`; the environment
variable `COMMERCE_STOCK__HOLD_SECONDS` wins over it. `<key>_file` reads the value (a secret, say) from a file. All
problems are reported at once, in one `SettingsError`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import plaster
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

ENVIRONMENT_PREFIX = "COMMERCE_"
# Keys of Pyramid and its add-ons, which read them themselves.
FOREIGN_SECTIONS = frozenset({"pyramid", "tm", "retry", "debugtoolbar"})
PLACEHOLDERS = ("development", "changeme", "change-me", "example", "placeholder", "secret", "xxx")


class SettingsError(Exception):
    """The settings cannot be used. `problems` holds one readable line for each thing to mend."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("The settings have problems:\n" + "\n".join(f"  - {problem}" for problem in problems))


class Section(BaseModel):
    """A group of settings with a common prefix. Frozen; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class CommerceSettings(Section):
    """`commerce.*`: what kind of deployment this is."""

    environment: Literal["development", "production"] = "production"


class DatabaseSettings(Section):
    """`sqlalchemy.*`: the database and how patient we are with it. Time-outs in milliseconds unless named otherwise."""

    url: str
    pool_size: int = Field(default=6, ge=1, le=200)
    max_overflow: int = Field(default=0, ge=0, le=200)
    pool_timeout_seconds: float = Field(default=5.0, gt=0)
    connect_timeout_seconds: int = Field(default=5, ge=1)
    statement_timeout_ms: int = Field(default=10_000, ge=1)
    lock_timeout_ms: int = Field(default=3_000, ge=1)
    idle_in_transaction_timeout_ms: int = Field(default=30_000, ge=1)


class StockSettings(Section):
    """`stock.*`: holds and how they are taken. See docs/stock.md."""

    hold_seconds: int = Field(default=120, ge=1, le=86_400)
    max_extensions: int = Field(default=3, ge=0)
    max_hold_quantity: int = Field(default=10_000, ge=1, le=1_000_000)
    hot_mode: bool = True
    hot_connections: int = Field(default=4, ge=1, le=50)
    hot_batch: int = Field(default=64, ge=1, le=1_000)
    hot_wait_seconds: float = Field(default=5.0, gt=0)
    sold_out_memory_ms: int = Field(default=50, ge=0, le=60_000)
    statement_timeout_ms: int = Field(default=2_000, ge=1)
    lock_timeout_ms: int = Field(default=1_000, ge=1)


class OrderSettings(Section):
    """`orders.*`."""

    payment_seconds: int = Field(default=1_800, ge=1)
    require_customer: bool = False


class PaymentSettings(Section):
    """`payments.*`: the built-in manual provider."""

    manual_webhook_secret: SecretStr | None = None


class ApiSettings(Section):
    """`api.*`: how every JSON endpoint behaves."""

    max_body_bytes: int = Field(default=1_048_576, ge=1_024)
    idempotency_hours: int = Field(default=24, ge=1)


class SchedulerSettings(Section):
    """`scheduler.*`: how often lapsed holds and unpaid orders are swept."""

    interval_seconds: float = Field(default=2.0, gt=0)


class LogSettings(Section):
    """`log.*`: JSON lines for machines, or readable ones for a terminal."""

    format: Literal["json", "console"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"
    requests: bool = True


class CoreSettings(Section):
    """Every setting of the core, by section."""

    commerce: CommerceSettings = CommerceSettings()
    sqlalchemy: DatabaseSettings
    stock: StockSettings = StockSettings()
    orders: OrderSettings = OrderSettings()
    payments: PaymentSettings = PaymentSettings()
    api: ApiSettings = ApiSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    log: LogSettings = LogSettings()


def load_settings(ini_path: str | Path, environ: Mapping[str, str] = os.environ) -> CoreSettings:
    """Read `[app:main]` of an .ini file. Raises SettingsError."""
    path = Path(ini_path)
    if not path.is_file():
        raise SettingsError([f"{path}: there is no such file"])
    loader = plaster.get_loader(str(path.resolve()), protocols=["wsgi"])
    return parse_settings(loader.get_wsgi_app_settings("main"), environ)


def parse_settings(raw: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> CoreSettings:
    """Turn dotted keys, overridden by the environment, into typed settings. Raises SettingsError with every problem."""
    problems: list[str] = []
    sections: dict[str, dict[str, Any]] = {}
    for dotted, value in {**raw, **_from_environment(environ)}.items():
        section, _, key = dotted.partition(".")
        if section in FOREIGN_SECTIONS or dotted in {"here", "__file__"}:
            continue
        problem = _unknown(section, key)
        if problem:
            problems.append(f"{dotted}: {problem}")
            continue
        if key.endswith("_file") and key not in _fields(section):
            key = key.removesuffix("_file")
            try:
                value = Path(value).read_text(encoding="utf-8").strip()
            except OSError as error:
                problems.append(f"{dotted}: cannot read {value!r} ({error.strerror})")
                continue
        sections.setdefault(section, {})[key] = value
    try:
        settings = CoreSettings.model_validate(sections)
    except ValidationError as error:
        problems += [_describe(detail) for detail in error.errors()]
    else:
        problems += _placeholder_secrets(settings)
        if not problems:
            return settings
    raise SettingsError(sorted(problems))


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """`COMMERCE_STOCK__HOLD_SECONDS=60` is `stock.hold_seconds = 60`; names without `__` are not settings."""
    return {
        name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".", 1): value
        for name, value in environ.items()
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name
    }


def _fields(section: str) -> list[str]:
    annotation = CoreSettings.model_fields[section].annotation
    assert annotation is not None
    return list(annotation.model_fields)


def _unknown(section: str, key: str) -> str | None:
    if section in CoreSettings.model_fields:
        known = _fields(section)
        if key in known or (key.endswith("_file") and key.removesuffix("_file") in known):
            return None
        candidates = {f"{section}.{name}": name for name in known}
    else:
        candidates = {f"{name}.{key}": key for name in CoreSettings.model_fields if key in _fields(name)}
        candidates |= {f"{name}.{field}": field for name in CoreSettings.model_fields for field in _fields(name)}
    close = difflib.get_close_matches(f"{section}.{key}", candidates, n=1, cutoff=0.7)
    return f"unknown setting, did you mean {close[0]}?" if close else "unknown setting"


def _describe(detail: Any) -> str:
    path = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing":
        return f"{path}: is required" if "." in path else f"{path}.url: is required"
    return f"{path}: {detail['msg'][0].lower()}{detail['msg'][1:]}"


def _placeholder_secrets(settings: CoreSettings) -> list[str]:
    """In production a secret may not be one of the words people leave in examples, nor short."""
    if settings.commerce.environment != "production":
        return []
    problems = []
    for section in CoreSettings.model_fields:
        for key, value in getattr(settings, section):
            if isinstance(value, SecretStr):
                text = value.get_secret_value()
                if len(text) < 16 or any(word in text.lower() for word in PLACEHOLDERS):
                    problems.append(
                        f"{section}.{key}: is a placeholder or too short; use at least 16 random characters"
                    )
    return problems
