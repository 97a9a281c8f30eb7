"""Every core setting, typed, from the .ini file and the environment.

A dotted key `stock.hold_seconds` in `[app:main]` is the field `hold_seconds` of the section `stock`; the environment
variable `COMMERCE_STOCK__HOLD_SECONDS` wins over it. `<key>_file` reads the value (a secret, say) from a file. All
problems are reported at once, in one `SettingsError`.
"""

from __future__ import annotations

import difflib
import os
import re
import string
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import plaster
from limits import parse_many
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    PlainValidator,
    SecretStr,
    ValidationError,
    model_validator,
)

from commerce_core.price_tables import Amounts, TaxRates, parse_amounts, parse_tax_rates

ENVIRONMENT_PREFIX = "COMMERCE_"
# Keys of Pyramid and its add-ons, which read them themselves.
FOREIGN_SECTIONS = frozenset({"pyramid", "tm", "retry", "debugtoolbar"})
# Secrets that somebody else has chosen, so that we cannot ask for better ones.
GIVEN_SECRETS = frozenset({"mail.password", "cdn.cloudflare_token"})
PLACEHOLDERS = ("development", "changeme", "change-me", "example", "placeholder", "secret", "xxx")


class SettingsError(Exception):
    """The settings cannot be used. `problems` holds one readable line for each thing to mend."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("The settings have problems:\n" + "\n".join(f"  - {problem}" for problem in problems))


class Section(BaseModel):
    """A group of settings with a common prefix. Frozen; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _has_token(link: str) -> str:
    if "{token}" not in link:
        raise ValueError("must say where the code goes: {token}")
    return link


LinkWithToken = Annotated[str, AfterValidator(_has_token)]


def _words(value: Any) -> Any:
    """A list is written with commas or blanks between its words."""
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _origin(value: str) -> str:
    if value != "*" and not re.fullmatch(r"https?://[a-z0-9.\-\[\]:]+", value):
        raise ValueError(f"{value!r} is no origin; write it as https://shop.example, in lower case and without a path")
    return value


def _rates(value: str) -> str:
    if value and value != "off":
        try:
            parse_many(value)
        except ValueError:
            raise ValueError("write it as 10/minute; 50/hour, or off") from None
    return value


Networks = Annotated[tuple[IPvAnyNetwork, ...], BeforeValidator(_words)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(_words)]
Rates = Annotated[str, AfterValidator(_rates)]
AmountsByCurrency = Annotated[Amounts, PlainValidator(parse_amounts)]
TaxTable = Annotated[TaxRates, PlainValidator(parse_tax_rates)]


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


class CartSettings(Section):
    """`carts.*`: how much a cart takes, how long it lasts, and whether it keeps stock. See docs/carts.md."""

    days: int = Field(default=30, ge=1, le=3_650)
    keep_days: int = Field(default=90, ge=1, le=3_650)
    max_lines: int = Field(default=100, ge=1, le=1_000)
    max_quantity_per_line: int = Field(default=1_000, ge=1, le=1_000_000)
    reserve_on_add: bool = False
    hold_seconds: int = Field(default=900, ge=1, le=86_400)


class OrderSettings(Section):
    """`orders.*`."""

    payment_seconds: int = Field(default=1_800, ge=1)
    require_customer: bool = False


class ShippingSettings(Section):
    """`shipping.*`: one flat price for a delivery, by currency, and from which goods total on it is free."""

    flat: AmountsByCurrency = Amounts()
    free_from: AmountsByCurrency = Amounts()


class TaxSettings(Section):
    """`tax.*`: the tax table, and how tax is rounded. See docs/pricing.md."""

    rates: TaxTable = TaxRates()
    prices_include_tax: bool = False
    rounding: Literal["line", "order"] = "line"
    round_half: Literal["up", "even"] = "up"
    shipping_class: str = Field(default="standard", min_length=1, max_length=50)
    # Where a basket goes that does not say where.
    default_country: str | None = Field(default=None, pattern=r"^[A-Z]{2}$")
    default_region: str | None = Field(default=None, max_length=20)

    @model_validator(mode="after")
    def _region_has_a_country(self) -> Self:
        if self.default_region is not None and self.default_country is None:
            raise ValueError("tax.default_region needs tax.default_country")
        return self


class PaymentSettings(Section):
    """`payments.*`: the built-in manual provider."""

    manual_webhook_secret: SecretStr | None = None


class AccountSettings(Section):
    """`accounts.*`: passwords, tokens, and the codes that are sent by mail. See docs/accounts.md."""

    token_days: int = Field(default=90, ge=1, le=3_650)
    registration_hours: int = Field(default=24, ge=1, le=720)
    reset_minutes: int = Field(default=60, ge=1, le=10_080)
    invitation_hours: int = Field(default=72, ge=1, le=720)
    # argon2id; the least that OWASP advises.
    password_memory_kib: int = Field(default=19_456, ge=8, le=4_194_304)
    password_passes: int = Field(default=2, ge=1, le=100)
    password_lanes: int = Field(default=1, ge=1, le=16)
    hash_concurrency: int = Field(default=2, ge=1, le=64)
    hash_wait_seconds: float = Field(default=5.0, gt=0)
    # Where the shop's front end takes a code: https://shop.example/confirm#{token}. Without, mails show the bare code.
    registration_url: LinkWithToken | None = None
    reset_url: LinkWithToken | None = None
    email_url: LinkWithToken | None = None


class MailSettings(Section):
    """`mail.*`: how mail leaves the shop."""

    transport: Literal["console", "smtp"] = "console"
    sender: str = Field(default="shop@localhost", pattern=r"^[^@\s]+@[^@\s]+$")
    shop_name: str = Field(default="Shop", min_length=1, max_length=100)
    templates: str | None = None
    host: str | None = None
    port: int = Field(default=587, ge=1, le=65_535)
    security: Literal["none", "starttls", "tls"] = "starttls"
    username: str | None = None
    password: SecretStr | None = None
    timeout_seconds: float = Field(default=10.0, gt=0, le=60)
    keep_days: int = Field(default=30, ge=1)

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        for key in ("host", "sender"):
            if self.transport == "smtp" and key not in self.model_fields_set:
                raise ValueError(f"mail.{key} is required with mail.transport = smtp")
        if self.templates is not None and not Path(self.templates).is_dir():
            raise ValueError(f"mail.templates: there is no folder {self.templates}")
        return self


class ApiSettings(Section):
    """`api.*`: how every JSON endpoint behaves."""

    max_body_bytes: int = Field(default=1_048_576, ge=1_024)
    idempotency_hours: int = Field(default=24, ge=1)
    trusted_proxies: Networks = ()
    allowed_origins: Origins = ()


with warnings.catch_warnings():
    # Any class has a `register` for abstract base classes, which nobody needs here.
    warnings.filterwarnings("ignore", "Field name .register. .* shadows an attribute", UserWarning)

    class LimitSettings(Section):
        """`limits.*`: how often one client may ask, by what it asks for. `off`: as often as it likes."""

        exempt: Networks = ()
        default: Rates = "600/minute"
        failed_authentication: Rates = "60/minute"
        login: Rates = "10/minute; 50/hour"
        login_account: Rates = "10 per 15 minutes; 30/hour"
        register: Rates = "5/minute; 20/hour"
        password_reset: Rates = "5/minute; 20/hour"
        webhook: Rates = "1200/minute"
        hold: Rates = "120/minute"
        lookup: Rates = "10/minute; 60/hour"
        coupon: Rates = "20/minute; 100/hour"


class RedisSettings(Section):
    """`redis.*`: where processes share what need not outlive them. Without a URL each keeps it to itself."""

    url: str | None = None
    connect_timeout_ms: int = Field(default=200, ge=1)
    timeout_ms: int = Field(default=200, ge=1)


class CacheSettings(Section):
    """`cache.*`: what is kept of the catalogue's answers, and what browsers and CDNs may keep. See docs/caching.md."""

    enabled: bool = True
    local_entries: int = Field(default=5_000, ge=0, le=1_000_000)
    local_mb: int = Field(default=64, ge=0, le=65_536)
    local_seconds: float = Field(default=10.0, ge=0, le=3_600)
    redis_seconds: float = Field(default=60.0, ge=0, le=86_400)
    stale_seconds: float = Field(default=5.0, ge=0, le=60)
    delay_ms: int = Field(default=100, ge=0, le=500)
    max_age: int = Field(default=30, ge=0, le=86_400)
    s_maxage: int = Field(default=30, ge=0, le=86_400)
    stale_while_revalidate: int = Field(default=30, ge=0, le=86_400)


class CdnSettings(Section):
    """`cdn.*`: the CDN in front of the shop, if there is one. See docs/caching.md."""

    base_url: str | None = Field(default=None, pattern=r"^https?://[^\s?#]+$")
    image_template: str | None = None
    image_widths: Annotated[tuple[Annotated[int, Field(ge=1, le=4_000)], ...], BeforeValidator(_words)] = (
        400,
        800,
        1600,
    )
    cloudflare_zone: str | None = Field(default=None, pattern=r"^[0-9a-zA-Z]+$")
    cloudflare_token: SecretStr | None = None
    cloudflare_url: str = Field(default="https://api.cloudflare.com/client/v4", pattern=r"^https?://[^\s?#]+$")

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.cloudflare_zone is not None and self.cloudflare_token is None:
            raise ValueError("cdn.cloudflare_zone needs cdn.cloudflare_token")
        if self.image_template is not None:
            names = {name for _, name, _, _ in string.Formatter().parse(self.image_template) if name is not None}
            if not {"base", "path"} <= names <= {"base", "path", "width", "height", "format", "quality"}:
                raise ValueError(
                    "cdn.image_template needs {base} and {path}, and may take {width}, {height}, {format} and {quality}"
                )
            if self.base_url is None:
                raise ValueError("cdn.image_template needs cdn.base_url")
        return self


class ImportSettings(Section):
    """`imports.*`: files of products and stock. See docs/imports.md."""

    max_bytes: int = Field(default=256 * 1_048_576, ge=1_024)
    max_reported: int = Field(default=100, ge=1, le=10_000)


class SchedulerSettings(Section):
    """`scheduler.*`: how often lapsed holds and unpaid orders are swept."""

    interval_seconds: float = Field(default=0.5, gt=0)


class JobSettings(Section):
    """`jobs.*`: workers, and how long finished jobs are kept."""

    workers: int = Field(default=2, ge=1, le=64)
    max_jobs: int = Field(default=5_000, ge=0, description="A worker process is replaced after so many; 0: never.")
    max_memory_mb: int = Field(default=512, ge=0)
    stop_seconds: float = Field(default=15.0, gt=0)
    keep_done_hours: int = Field(default=72, ge=1)


class MetricsSettings(Section):
    """`metrics.*`: who may read the metrics, and where workers show theirs. See docs/operations.md."""

    allowed: Networks = ()
    token: SecretStr | None = None
    worker_host: str = "127.0.0.1"
    worker_port: int | None = Field(default=None, ge=1, le=65_535)


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
    carts: CartSettings = CartSettings()
    orders: OrderSettings = OrderSettings()
    shipping: ShippingSettings = ShippingSettings()
    tax: TaxSettings = TaxSettings()
    payments: PaymentSettings = PaymentSettings()
    accounts: AccountSettings = AccountSettings()
    mail: MailSettings = MailSettings()
    api: ApiSettings = ApiSettings()
    limits: LimitSettings = LimitSettings()
    redis: RedisSettings = RedisSettings()
    cache: CacheSettings = CacheSettings()
    cdn: CdnSettings = CdnSettings()
    imports: ImportSettings = ImportSettings()
    jobs: JobSettings = JobSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    metrics: MetricsSettings = MetricsSettings()
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
        problems += _placeholder_secrets(settings) + _mail_that_goes_nowhere(settings)
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
    message = detail["msg"].removeprefix("Value error, ")
    # Codes, such as USD, stay as they are.
    return f"{path}: {message if message[1:2].isupper() else message[0].lower() + message[1:]}"


def _placeholder_secrets(settings: CoreSettings) -> list[str]:
    """In production a secret may not be one of the words people leave in examples, nor short."""
    if settings.commerce.environment != "production":
        return []
    problems = []
    for section in CoreSettings.model_fields:
        for key, value in getattr(settings, section):
            if isinstance(value, SecretStr) and f"{section}.{key}" not in GIVEN_SECRETS:
                text = value.get_secret_value()
                if len(text) < 16 or any(word in text.lower() for word in PLACEHOLDERS):
                    problems.append(
                        f"{section}.{key}: is a placeholder or too short; use at least 16 random characters"
                    )
    return problems


def _mail_that_goes_nowhere(settings: CoreSettings) -> list[str]:
    """In production mail has to leave, and one-time codes must not stand in a log."""
    if settings.commerce.environment == "production" and settings.mail.transport == "console":
        return ["mail.transport: console is for development; use smtp"]
    return []
