"""Every core setting, typed, from the .ini file and the environment.

A dotted key `stock.hold_seconds` in `[app:main]` is the field `hold_seconds` of the section `stock`; the environment
variable `COMMERCE_STOCK__HOLD_SECONDS` wins over it. `<key>_file` reads the value (a secret, say) from a file. All
problems are reported at once, in one `SettingsError`.

A section that is called like an enabled plugin is that plugin's: here it is only kept, as text, so that commands which
repair a shop import no plugin. `commerce_core.plugins.settings` makes of it what the plugin declares.
"""

from __future__ import annotations

import difflib
import os
import re
import string
import warnings
from collections.abc import Collection, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

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
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)

from commerce_core.price_tables import Amounts, TaxRates, parse_amounts, parse_tax_rates

ENVIRONMENT_PREFIX = "COMMERCE_"
# Keys of Pyramid and its add-ons, which read them themselves.
FOREIGN_SECTIONS = frozenset({"pyramid", "tm", "retry", "debugtoolbar"})
# Under which installed distributions name their plugins.
PLUGINS = "commerce.plugins"
PLACEHOLDERS = ("development", "changeme", "change-me", "example", "placeholder", "secret", "xxx")


class SettingsError(Exception):
    """The settings cannot be used. `problems` holds one readable line for each thing to mend.

    `rest` is what can be understood of them, with defaults for the rest: good for looking what else is wrong.
    """

    def __init__(self, problems: list[str], rest: CoreSettings | None = None) -> None:
        self.problems = problems
        self.rest = rest
        super().__init__("The settings have problems:\n" + "\n".join(f"  - {problem}" for problem in problems))


class Section(BaseModel):
    """A group of settings with a common prefix. Frozen; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    # Secrets that somebody else has chosen, so that nobody can ask for better ones.
    given_secrets: ClassVar[frozenset[str]] = frozenset()


def _has_token(link: str) -> str:
    if "{token}" not in link:
        raise ValueError("must say where the code goes: {token}")
    return link


def _has_number(link: str) -> str:
    if "{number}" not in link:
        raise ValueError("must say where the order's number goes: {number}")
    return link


def _has_rule(link: str) -> str:
    if "{rule}" not in link or set(re.findall(r"{(.*?)}", link)) != {"rule"}:
        raise ValueError("must say where the rule's name goes: {rule}")
    return link


LinkWithToken = Annotated[str, AfterValidator(_has_token)]
LinkWithNumber = Annotated[str, AfterValidator(_has_number)]


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
Names = Annotated[tuple[str, ...], BeforeValidator(_words)]
TaxTable = Annotated[TaxRates, PlainValidator(parse_tax_rates)]


class CommerceSettings(Section):
    """`commerce.*`: what kind of deployment this is."""

    environment: Literal["development", "production"] = "production"
    # What is on, in the order in which it is asked.
    plugins: Names = ()
    # Those of them without which the shop may start, if they cannot be loaded.
    optional_plugins: Names = ()


class DatabaseSettings(Section):
    """`sqlalchemy.*`: the database and how patient we are with it. Time-outs in milliseconds unless named otherwise."""

    url: str
    # PostgreSQL itself, where `url` is a pooler that lends connections for a transaction (PgBouncer).
    direct_url: str | None = None
    # For what visitors read of the catalogue, and how far behind, in seconds, one may be.
    replica_urls: Names = ()
    replica_lag_seconds: float = Field(default=2.0, gt=0, le=60)
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
    signal_seconds: int = Field(default=10, ge=1, le=3_600)
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
    # Whether customers are written to about their orders, and where the shop's front end shows one: {number}.
    mails: bool = True
    url: LinkWithNumber | None = None


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

    given_secrets: ClassVar[frozenset[str]] = frozenset({"password"})
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
    # Per process. One more than there may be looks like an outage: let there be more than threads.
    max_connections: int = Field(default=1_000, ge=1)


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

    given_secrets: ClassVar[frozenset[str]] = frozenset({"cloudflare_token"})
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


class WebhookSettings(Section):
    """`webhooks.*`: what the shop tells integrators. See docs/webhooks.md."""

    allow_http: bool = False
    # Networks that endpoints may be in, though they are not public.
    allowed_networks: Networks = ()
    connect_timeout_seconds: float = Field(default=5.0, gt=0, le=10)
    read_timeout_seconds: float = Field(default=10.0, gt=0, le=20)
    disable_after_days: int = Field(default=5, ge=1, le=365)
    rotation_hours: int = Field(default=24, ge=1, le=720)
    # Longer than a delivery is tried.
    keep_days: int = Field(default=30, ge=4, le=3_650)


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
    # From how many milliseconds on a request, and an SQL statement, gets a line of its own; 0: never.
    slow_request_ms: int = Field(default=0, ge=0)
    slow_statement_ms: int = Field(default=0, ge=0)
    # How often a request may send one statement before that is told; 0: as often as it likes.
    repeated_statements: int = Field(default=0, ge=0)


class MonitorSettings(Section):
    """`monitor.*`: from when on somebody has to be told that something is wrong, and how. See docs/operations.md.

    At 0 a rule is off.
    """

    given_secrets: ClassVar[frozenset[str]] = frozenset({"slack_url", "pagerduty_key"})
    # How often workers check; 0: never.
    every_seconds: int = Field(default=60, ge=0, le=3_600)
    stock_verify_minutes: int = Field(default=60, ge=0, le=1_440)
    # An alert is over when so many checks in a row were good.
    good_checks: int = Field(default=2, ge=1, le=100)
    keep_days: int = Field(default=90, ge=1, le=3_650)
    # Over how many minutes requests are looked at, and of how few nothing can be said.
    window_minutes: int = Field(default=5, ge=1, le=60)
    least_requests: int = Field(default=50, ge=1)
    error_percent: float = Field(default=1.0, ge=0, le=100)
    p95_ms: float = Field(default=1_000.0, ge=0)
    queue_jobs: int = Field(default=10_000, ge=0)
    queue_wait_seconds: float = Field(default=60.0, ge=0)
    dead_jobs: int = Field(default=1, ge=0)
    webhook_seconds: float = Field(default=900.0, ge=0)
    delivery_seconds: float = Field(default=21_600.0, ge=0)
    stock_discrepancies: int = Field(default=1, ge=0)
    disk_percent: float = Field(default=90.0, ge=0, le=100)
    disks: Names = ("/",)
    memory_percent: float = Field(default=95.0, ge=0, le=100)
    certificate_days: float = Field(default=14.0, ge=0)
    # `host` or `host:port`; and whom to trust, where that is not who the system trusts.
    certificates: Names = ()
    certificate_authority: str | None = None
    slack_url: SecretStr | None = None
    pagerduty_key: SecretStr | None = None
    pagerduty_url: str = Field(default="https://events.pagerduty.com/v2/enqueue", pattern=r"^https?://[^\s?#]+$")
    mail_to: Annotated[tuple[Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")], ...], BeforeValidator(_words)] = ()
    runbooks: Annotated[str, AfterValidator(_has_rule)] = "docs/runbooks.md#{rule}"

    @model_validator(mode="after")
    def _slack_is_an_address(self) -> Self:
        if self.slack_url is not None and not re.match(r"https?://\S+$", self.slack_url.get_secret_value()):
            raise ValueError("monitor.slack_url: write the whole address, with https://")
        if self.certificate_authority is not None and not Path(self.certificate_authority).is_file():
            raise ValueError(f"monitor.certificate_authority: there is no file {self.certificate_authority}")
        return self


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
    webhooks: WebhookSettings = WebhookSettings()
    jobs: JobSettings = JobSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()
    monitor: MonitorSettings = MonitorSettings()

    _of_plugins: dict[str, dict[str, str]] = PrivateAttr(default_factory=dict)
    _ignored: tuple[str, ...] = ()
    _source: Path | None = None

    @property
    def of_plugins(self) -> Mapping[str, Mapping[str, str]]:
        """The settings of enabled plugins as they were given, by plugin and key."""
        return self._of_plugins

    @property
    def ignored(self) -> tuple[str, ...]:
        """Plugins that have settings, are installed, and are not enabled."""
        return self._ignored

    @property
    def source(self) -> Path | None:
        """The .ini file, if they are from one."""
        return self._source

    def without_plugins(self) -> CoreSettings:
        """The same shop as the core alone makes it: for commands that repair it."""
        return self.model_copy(update={"commerce": CommerceSettings(environment=self.commerce.environment)})


def load_settings(ini_path: str | Path, environ: Mapping[str, str] = os.environ) -> CoreSettings:
    """Read `[app:main]` of an .ini file. Raises SettingsError."""
    path = Path(ini_path)
    if not path.is_file():
        raise SettingsError([f"{path}: there is no such file"])
    loader = plaster.get_loader(str(path.resolve()), protocols=["wsgi"])
    return parse_settings({**loader.get_wsgi_app_settings("main"), "__file__": str(path)}, environ)


def parse_settings(raw: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> CoreSettings:
    """Turn dotted keys, overridden by the environment, into typed settings. Raises SettingsError with every problem."""
    given = {**raw, **_from_environment(environ)}
    enabled = set(_words(given.get("commerce.plugins", ""))) - CoreSettings.model_fields.keys()
    of_plugins: dict[str, dict[str, str]] = {}
    ignored: set[str] = set()
    problems: list[str] = []
    sections: dict[str, dict[str, Any]] = {}
    for dotted, value in given.items():
        section, _, key = dotted.partition(".")
        if section in FOREIGN_SECTIONS or dotted in {"here", "__file__"}:
            continue
        if section in enabled:
            of_plugins.setdefault(section, {})[key] = value
            continue
        problem = _unknown(section, key, enabled)
        if problem and key and is_installed(section):
            ignored.add(section)
            continue
        if problem:
            problems.append(f"{dotted}: {problem}")
            continue
        try:
            key, value = read_file(key, value, _fields(section))
        except OSError as error:
            problems.append(f"{dotted}: cannot read {value!r} ({error.strerror})")
            continue
        sections.setdefault(section, {})[key] = value
    try:
        settings = CoreSettings.model_validate(sections)
    except ValidationError as error:
        problems += [_describe(detail) for detail in error.errors()]
        broken = {str(detail["loc"][0]) for detail in error.errors()}
        sound = {section: values for section, values in sections.items() if section not in broken}
        settings = CoreSettings.model_validate({"sqlalchemy": {"url": "postgresql://unknown"}, **sound})
    problems += _placeholder_secrets(settings) + _mail_that_goes_nowhere(settings, problems)
    settings._of_plugins = of_plugins
    settings._ignored = tuple(sorted(ignored))
    settings._source = Path(raw["__file__"]) if raw.get("__file__") else None
    if problems:
        raise SettingsError(sorted(problems), settings)
    return settings


def is_installed(plugin: str) -> bool:
    """Whether there is a plugin of this name. Imports nothing of it."""
    return bool(entry_points(group=PLUGINS, name=plugin))


def read_file(key: str, value: Any, known: Collection[str]) -> tuple[str, Any]:
    """`<key>_file` is the key, and the value is what is in the file. Raises OSError."""
    if key.endswith("_file") and key not in known:
        return key.removesuffix("_file"), Path(value).read_text(encoding="utf-8").strip()
    return key, value


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


def _unknown(section: str, key: str, plugins: Collection[str]) -> str | None:
    if section in CoreSettings.model_fields:
        known = _fields(section)
        if key in known or (key.endswith("_file") and key.removesuffix("_file") in known):
            return None
        candidates = [f"{section}.{name}" for name in known]
    else:
        candidates = [f"{name}.{key}" for name in CoreSettings.model_fields if key in _fields(name)]
        candidates += [f"{name}.{field}" for name in CoreSettings.model_fields for field in _fields(name)]
        candidates += [f"{name}.{key}" for name in plugins]
    return "unknown setting" + did_you_mean(f"{section}.{key}", candidates)


def did_you_mean(word: str, candidates: Collection[str]) -> str:
    """`, did you mean that?`, or nothing if nothing is like it."""
    close = difflib.get_close_matches(word, candidates, n=1, cutoff=0.7)
    return f", did you mean {close[0]}?" if close else ""


def _describe(detail: Any) -> str:
    path = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing":
        return f"{path}: is required" if "." in path else f"{path}.url: is required"
    return f"{path}: {message_of(detail)}"


def message_of(detail: Any) -> str:
    """What pydantic says of a value, as the end of a sentence."""
    message: str = detail["msg"].removeprefix("Value error, ")
    # Codes, such as USD, stay as they are.
    return message if message[1:2].isupper() else message[0].lower() + message[1:]


def _placeholder_secrets(settings: CoreSettings) -> list[str]:
    if settings.commerce.environment != "production":
        return []
    return [
        f"{section}.{problem}"
        for section in CoreSettings.model_fields
        for problem in placeholder_secrets(getattr(settings, section))
    ]


def placeholder_secrets(section: Section) -> list[str]:
    """Secrets that are one of the words people leave in examples, or short: in production they may not."""
    problems = []
    for key, value in section:
        if isinstance(value, SecretStr) and key not in section.given_secrets:
            text = value.get_secret_value()
            if len(text) < 16 or any(word in text.lower() for word in PLACEHOLDERS):
                problems.append(f"{key}: is a placeholder or too short; use at least 16 random characters")
    return problems


def _mail_that_goes_nowhere(settings: CoreSettings, problems: list[str]) -> list[str]:
    """In production mail has to leave, and one-time codes must not stand in a log."""
    is_known = not any(problem.startswith("mail") for problem in problems)
    if is_known and settings.commerce.environment == "production" and settings.mail.transport == "console":
        return ["mail.transport: console is for development; use smtp"]
    return []
