"""Every setting of the plugin: `stripe.*`."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from commerce_core.plugin import Section

API_VERSION = "2026-10-28.endive"
"""The version of Stripe's API that this code was written against."""
_KEY = re.compile(r"(?P<kind>sk|rk|pk)_(?P<mode>live|test)_\S+")


def _several(value: Any) -> Any:
    """Several are written with commas or blanks between them."""
    return value.replace(",", " ").split() if isinstance(value, str) else value


Secrets = Annotated[tuple[SecretStr, ...], BeforeValidator(_several)]
Attempts = Annotated[tuple[int, ...], BeforeValidator(_several)]
Words = Annotated[tuple[Literal["switch", "cancel", "keep", "pause", "resume", "pay"], ...], BeforeValidator(_several)]


class Settings(Section):
    """`stripe.*`. Without any key, a shop in development runs on the fake Stripe of `testing/`: `is_demo`."""

    # Stripe chooses its keys; nobody can ask for better ones. `_keys_fit` looks at them.
    given_secrets: ClassVar[frozenset[str]] = frozenset({"secret_key", "webhook_secrets", "thin_webhook_secrets"})

    secret_key: SecretStr | None = Field(default=None, description="sk_... or, better, a restricted rk_...")
    publishable_key: str | None = Field(default=None, description="pk_..., which the client is given.")
    mode: Literal["test", "live"] = Field(default="test", description="Which of Stripe's two worlds this shop is in.")
    account: str | None = Field(default=None, description="acct_... of a connected account that this shop acts for.")
    webhook_secrets: Secrets = Field(default=(), description="whsec_..., several while one is rolled.")
    thin_webhook_secrets: Secrets = Field(default=(), description="The same, of thin event destinations.")
    webhook_max_bytes: int = Field(default=1_048_576, ge=1_024, description="A larger event is refused unread.")
    api_version: str = Field(default=API_VERSION, description="Pinned; change it with the plugin.")
    api_base: str | None = Field(default=None, description="Where the API is, if it is not Stripe's.")
    connect_timeout_seconds: float = Field(default=3.05, gt=0)
    read_timeout_seconds: float = Field(default=20.0, gt=0, le=60)
    max_network_retries: int = Field(default=2, ge=0, le=5, description="The SDK's own default is none.")
    capture: Literal["automatic", "manual"] = Field(default="automatic", description="Manual: staff take the money.")
    statement_descriptor_suffix: str | None = Field(default=None, max_length=22)
    return_url: str | None = Field(default=None, description="Where customers come back to, with {number} in it.")
    processing_days: int = Field(default=14, ge=1, le=60, description="How long a slow payment keeps its order open.")
    dunning_mails: Attempts = Field(default=(1, 2, 3), description="The failed tries of a renewal that are told.")
    dunning_suspend_at: int = Field(default=4, ge=1, description="The try at which a subscription is suspended.")
    late_invoices: Literal["refund", "keep"] = Field(
        default="refund", description="What is paid after a subscription has ended goes back, or waits for the staff."
    )
    trial_without_method: Literal["cancel", "pause", "create_invoice"] = Field(
        default="cancel", description="What becomes of a trial when it ends and there is nothing to pay with."
    )
    customer_changes: Words = Field(
        default=("switch", "cancel", "keep", "pause", "resume", "pay"),
        description="What customers may do with their own subscriptions.",
    )
    keep_events_days: int = Field(default=30, ge=1, description="How long processed events are kept.")

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        for name, key, kinds in (
            ("secret_key", None if self.secret_key is None else self.secret_key.get_secret_value(), ("sk", "rk")),
            ("publishable_key", self.publishable_key, ("pk",)),
        ):
            if key is None:
                continue
            found = _KEY.fullmatch(key)
            if found is None or found["kind"] not in kinds:
                raise ValueError(f"{name} should begin with {' or '.join(f'{kind}_{self.mode}_' for kind in kinds)}")
            if found["mode"] != self.mode:
                raise ValueError(f"{name} is a {found['mode']} key, but stripe.mode is {self.mode}")
        if (self.secret_key is None) is not (self.publishable_key is None):
            raise ValueError("secret_key and publishable_key go together: give both, or neither for the demo")
        for name, secrets in (
            ("webhook_secrets", self.webhook_secrets),
            ("thin_webhook_secrets", self.thin_webhook_secrets),
        ):
            if any(not secret.get_secret_value().startswith("whsec_") for secret in secrets):
                raise ValueError(f"{name} should begin with whsec_")
        if self.secret_key is not None and not self.webhook_secrets:
            raise ValueError("webhook_secrets is needed with keys: without it no payment would ever be noticed")
        if self.mode == "live" and self.secret_key is None:
            raise ValueError("mode is live, but there is no secret_key")
        return self

    @property
    def is_demo(self) -> bool:
        """No keys: payments go to a fake Stripe, and no money moves."""
        return self.secret_key is None

    @property
    def livemode(self) -> bool:
        """Which mode events and objects have to be of."""
        return self.mode == "live"
