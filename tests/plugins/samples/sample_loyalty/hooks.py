from dataclasses import replace
from datetime import timedelta
from typing import ClassVar

import click
from sqlalchemy import select

from commerce_core.accounts.models import User
from commerce_core.accounts.tokens import Actor
from commerce_core.api.problems import Conflict
from commerce_core.cli.shop import config_argument, open_shop
from commerce_core.events import OrderPaid, OrderPlaced
from commerce_core.jobs.kinds import JobContext, Periodic, job
from commerce_core.orders.models import Order
from commerce_core.plugin import (
    AdminResource,
    ExtensionField,
    HealthCheck,
    PluginPermission,
    Process,
    Subscriber,
    hookimpl,
)

# What has happened, for tests to look at.
told = []
points_of_a_variant = [7]
# From when on the offer of a product is another, if a test says so.
offer_ends_at = []


class TooMany(Conflict):
    """More than one customer may have."""

    slug = "loyalty/too-many"
    title = "Too many of one thing"
    example: ClassVar = {"most": 5}


class Unlucky(Conflict):
    """Thirteen of anything are not sold."""

    slug = "loyalty/unlucky"
    title = "An unlucky number"


@job("loyalty.credit")
def credit(context: JobContext, event: OrderPaid) -> None:
    told.append(("credited", event.number))


@job("loyalty.expire", queue="low")
def expire(context: JobContext) -> None:
    told.append(("expired",))


class Purger:
    name = "loyaltycdn"
    most_at_a_time = 10

    def purge(self, *, tags, urls):
        told.append(("purged", sorted(tags)))


class Finder:
    code = "loyalty-finder"


@hookimpl
def commerce_includeme(config, settings):
    config.add_route("loyalty_rate", "/rate")
    config.add_route("loyalty_grant", "/grants")
    config.add_root_route("loyalty_feed", "/feeds/points.json")
    config.scan(".views")


@hookimpl
def commerce_register_search_backends():
    return [Finder()]


@hookimpl
def commerce_register_cdn_purgers():
    return [Purger()]


@hookimpl
def commerce_register_subscribers():
    def placed(event):
        told.append(("placed", event.number))
        raise RuntimeError("after the commit")

    return [Subscriber(OrderPaid, credit), Subscriber(OrderPlaced, placed)]


@hookimpl
def commerce_register_jobs():
    return [credit, Periodic(expire, timedelta(hours=1))]


@hookimpl
def commerce_register_extension_fields(settings):
    def of_orders(ctx, ids):
        rows = ctx.session.execute(select(Order.id, Order.total).where(Order.id.in_(ids)))
        return {row.id: row.total // settings.units_per_point for row in rows}

    def of_products(ctx, ids):
        for moment in offer_ends_at:
            ctx.keep_until(moment)
        return {id_: {"double": True, "anonymous": ctx.actor is None} for id_ in ids}

    points = ExtensionField(resource="order", name="points", load_many=of_orders, schema={"type": "integer"})

    def of_anything(ctx, ids):
        return dict.fromkeys(ids, ctx.actor and ctx.actor.role)

    return [
        points,
        replace(points, resource="cart", load_many=lambda ctx, ids: {}),
        *(
            ExtensionField(resource=resource, name="asked_by", load_many=of_anything)
            for resource in ("category", "brand", "user")
        ),
        ExtensionField(resource="product", name="offer", load_many=of_products, schema={"type": "object"}),
        ExtensionField(
            resource="variant", name="points", load_many=lambda ctx, ids: dict.fromkeys(ids, points_of_a_variant[0])
        ),
    ]


@hookimpl
def commerce_register_permissions():
    return [
        PluginPermission(name="loyalty:grant", description="Give points away."),
        PluginPermission(name="loyalty:vip", description="See the rate.", role=None, principals=frozenset({"vip"})),
    ]


@hookimpl
def commerce_register_admin_resources():
    return [AdminResource(name="grants", title="Points", path="/api/v1/loyalty/grants", permission="loyalty:grant")]


@hookimpl
def commerce_register_health_checks(settings):
    def check():
        if not settings.healthy:
            raise RuntimeError("no points left")

    return [HealthCheck(name="ledger", check=check)]


@hookimpl
def commerce_register_commands():
    @click.command()
    @config_argument
    def rate(config):
        """How many minor units earn a point."""
        with open_shop(config) as shop:
            click.echo(shop.registry.plugins.settings_of("loyalty").units_per_point)

    @click.command("loyalty")
    @config_argument
    def keep(config):
        """Keep the points together."""
        click.echo("keeping the points together")

    return [rate, keep]


@hookimpl
def commerce_register_processes():
    return [Process(name="loyalty", command=("loyalty",))]


@hookimpl
def commerce_disable_blockers(ctx):
    from sqlalchemy import func

    orders = ctx.session.scalar(select(func.count()).select_from(Order))
    if orders:
        yield f"{orders} orders have no points yet."


@hookimpl
def commerce_startup(role):
    told.append(("started", role))


@hookimpl
def commerce_shutdown():
    told.append(("stopped",))


@hookimpl
def commerce_authenticate(ctx):
    email = ctx.request.headers.get("X-Single-Sign-On")
    if email is None:
        return None
    user = ctx.session.scalar(select(User).where(User.email == email))
    return user and Actor(user.id, user.role, None)


@hookimpl
def commerce_principals(ctx):
    yield "vip" if ctx.actor is not None and ctx.request.headers.get("X-Vip") else "anybody"


@hookimpl
def commerce_hold_duration(ctx):
    minutes = ctx.settings_of("loyalty").hold_minutes
    return None if minutes is None else timedelta(minutes=minutes)


@hookimpl
def commerce_validate_cart(cart, stage):
    for line in cart.lines:
        if line.quantity > 5:
            yield TooMany(f"At most 5 ({stage}).", most=5)
        if line.quantity == 13:
            yield Unlucky()


@hookimpl
def commerce_order_placing(order, lines):
    told.append(("placing", order.number, [line.sku for line in lines]))


@hookimpl
def commerce_order_transition(order, machine, old, new):
    told.append((machine, old, new))
