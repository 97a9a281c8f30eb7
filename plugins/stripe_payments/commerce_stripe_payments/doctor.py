"""Whether the shop and Stripe fit together: keys, modes, the webhook endpoint, versions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import stripe

from commerce_stripe_payments.connection import Connection, DemoAway, say
from commerce_stripe_payments.webhooks import WEBHOOK_PATH
from commerce_stripe_payments.webhooks.plain import plain


@dataclass(frozen=True, slots=True)
class Finding:
    """`bad` ones keep money from being collected, or from being noticed."""

    level: Literal["ok", "warn", "bad"]
    text: str


def examine(connection: Connection) -> Iterator[Finding]:
    """Everything there is to say, by asking Stripe. Outside of any transaction; changes nothing."""
    settings = connection.settings
    if settings.is_demo:
        yield Finding("warn", "demo: there are no keys, so payments go to a fake Stripe and no money moves")
    else:
        kind = "restricted" if settings.secret_key and settings.secret_key.get_secret_value()[:2] == "rk" else "full"
        yield Finding(
            "ok" if kind == "restricted" else "warn", f"keys: of {settings.mode} mode, the secret one is {kind}"
        )
    if settings.api_version != stripe.api_version:
        yield Finding(
            "warn", f"version: {settings.api_version} is pinned, and the SDK is made for {stripe.api_version}"
        )
    else:
        yield Finding("ok", f"version: {settings.api_version}, which is the SDK's")
    try:
        client = connection.client
        account = plain(client.v1.accounts.retrieve_current())
    except (stripe.AuthenticationError, stripe.PermissionError) as error:
        yield Finding("bad", f"account: the key is not accepted ({say(error)})")
        return
    except (stripe.StripeError, DemoAway) as error:
        yield Finding("bad", f"account: Stripe cannot be asked ({say(error)})")
        return
    yield Finding("ok", f"account: {account['id']}")
    if account.get("charges_enabled") is False:
        yield Finding("bad", "account: it may not collect payments yet")
    yield from _endpoints(connection, client)


def _endpoints(connection: Connection, client: stripe.StripeClient) -> Iterator[Finding]:
    try:
        listed = client.v1.webhook_endpoints.list({"limit": 100})
        endpoints = [plain(endpoint) for endpoint in listed.auto_paging_iter()]
    except stripe.StripeError as error:
        yield Finding("warn", f"webhooks: the key may not look at the endpoints ({say(error)})")
        return
    ours = [endpoint for endpoint in endpoints if str(endpoint.get("url", "")).rstrip("/").endswith(WEBHOOK_PATH)]
    if not ours:
        yield Finding(
            "bad", f"webhooks: no endpoint ends in {WEBHOOK_PATH}; with `stripe listen` that is as it should be"
        )
        return
    if len(ours) > 1:
        yield Finding("warn", f"webhooks: {len(ours)} endpoints end in {WEBHOOK_PATH}; each tells everything")
    for endpoint in ours:
        yield from _endpoint(connection, endpoint)
    if len(connection.webhook_secrets) < len(ours):
        yield Finding("bad", "webhooks: there are more endpoints than stripe.webhook_secrets")


def _endpoint(connection: Connection, endpoint: dict[str, Any]) -> Iterator[Finding]:
    name = f"webhooks: {endpoint['id']}"
    if endpoint.get("status") != "enabled":
        yield Finding("bad", f"{name} is {endpoint.get('status')}")
    if bool(endpoint.get("livemode")) is not connection.settings.livemode:
        yield Finding("bad", f"{name} is of the other mode")
    version = endpoint.get("api_version")
    if version != connection.settings.api_version:
        yield Finding("warn", f"{name} tells in version {version or 'of the account'}; make one with ours")
    wanted = set(endpoint.get("enabled_events") or ())
    missing = [] if "*" in wanted else sorted(set(connection.handlers) - wanted)
    if missing:
        yield Finding("bad", f"{name} does not tell of {', '.join(missing)}")
    else:
        yield Finding("ok", f"{name} tells of everything that is needed")
