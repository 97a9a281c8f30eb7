"""`realtime.*`: where the server listens, who may connect, and how much a client gets."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from commerce_core.plugin import Section
from commerce_realtime.apps import App, parse_apps

# A list is written with commas or blanks between its words.
Words = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: value.replace(",", " ").split() if isinstance(value, str) else value),
]


class Settings(Section):
    """Seconds, bytes and counts unless a name says otherwise. The README explains them."""

    # --- The shop's app: what clients and server libraries are configured with ---
    app_id: str = Field(default="1", pattern=r"^[0-9]+$", description="Server libraries accept digits only.")
    key: str = Field(default="shop", pattern=r"^[A-Za-z0-9_-]+$", description="Public: every browser has it.")
    secret: SecretStr = Field(description="Signs what private channels and the HTTP API are asked with.")
    apps: SecretStr | None = Field(default=None, description="More apps, one a line: id key secret.")

    # --- Where it listens, and where clients find it ---
    host: str = "127.0.0.1"
    port: int = Field(default=6001, ge=0, le=65_535)
    share_port: bool = Field(default=False, description="Let several processes listen on one port.")
    prefix: str = Field(default="", pattern=r"^(/[A-Za-z0-9_-]+)*$", description="In front of /app/ and /apps/.")
    certificate: str | None = Field(default=None, description="A PEM file with the certificate's chain: serve TLS.")
    certificate_key: str | None = Field(default=None, description="A PEM file with its private key.")
    public_host: str | None = Field(default=None, description="What browsers connect to; the page's own host if unset.")
    public_port: int | None = Field(default=None, ge=1, le=65_535, description="The port of realtime.port if unset.")
    public_tls: bool | None = Field(default=None, description="Whether browsers use wss; as it listens if unset.")
    event_loop: Literal["uvloop", "asyncio"] = "uvloop"

    # --- Who may connect ---
    allowed_origins: Words = Field(default=("*",), description="Hosts of web pages: shop.example *.shop.example")
    allow_no_origin: bool = Field(default=True, description="Let programs connect that send no Origin.")
    max_connections: int = Field(default=20_000, ge=1, description="For each process.")
    handshakes_per_second: int = Field(default=3_000, ge=0, description="A crowd is let in at this pace; 0: at once.")
    handshake_wait_seconds: float = Field(default=2.0, ge=0, description="The longest that one waits to be let in.")

    # --- What a client may do ---
    leave_seconds: float = Field(
        default=900.0, ge=0, description="Then leave for private channels is asked for anew; 0: never."
    )
    activity_timeout: int = Field(default=30, ge=1, le=3_600, description="When silent so long, a client asks.")
    ping_seconds: float = Field(default=60.0, gt=0, description="When silent so long, a client is asked.")
    pong_seconds: float = Field(default=30.0, gt=0, description="And closed if it then says nothing for so long.")
    open_seconds: float = Field(default=10.0, gt=0, description="From connecting to having asked for something.")
    max_message_bytes: int = Field(default=10_000, ge=128, le=1_000_000)
    max_channels: int = Field(default=100, ge=1, description="Subscriptions of one connection.")
    messages_per_second: int = Field(default=50, ge=0, description="Of one client, over ten seconds; 0: any number.")
    client_events: Literal["none", "members"] = "none"
    client_events_per_second: int = Field(default=10, ge=1)
    presence: bool = Field(default=False, description="Have presence-product.{id}, which counts who looks at it.")
    presence_grace_seconds: float = Field(default=3.0, ge=0, description="A member who is back so soon never left.")
    max_members: int = Field(default=1_000, ge=1, description="Of one presence channel.")

    # --- Clients that do not read ---
    max_buffered_bytes: int = Field(
        default=65_536, ge=4_096, description="Unsent, before the newest state is kept only."
    )
    max_waiting: int = Field(default=256, ge=1, description="Messages that are no state, while unsent ones wait.")
    slow_seconds: float = Field(default=30.0, gt=0, description="After so long a client that does not read is closed.")

    # --- Stock ---
    window_ms: int = Field(default=20, ge=0, le=10_000, description="Changes of one variant within it are told as one.")
    snapshot_levels: int = Field(default=500, ge=0, le=5_000, description="The most that `inventory` begins with.")
    check_seconds: float = Field(
        default=15.0, gt=0, description="How often what is shown is held against the database."
    )

    # --- The bus, and the end ---
    bus: str = Field(default="commerce_realtime", pattern=r"^[a-z][a-z0-9_]{0,50}$", description="Its channel's name.")
    lease_seconds: float = Field(default=15.0, gt=0, description="A process that is silent so long is gone.")
    bus_lost_seconds: float = Field(default=10.0, gt=0, description="Then /up says so.")
    drain_seconds: float = Field(default=10.0, ge=0, description="Over which clients are sent away at the end.")

    # --- The live product page ---
    page: bool | None = Field(default=None, description="Show the shop at /: in development, if unset.")

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if (self.certificate is None) != (self.certificate_key is None):
            raise ValueError("realtime.certificate and realtime.certificate_key come together")
        self.all_apps  # noqa: B018 (raises for a line that cannot be read)
        return self

    @property
    def all_apps(self) -> tuple[App, ...]:
        """The shop's app, which stock and orders are told in, and then the others."""
        shop = App(self.app_id, self.key, self.secret.get_secret_value())
        return (shop, *parse_apps(self.apps.get_secret_value() if self.apps else "", shop))
