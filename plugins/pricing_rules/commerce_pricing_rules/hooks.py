"""What the core calls: see its docs/plugins/reference.md."""

from __future__ import annotations

from collections.abc import Iterable

import click
from pyramid.config import Configurator

from commerce_core.api.problems import Problem
from commerce_core.orders.models import Order
from commerce_core.plugin import (
    AdminResource,
    CartFacts,
    Context,
    OrderFacts,
    PluginPermission,
    hookimpl,
)
from commerce_pricing_rules import commands, coupons, offers, uses
from commerce_pricing_rules.permissions import PERMISSIONS, READ
from commerce_pricing_rules.quoting import price_rules
from commerce_pricing_rules.rulebook import RuleBook
from commerce_pricing_rules.settings import Settings

ADMIN = "/api/v1/admin/pricing"
ADMIN_ROUTES = {
    "rules": "/rules",
    "rule": "/rules/{id}",
    "coupons": "/coupons",
    "coupons_generate": "/coupons/generate",
    "coupon": "/coupons/{id}",
    "lists": "/price-lists",
    "list": "/price-lists/{id}",
    "list_prices": "/price-lists/{id}/prices",
    "history": "/history",
    "preview": "/preview",
    "conflicts": "/conflicts",
    "order_trace": "/orders/{id}/trace",
}


@hookimpl
def commerce_includeme(config: Configurator, settings: Settings) -> None:
    book = config.registry.pricing_rulebook = RuleBook(settings)
    for rule in price_rules(book.prefetch):
        config.add_price_rule(rule)
    config.add_coupon_checker(coupons.checker(book))
    for field in offers.fields(book):
        config.add_extension_field("pricing", field)
    config.add_route("pricing_calculate", "/calculate")
    config.add_route("pricing_calculate_batch", "/calculate-batch")
    for name, pattern in ADMIN_ROUTES.items():
        config.add_root_route(f"pricing_admin_{name}", f"{ADMIN}{pattern}")
    config.scan(".admin_views")
    config.scan(".views")
    config.scan(".preview_views")


@hookimpl
def commerce_register_permissions() -> Iterable[PluginPermission]:
    return PERMISSIONS


@hookimpl
def commerce_register_admin_resources() -> Iterable[AdminResource]:
    return [
        AdminResource(name="rules", title="Price rules", path=f"{ADMIN}/rules", permission=READ, section="pricing"),
        AdminResource(name="coupons", title="Coupons", path=f"{ADMIN}/coupons", permission=READ, section="pricing"),
        AdminResource(
            name="lists", title="Price lists", path=f"{ADMIN}/price-lists", permission=READ, section="pricing"
        ),
    ]


@hookimpl
def commerce_register_commands() -> Iterable[click.Command]:
    return [commands.demo, commands.explain]


@hookimpl
def commerce_validate_cart(ctx: Context, cart: CartFacts, stage: str) -> Iterable[Problem]:
    """A coupon that was good when it was put into the cart may be used up when it is ordered."""
    if stage != "place":
        return ()
    return coupons.refused_at_checkout(ctx.session, cart, user_id=uses.user_of(cart.owner), now=ctx.now)


@hookimpl
def commerce_order_placing(ctx: Context, order: OrderFacts) -> None:
    """Rules and coupons with limits are taken here, or there is no order."""
    placed = ctx.session.get_one(Order, order.id)
    uses.take(
        ctx.session,
        order.id,
        uses.uses_in(placed.trace),
        currency=order.currency,
        user_id=uses.user_of(order.owner),
        now=ctx.now,
    )


@hookimpl
def commerce_order_transition(ctx: Context, order: OrderFacts, machine: str, old: str, new: str) -> None:
    """What a cancelled order has used is given back."""
    if machine == "status" and new == "cancelled":
        uses.give_back(ctx.session, order.id, now=ctx.now)
    elif machine == "status" and old == "cancelled":
        uses.take_back(ctx.session, order.id)
