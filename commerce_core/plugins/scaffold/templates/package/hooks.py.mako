<%
from_plugin = {"hookimpl"}
if "admin" in parts:
    from_plugin |= {"AdminResource", "PluginPermission"}
if "field" in parts:
    from_plugin |= {"ExtensionField"}
if "subscriber" in parts:
    from_plugin |= {"Subscriber"}
if "cart-check" in parts:
    from_plugin |= {"CartFacts", "Context"}
if "health" in parts:
    from_plugin |= {"HealthCheck"}
names = sorted(from_plugin, key=lambda each: (each[0].islower(), each))
lists = parts - {"models", "route", "settings"}
own = sorted(
    module
    for part, module in {
        "admin": "admin_views",
        "cart-check": "carts",
        "command": "commands",
        "field": "fields",
        "health": "health",
        "job": "jobs",
        "payment": "payments",
        "price-rule": "prices",
        "subscriber": "subscribers",
    }.items()
    if part in parts
)
with_settings = parts & {"payment", "price-rule"}
%>\
% if parts <= {"models", "settings"}:
"""What the core calls: see its docs/plugins/reference.md. Nothing yet."""
% else:
"""What the core calls: see its docs/plugins/reference.md."""

from __future__ import annotations

% if lists:
from collections.abc import Iterable
% endif
% if "job" in parts:
from datetime import timedelta
% endif
% if lists or "job" in parts:

% endif
% if "command" in parts:
import click
% endif
% if "cart-check" in parts:
from commerce_core.api.problems import Problem
% endif
% if "subscriber" in parts:
from commerce_core.events import OrderPaid
% endif
% if "job" in parts:
from commerce_core.jobs.kinds import Periodic
% endif
% if "payment" in parts:
from commerce_core.payments.provider import PaymentProvider
% endif
% if len(names) > 3:
from commerce_core.plugin import (
% for each in names:
    ${each},
% endfor
)
% else:
from commerce_core.plugin import ${", ".join(names)}
% endif
% if "price-rule" in parts:
from commerce_core.pricing.rules import PriceRule
% endif
% if parts & {"route", "admin"}:
from pyramid.config import Configurator
% endif
% if own:

% if len(own) > 3:
from commerce_${name} import (
% for module in own:
    ${module},
% endfor
)
% else:
from commerce_${name} import ${", ".join(own)}
% endif
% endif
% if with_settings:
from commerce_${name}.settings import Settings
% endif
% if parts & {"route", "admin"}:


@hookimpl
def commerce_includeme(config: Configurator) -> None:
% if "route" in parts:
    config.add_route("${name}_total", "/total")  # /api/v1/${name}/total
    config.scan(".views")
% endif
% if "admin" in parts:
    config.add_route("${name}_entries", "/entries")
    config.scan(".admin_views")
% endif
% endif
% if "admin" in parts:


@hookimpl
def commerce_register_permissions() -> Iterable[PluginPermission]:
    return [admin_views.CREDIT]


@hookimpl
def commerce_register_admin_resources() -> Iterable[AdminResource]:
    return [admin_views.ENTRIES]
% endif
% if "subscriber" in parts:


@hookimpl
def commerce_register_subscribers() -> Iterable[Subscriber]:
    return [Subscriber(OrderPaid, subscribers.credit)]
% endif
% if "job" in parts:


@hookimpl
def commerce_register_jobs() -> Iterable[Periodic]:
    return [Periodic(jobs.forget, timedelta(days=1))]
% endif
% if "field" in parts:


@hookimpl
def commerce_register_extension_fields() -> Iterable[ExtensionField]:
    return [fields.POINTS]
% endif
% if "command" in parts:


@hookimpl
def commerce_register_commands() -> Iterable[click.Command]:
    return [commands.total]
% endif
% if "price-rule" in parts:


@hookimpl
def commerce_register_price_rules(settings: Settings) -> Iterable[PriceRule]:
    return [prices.bulk_rule(settings)]
% endif
% if "payment" in parts:


@hookimpl
def commerce_register_payment_providers(settings: Settings) -> Iterable[PaymentProvider]:
    return [payments.Provider(settings)]
% endif
% if "cart-check" in parts:


@hookimpl
def commerce_validate_cart(ctx: Context, cart: CartFacts) -> Iterable[Problem]:
    return carts.check(cart, ctx.settings_of("${name}"))
% endif
% if "health" in parts:


@hookimpl
def commerce_register_health_checks() -> Iterable[HealthCheck]:
    return [health.SPACE]
% endif
% endif
